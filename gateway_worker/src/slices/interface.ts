/** Slices: aligned pieces of an object, the unit of reading, sending and caching. */

import type { ByteRange } from "../range";

/** Slices are aligned to this many bytes of the object, so that any range reads the same ones. */
export const SLICE_BYTES = 8 * 1024 * 1024;

/** One slice of one version of an object. */
export interface Slice {
  readonly key: string;
  /** The store's entity tag: another version of the object has other slices. */
  readonly etag: string;
  readonly index: number;
  /** Bytes: `SLICE_BYTES`, or less at the end of the object. */
  readonly length: number;
}

/** Where slices are kept near the client. Nothing of a request but key, version and position enters it. */
export interface SliceCache {
  /**
   * Opens a stream of exactly the bytes of `range`, counted from the slice's begin; null when the slice is not there. What
   * is there with another length or tag than it should have is dropped, and counts as not there.
   */
  read(slice: Slice, range: ByteRange): Promise<ReadableStream<Uint8Array> | null>;
  /** Stores a stream of the slice's bytes, all or nothing. */
  write(slice: Slice, bytes: ReadableStream<Uint8Array>): Promise<void>;
  /** Removes a slice whose bytes turned out to be wrong. */
  drop(slice: Slice): Promise<void>;
}

/** The bytes of one slice, or of a part of one, on their way to a client. */
export interface SliceSource {
  /** Bytes that are still to come. */
  readonly left: number;
  /** The next bytes, at most `maxBytes`; null after the last. Rejects when the source breaks: what came before is right. */
  next(maxBytes: number): Promise<Uint8Array | null>;
  /** The client has taken a chunk of `next`: its memory may go. Whoever wants the bytes longer copies them before. */
  release(chunk: Uint8Array): void;
  /** The client does not want the rest. */
  cancel(): Promise<void>;
}

/** Cuts a range at the multiples of `SLICE_BYTES`. */
export function* slicesOf(range: ByteRange): Generator<ByteRange> {
  const end = range.offset + range.length;
  for (let offset = range.offset; offset < end;) {
    const boundary = (Math.floor(offset / SLICE_BYTES) + 1) * SLICE_BYTES;
    const length = Math.min(boundary, end) - offset;
    yield { offset, length };
    offset += length;
  }
}

/** The slice of an object that a range which `slicesOf` gave lies in. */
export function sliceAt(key: string, version: { etag: string; size: number }, range: ByteRange): Slice {
  const index = Math.floor(range.offset / SLICE_BYTES);
  return { key, etag: version.etag, index, length: Math.min(SLICE_BYTES, version.size - index * SLICE_BYTES) };
}
