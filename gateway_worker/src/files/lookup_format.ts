/** The lookup object of a release, as `lading/lookup.py` writes it (docs/format.md): where each file lies. Pure. */

import { OriginError } from "../origin/interface";
import type { ByteRange } from "../range";

const MAGIC = "LADLKUP1";
export const HEADER_BYTES = 64;
const SHARD_BYTES = 32;
const DIRECTORY_BYTES = 4;
export const ENTRY_BYTES = 88;
const SPAN_BYTES = 24;
export const PIECE_BYTES = 64;
const PATH_HASH_BYTES = 16;
const DIGEST_BYTES = 32;

/** Bits of a path's hash that number its bucket: those that a 32-bit number holds. */
const MAX_BUCKET_BITS = 32;

/** Numbers of a lookup's records, and where each kind begins. Offsets and sizes in bytes. */
export interface Layout {
  readonly bucketBits: number;
  readonly shards: number;
  readonly entries: number;
  readonly spans: number;
  readonly pieces: number;
  readonly directoryOffset: number;
  readonly entriesOffset: number;
  readonly spansOffset: number;
  readonly piecesOffset: number;
}

/** What a path leads to. Digests in hex, `mtime` in seconds since the epoch, sizes in bytes. */
export interface FileEntry {
  readonly kind: "file";
  readonly size: number;
  readonly sha256: string;
  readonly mtime: number;
  readonly place: Place;
}

export type Entry = FileEntry | { readonly kind: "folder" } | { readonly kind: "dangling" };

/** Where a file's bytes are told: in the entry itself, or in records of their own. */
export type Place =
  | { readonly in: "nothing" }
  | {
      readonly in: "entry";
      readonly shard: number;
      readonly frameOffset: number;
      readonly frameLength: number;
      readonly innerOffset: number;
    }
  | {
      readonly in: "records";
      readonly firstPiece: number;
      readonly pieces: number;
      readonly firstSpan: number;
      readonly spans: number;
    };

/** `length` bytes of a file from `start` on: in one frame of a shard, `innerOffset` behind the frame's begin. */
export interface PieceRecord {
  readonly sha256: string;
  readonly start: number;
  readonly length: number;
  readonly shard: number;
  readonly frameOffset: number;
  readonly frameLength: number;
  readonly innerOffset: number;
}

/** Whole frames in a row, in one shard. */
export interface SpanRecord {
  readonly shard: number;
  readonly offset: number;
  readonly length: number;
}

/** A lookup's bytes make no sense: what the store holds is damaged. */
export class LookupError extends OriginError {
  constructor(why: string) {
    super(`the release's lookup is malformed: ${why}`);
  }
}

/** @param size of the whole object, which the header must agree with. @throws LookupError */
export function parseHeader(bytes: Uint8Array, size: number): Layout {
  const view = viewOf(bytes);
  if (bytes.length !== HEADER_BYTES || new TextDecoder().decode(bytes.subarray(0, MAGIC.length)) !== MAGIC) {
    throw new LookupError("it has no header of a lookup");
  }
  const [bucketBits, shards] = [view.getUint32(8), view.getUint32(12)];
  const [entries, spans, pieces] = [numberAt(view, 16), numberAt(view, 24), numberAt(view, 32)];
  if (bucketBits > MAX_BUCKET_BITS) throw new LookupError("its header has too many bucket bits");
  const directoryOffset = HEADER_BYTES + SHARD_BYTES * shards;
  const entriesOffset = directoryOffset + DIRECTORY_BYTES * (2 ** bucketBits + 1);
  const spansOffset = entriesOffset + ENTRY_BYTES * entries;
  const piecesOffset = spansOffset + SPAN_BYTES * spans;
  if (piecesOffset + PIECE_BYTES * pieces !== size) throw new LookupError("its header tells another size");
  return { bucketBits, shards, entries, spans, pieces, directoryOffset, entriesOffset, spansOffset, piecesOffset };
}

/** SHA-256 of a path, as far as entries hold it. */
export async function hashOfPath(path: string): Promise<Uint8Array> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(path));
  return new Uint8Array(digest, 0, PATH_HASH_BYTES);
}

/** The two numbers of the directory that bound a path's bucket. */
export function directoryRange(layout: Layout, pathHash: Uint8Array): ByteRange {
  // A shift by 32 bits would be one by none.
  const bucket = Math.floor(viewOf(pathHash).getUint32(0) / 2 ** (MAX_BUCKET_BITS - layout.bucketBits));
  return { offset: layout.directoryOffset + DIRECTORY_BYTES * bucket, length: 2 * DIRECTORY_BYTES };
}

/** Where the entries of the bucket lie; null: it is empty. @throws LookupError */
export function bucketRange(layout: Layout, bounds: Uint8Array): ByteRange | null {
  const view = viewOf(bounds);
  const [first, end] = [view.getUint32(0), view.getUint32(DIRECTORY_BYTES)];
  if (first > end || end > layout.entries) throw new LookupError("its directory points beyond its entries");
  if (first === end) return null;
  return { offset: layout.entriesOffset + ENTRY_BYTES * first, length: ENTRY_BYTES * (end - first) };
}

/** The entry of a path in its bucket; null: there is none. @throws LookupError */
export function findEntry(layout: Layout, bucket: Uint8Array, pathHash: Uint8Array): Entry | null {
  for (let offset = 0; offset < bucket.length; offset += ENTRY_BYTES) {
    const entry = bucket.subarray(offset, offset + ENTRY_BYTES);
    if (pathHash.every((byte, index) => entry[index] === byte)) return parseEntry(layout, entry);
  }
  return null;
}

function parseEntry(layout: Layout, entry: Uint8Array): Entry {
  const view = viewOf(entry);
  const described = {
    kind: "file" as const,
    sha256: hexOf(entry.subarray(PATH_HASH_BYTES, PATH_HASH_BYTES + DIGEST_BYTES)),
    size: numberAt(view, 48),
    mtime: numberAt(view, 56),
  };
  const [first, second, third, fourth] = [
    view.getUint32(68),
    view.getUint32(72),
    view.getUint32(76),
    numberAt(view, 80),
  ];
  switch (view.getUint8(64)) {
    case 0:
      return { ...described, place: { in: "nothing" } };
    case 1: {
      const place = { shard: first, frameLength: second, innerOffset: third, frameOffset: fourth };
      return { ...described, place: { in: "entry", ...place } };
    }
    case 2:
      if (first + second > layout.pieces || fourth + third > layout.spans) {
        throw new LookupError("an entry points beyond the records");
      }
      return {
        ...described,
        place: { in: "records", firstPiece: first, pieces: second, firstSpan: fourth, spans: third },
      };
    case 3:
      return { kind: "folder" };
    case 4:
      return { kind: "dangling" };
    default:
      throw new LookupError("an entry is of an unknown kind");
  }
}

/** Where the SHA-256 of a shard lies. @throws LookupError */
export function shardRange(layout: Layout, shard: number): ByteRange {
  if (shard >= layout.shards) throw new LookupError("an entry names a shard that is not listed");
  return { offset: HEADER_BYTES + SHARD_BYTES * shard, length: SHARD_BYTES };
}

export function spansRange(layout: Layout, first: number, count: number): ByteRange {
  return { offset: layout.spansOffset + SPAN_BYTES * first, length: SPAN_BYTES * count };
}

export function piecesRange(layout: Layout, first: number, count: number): ByteRange {
  return { offset: layout.piecesOffset + PIECE_BYTES * first, length: PIECE_BYTES * count };
}

export function parseSpans(bytes: Uint8Array): SpanRecord[] {
  return recordsOf(bytes, SPAN_BYTES, (view) => ({
    offset: numberAt(view, 0),
    length: numberAt(view, 8),
    shard: view.getUint32(16),
  }));
}

export function parsePieces(bytes: Uint8Array): PieceRecord[] {
  return recordsOf(bytes, PIECE_BYTES, (view, record) => ({
    sha256: hexOf(record.subarray(0, DIGEST_BYTES)),
    start: numberAt(view, 32),
    frameOffset: numberAt(view, 40),
    frameLength: view.getUint32(48),
    shard: view.getUint32(52),
    innerOffset: view.getUint32(56),
    length: view.getUint32(60),
  }));
}

function recordsOf<T>(bytes: Uint8Array, length: number, parse: (view: DataView, record: Uint8Array) => T): T[] {
  return Array.from({ length: bytes.length / length }, (_, index) => {
    const record = bytes.subarray(index * length, (index + 1) * length);
    return parse(viewOf(record), record);
  });
}

export function hexOf(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** @throws LookupError for numbers that JavaScript cannot hold exactly */
function numberAt(view: DataView, offset: number): number {
  const value = view.getBigUint64(offset);
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new LookupError("a number is beyond 2^53");
  return Number(value);
}
