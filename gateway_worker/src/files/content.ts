/** The two forms of a file as bodies that are read by ranges: its stored frames, and its decoded bytes. */

import { createHash } from "node:crypto";

import type { OpenSlice } from "../body";
import type { ByteRange } from "../range";
import { CHUNK_BYTES } from "../slices/chunks";
import { slicesOf } from "../slices/interface";
import type { SliceSource } from "../slices/interface";
import { DamagedFrame, decodedFrame, pieceIn } from "./frames";
import type { KnownFrames } from "./frames";
import type { Piece, Span } from "./lookup";

/** Opens bytes of a shard that lie within one slice of it. */
export type OpenShard = (shard: string, slice: ByteRange) => Promise<SliceSource>;

/** Decoded pieces that are kept: one that reaches into the next slice of the body is wanted twice. */
const KEPT_PIECES = 2;

/** Frames that follow each other are read together, up to this many stored bytes: each read costs a request. */
const READ_BYTES = 4 * 1024 * 1024;

/** Reads that are kept: the one that is being decoded, and the next. */
const KEPT_READS = 2;

/** A file's frames one after the other, as they are stored. */
export function codedContent(spans: readonly Span[], openShard: OpenShard): OpenSlice {
  return async (range) =>
    inOrder(
      range.length,
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
  known: KnownFrames,
): OpenSlice {
  const readOf = new Map(readsOf(pieces).flatMap((read) => read.pieces.map((piece) => [piece, read])));
  const stored = lastOnes(KEPT_READS, (read: Read) =>
    collected([...slicesOf(read)], read.length, (slice) => openShard(read.shard, slice)),
  );
  const decoded = lastOnes(KEPT_PIECES, async (piece: Piece) => {
    let raw = known.get(piece);
    if (raw === null) {
      const read = readOf.get(piece)!;
      const begin = piece.frameOffset - read.offset;
      raw = decodedFrame((await stored(read)).subarray(begin, begin + piece.frameLength), piece);
      known.put(piece, raw);
    }
    return pieceIn(raw, piece);
  });
  const check = wholeSha256 === null || pieces.length === 1 ? null : wholeCheck(wholeSha256, size);
  const origin = pieces[0]?.start ?? 0;
  return async (range) =>
    inOrder(
      range.length,
      overlaps(pieces, { offset: range.offset - origin, length: range.length }).map(({ item, inner }) => async () => {
        const bytes = await decoded(item);
        return bytesSource(bytes.subarray(inner.offset, inner.offset + inner.length), check);
      }),
    );
}

/** Bytes that decoding holds in memory at most, about: two frames as they are stored and decoded. */
export function memoryOf(pieces: readonly Piece[]): number {
  const reads = readsOf(pieces);
  const raw = Math.max(0, ...pieces.map(({ innerOffset, length }) => innerOffset + length));
  const read = Math.max(0, ...reads.map(({ length }) => length));
  return Math.min(pieces.length, KEPT_PIECES) * raw + Math.min(reads.length, KEPT_READS) * read;
}

/** Frames of one shard that are read together. */
interface Read extends ByteRange {
  readonly shard: string;
  readonly pieces: readonly Piece[];
}

function readsOf(pieces: readonly Piece[]): Read[] {
  const reads: { shard: string; offset: number; length: number; pieces: Piece[] }[] = [];
  for (const piece of pieces) {
    const { shard, frameOffset, frameLength } = piece;
    const last = reads.at(-1);
    const follows = last?.shard === shard && last.offset + last.length === frameOffset;
    if (last !== undefined && follows && last.length + frameLength <= READ_BYTES) {
      last.length += frameLength;
      last.pieces.push(piece);
    } else {
      reads.push({ shard, offset: frameOffset, length: frameLength, pieces: [piece] });
    }
  }
  return reads;
}

/** Makes things, and keeps the last few that were asked for. */
function lastOnes<K, T>(count: number, make: (key: K) => Promise<T>): (key: K) => Promise<T> {
  const kept = new Map<K, Promise<T>>();
  return (key) => {
    const made = kept.get(key) ?? make(key);
    // A failure is met by who waits for it; one that nobody needs any more is none.
    made.catch(() => undefined);
    kept.delete(key);
    kept.set(key, made);
    for (const oldest of kept.keys()) {
      if (kept.size <= count) break;
      kept.delete(oldest);
    }
    return made;
  };
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

/** Sources one after the other as one of `length` bytes; the next is being opened while one is sent. Waits for the first. */
async function inOrder(length: number, openers: readonly (() => Promise<SliceSource>)[]): Promise<SliceSource> {
  let index = 0;
  let left = length;
  let current = (await openers[0]?.()) ?? null;
  let next: Promise<SliceSource> | null = null;
  let lender: SliceSource | null = null;
  const openNext = () => {
    next = openers[index + 1]?.() ?? null;
    // Its failure is handled when its turn comes; until then it must not count as unhandled.
    next?.catch(() => undefined);
  };
  openNext();
  return {
    get left() {
      return left;
    },
    next: async (maxBytes) => {
      while (current !== null) {
        const chunk = await current.next(maxBytes);
        if (chunk !== null) {
          lender = current;
          left -= chunk.length;
          return chunk;
        }
        current = await next;
        index += 1;
        openNext();
      }
      return null;
    },
    release: (chunk) => lender?.release(chunk),
    cancel: async () => {
      next?.then((source) => source.cancel()).catch(() => undefined);
      await current?.cancel();
    },
  };
}

/** Bytes in memory that others hold as well. @param check sees them before they are sent, and may refuse them */
function bytesSource(bytes: Uint8Array, check: ((bytes: Uint8Array) => void) | null): SliceSource {
  let sent = 0;
  return {
    get left() {
      return bytes.length - sent;
    },
    next: async (maxBytes) => {
      if (sent === 0) check?.(bytes);
      if (sent === bytes.length) return null;
      const chunk = bytes.subarray(sent, sent + maxBytes);
      sent += chunk.length;
      return chunk;
    },
    release: () => undefined,
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
  const bytes = new Uint8Array(length);
  let filled = 0;
  for (const slice of slices) {
    const source = await open(slice);
    for (let chunk = await source.next(CHUNK_BYTES); chunk !== null; chunk = await source.next(CHUNK_BYTES)) {
      bytes.set(chunk, filled);
      filled += chunk.length;
      source.release(chunk);
    }
  }
  return bytes;
}
