/** Finds files in the lookup of a release, by small ranged reads. */

import type { ObjectMetadata, OriginUse } from "../origin/interface";
import type { ByteRange } from "../range";
import {
  bucketRange,
  directoryRange,
  findEntry,
  HEADER_BYTES,
  hashOfPath,
  hexOf,
  LookupError,
  parseHeader,
  parsePieces,
  parseSpans,
  piecesRange,
  shardRange,
  spansRange,
} from "./lookup_format";
import type { Entry, FileEntry, Layout, PieceRecord } from "./lookup_format";
import type { PageReader } from "./pages";

/** The lookup object of a release. */
export interface LookupObject {
  readonly key: string;
  readonly metadata: ObjectMetadata;
}

/** A part of a file, with its shard's SHA-256 in hex instead of a number. */
export interface Piece extends Omit<PieceRecord, "shard"> {
  readonly shard: string;
}

/** Whole frames in a row, in the shard of that SHA-256 (hex). */
export interface Span {
  readonly shard: string;
  readonly offset: number;
  readonly length: number;
}

/** A file has as many spans as it lies in pieces that do not follow each other; above this it is too scattered. */
const MAX_SPANS = 4_096;

/** Piece records that are read at once: 16 KiB. */
const PIECES_AT_ONCE = 256;

export class LookupReader {
  readonly #pages: PageReader;

  constructor(pages: PageReader) {
    this.#pages = pages;
  }

  /** What a path of the release leads to; null: nothing. @throws OriginError */
  async find(lookup: LookupObject, path: string, use: OriginUse): Promise<Entry | null> {
    const layout = await this.#layout(lookup, use);
    const hash = await hashOfPath(path);
    const bounds = await this.#read(lookup, directoryRange(layout, hash), use);
    const range = bucketRange(layout, bounds);
    return range === null ? null : findEntry(layout, await this.#read(lookup, range, use), hash);
  }

  /** The frames that are the file, if it is made of whole frames and they are not too many; else null. */
  async spans(lookup: LookupObject, { place }: FileEntry, use: OriginUse): Promise<Span[] | null> {
    if (place.in === "nothing") return null;
    const layout = await this.#layout(lookup, use);
    if (place.in === "entry") {
      // Only the tar header of a small file can stand before it: without one the file is all that the frame holds.
      if (place.innerOffset > 0) return null;
      const shard = await this.#shard(lookup, layout, place.shard, use);
      return [{ shard, offset: place.frameOffset, length: place.frameLength }];
    }
    if (place.spans === 0 || place.spans > MAX_SPANS) return null;
    const records = parseSpans(await this.#read(lookup, spansRange(layout, place.firstSpan, place.spans), use));
    return this.#withShards(lookup, layout, records, use);
  }

  /** The pieces that overlap a range of the file, in order. @throws OriginError */
  async pieces(lookup: LookupObject, file: FileEntry, range: ByteRange, use: OriginUse): Promise<Piece[]> {
    const { place } = file;
    if (place.in === "nothing" || range.length === 0) return [];
    const layout = await this.#layout(lookup, use);
    if (place.in === "entry") {
      const { frameOffset, frameLength, innerOffset } = place;
      const shard = await this.#shard(lookup, layout, place.shard, use);
      return [{ sha256: file.sha256, start: 0, length: file.size, shard, frameOffset, frameLength, innerOffset }];
    }
    const found: PieceRecord[] = [];
    const [end, last] = [range.offset + range.length, place.firstPiece + place.pieces];
    let next = await this.#pieceAt(lookup, layout, place.firstPiece, place.pieces, range.offset, use);
    for (;;) {
      const count = Math.min(PIECES_AT_ONCE, last - next);
      if (count === 0) throw new LookupError("the pieces of a file do not reach its end");
      const records = parsePieces(await this.#read(lookup, piecesRange(layout, next, count), use));
      found.push(...records.filter((piece) => piece.start < end));
      const reached = records.at(-1)!;
      if (reached.start + reached.length >= end) break;
      next += count;
    }
    return this.#withShards(lookup, layout, found, use);
  }

  /** Number of the piece that holds the byte at `offset`: the last one that does not start behind it. */
  async #pieceAt(
    lookup: LookupObject,
    layout: Layout,
    first: number,
    count: number,
    offset: number,
    use: OriginUse,
  ): Promise<number> {
    let [low, high] = [first, first + count];
    while (high - low > 1) {
      const middle = Math.floor((low + high) / 2);
      const [piece] = parsePieces(await this.#read(lookup, piecesRange(layout, middle, 1), use));
      if (piece!.start <= offset) low = middle;
      else high = middle;
    }
    return low;
  }

  async #layout(lookup: LookupObject, use: OriginUse): Promise<Layout> {
    if (lookup.metadata.size < HEADER_BYTES) throw new LookupError("it is too short");
    const header = await this.#read(lookup, { offset: 0, length: HEADER_BYTES }, use);
    return parseHeader(header, lookup.metadata.size);
  }

  async #withShards<T extends { readonly shard: number }>(
    lookup: LookupObject,
    layout: Layout,
    records: readonly T[],
    use: OriginUse,
  ): Promise<(Omit<T, "shard"> & { shard: string })[]> {
    const names = new Map<number, string>();
    for (const { shard } of records) {
      if (!names.has(shard)) names.set(shard, await this.#shard(lookup, layout, shard, use));
    }
    return records.map((record) => ({ ...record, shard: names.get(record.shard)! }));
  }

  async #shard(lookup: LookupObject, layout: Layout, shard: number, use: OriginUse): Promise<string> {
    return hexOf(await this.#read(lookup, shardRange(layout, shard), use));
  }

  #read(lookup: LookupObject, range: ByteRange, use: OriginUse): Promise<Uint8Array> {
    return this.#pages.read(lookup.key, lookup.metadata, range, use);
  }
}
