/** The two forms of a file as bodies that are read by ranges: its stored frames, and its decoded bytes. */

import { createHash } from "node:crypto";

import type { OpenSlice } from "../body";
import type { ByteRange } from "../range";
import { slicesOf } from "../slices/interface";
import type { SliceSource } from "../slices/interface";
import { DamagedFrame, pieceOf } from "./frames";
import type { Piece, Span } from "./lookup";

/** Opens bytes of a shard that lie within one slice of it. */
export type OpenShard = (shard: string, slice: ByteRange) => Promise<SliceSource>;

/** Decoded pieces that are kept: one that reaches into the next slice of the body is wanted twice. */
const KEPT_PIECES = 2;

/** A file's frames one after the other, as they are stored. */
export function codedContent(spans: readonly Span[], openShard: OpenShard): OpenSlice {
  return async (range) =>
    inOrder(
      overlaps(spans, range).flatMap(({ item, inner }) =>
        [...slicesOf({ offset: item.offset + inner.offset, length: inner.length })].map(
          (slice) => () => openShard(item.shard, slice),
        ),
      ),
    );
}

/**
 * A file's bytes, decoded piece by piece and each checked before it is sent: one or two are in memory at a time.
 *
 * @param pieces those that overlap the ranges which will be asked for, in order
 * @param wholeSha256 where all of the file will be asked for, in order: its SHA-256 in hex. It is compared before the last
 *   piece is sent, so that pieces in a wrong order never make a complete body.
 */
export function decodedContent(
  pieces: readonly Piece[],
  wholeSha256: string | null,
  size: number,
  openShard: OpenShard,
): OpenSlice {
  const kept = new Map<number, Promise<Uint8Array>>();
  const decoded = (piece: Piece): Promise<Uint8Array> => {
    const found = kept.get(piece.start) ?? decodePiece(piece, openShard);
    // A failure is met by who waits for it; one that nobody needs any more is none.
    found.catch(() => undefined);
    kept.delete(piece.start);
    kept.set(piece.start, found);
    for (const oldest of kept.keys()) {
      if (kept.size <= KEPT_PIECES) break;
      kept.delete(oldest);
    }
    return found;
  };
  const check = wholeSha256 === null || pieces.length === 1 ? null : wholeCheck(wholeSha256, size);
  const origin = pieces[0]?.start ?? 0;
  return async (range) =>
    inOrder(
      overlaps(pieces, { offset: range.offset - origin, length: range.length }).map(({ item, inner }) => async () => {
        const bytes = await decoded(item);
        return bytesSource(bytes.subarray(inner.offset, inner.offset + inner.length), check);
      }),
    );
}

/** Bytes that decoding holds in memory at most, about: two pieces, each with its frame. */
export function memoryOf(pieces: readonly Piece[]): number {
  const one = Math.max(0, ...pieces.map(({ frameLength, innerOffset, length }) => frameLength + innerOffset + length));
  return Math.min(pieces.length, KEPT_PIECES) * one;
}

async function decodePiece(piece: Piece, openShard: OpenShard): Promise<Uint8Array> {
  const frame = { offset: piece.frameOffset, length: piece.frameLength };
  return pieceOf(await collected([...slicesOf(frame)], frame.length, (slice) => openShard(piece.shard, slice)), piece);
}

/** What of each item, laid end to end, a range takes. */
function overlaps<T extends { readonly length: number }>(
  items: readonly T[],
  range: ByteRange,
): { readonly item: T; readonly inner: ByteRange }[] {
  const found = [];
  const end = range.offset + range.length;
  let start = 0;
  for (const item of items) {
    const first = Math.max(range.offset, start);
    const last = Math.min(end, start + item.length);
    if (first < last) found.push({ item, inner: { offset: first - start, length: last - first } });
    start += item.length;
  }
  return found;
}

/** Sources one after the other as one; the next one is being opened while one is sent. Waits for the first. */
async function inOrder(openers: readonly (() => Promise<SliceSource>)[]): Promise<SliceSource> {
  let next: Promise<SliceSource> | null = openers[0]?.() ?? null;
  await next;
  return {
    pipeTo: async (sink) => {
      for (const index of openers.keys()) {
        const current = await (next as Promise<SliceSource>);
        next = openers[index + 1]?.() ?? null;
        // Its failure is handled when its turn comes; until then it must not count as unhandled.
        next?.catch(() => undefined);
        try {
          await current.pipeTo(sink);
        } catch (error) {
          next?.then((source) => source.cancel()).catch(() => undefined);
          throw error;
        }
      }
    },
    cancel: async () => (await next)?.cancel(),
  };
}

/** Bytes in memory. @param check sees them before they are sent, and may refuse them */
function bytesSource(bytes: Uint8Array, check: ((bytes: Uint8Array) => void) | null): SliceSource {
  return {
    pipeTo: async (sink) => {
      check?.(bytes);
      const writer = sink.getWriter();
      try {
        await writer.write(bytes);
      } finally {
        writer.releaseLock();
      }
    },
    cancel: async () => undefined,
  };
}

/** Hashes what goes by, and refuses the end of a file that is another one. */
function wholeCheck(sha256: string, size: number): (bytes: Uint8Array) => void {
  const hash = createHash("sha256");
  let seen = 0;
  return (bytes) => {
    hash.update(bytes);
    seen += bytes.length;
    if (seen === size && hash.digest("hex") !== sha256) {
      throw new DamagedFrame("the pieces of a file are not the file that was released");
    }
  };
}

/** All bytes of some slices in memory. */
async function collected(
  slices: readonly ByteRange[],
  length: number,
  open: (slice: ByteRange) => Promise<SliceSource>,
): Promise<Uint8Array> {
  const { readable, writable } = new FixedLengthStream(length);
  const bytes = new Response(readable).arrayBuffer();
  // Its failure is the writing side's, which tells it better.
  bytes.catch(() => undefined);
  try {
    for (const slice of slices) await (await open(slice)).pipeTo(writable);
    await writable.close();
  } catch (error) {
    await writable.abort(error).catch(() => undefined);
    throw error;
  }
  return new Uint8Array(await bytes);
}
