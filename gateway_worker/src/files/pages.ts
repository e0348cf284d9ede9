/** Small ranges of immutable objects, read from the origin by pages that an isolate remembers. */

import type { ObjectMetadata, Origin, OriginUse } from "../origin/interface";
import type { ByteRange } from "../range";

/** A store sends a page about as fast as one byte; a directory of 4,096 buckets is one page. */
export const PAGE_BYTES = 16 * 1024;

/** Pages that one isolate remembers: 8 MiB. The one that was used longest ago goes first. */
const MAX_PAGES = 512;

/** Longer ranges pass by the memory: they would push out what many requests share. */
const MAX_REMEMBERED_BYTES = 8 * PAGE_BYTES;

export class PageReader {
  readonly #origin: Origin;
  readonly #pages = new Map<string, Uint8Array>();

  constructor(origin: Origin) {
    this.#origin = origin;
  }

  /**
   * The bytes of `range`, which must lie within the object: by one read of the origin at most, of whole pages.
   *
   * @throws as `Origin.read`
   */
  async read(key: string, metadata: ObjectMetadata, range: ByteRange, use: OriginUse): Promise<Uint8Array> {
    if (range.length > MAX_REMEMBERED_BYTES) return this.#fetch(key, metadata, range, use);
    const first = Math.floor(range.offset / PAGE_BYTES);
    const last = Math.floor((range.offset + range.length - 1) / PAGE_BYTES);
    const name = (page: number) => `${page} ${metadata.originEtag} ${key}`;
    const missing = numbers(first, last).filter((page) => !this.#pages.has(name(page)));
    const [from, to] = [missing[0], missing.at(-1)];
    const pages = new Map<number, Uint8Array>();
    for (const page of numbers(first, last)) {
      const known = this.#pages.get(name(page));
      if (known !== undefined) this.#remember(name(page), known);
      if (known !== undefined) pages.set(page, known);
    }
    if (from !== undefined && to !== undefined) {
      const offset = from * PAGE_BYTES;
      const length = Math.min((to + 1) * PAGE_BYTES, metadata.size) - offset;
      const bytes = await this.#fetch(key, metadata, { offset, length }, use);
      for (const page of numbers(from, to)) {
        // A copy: a page that is remembered must not keep its neighbours in memory.
        const own = bytes.slice((page - from) * PAGE_BYTES, (page - from + 1) * PAGE_BYTES);
        this.#remember(name(page), own);
        pages.set(page, own);
      }
    }
    const wanted = new Uint8Array(range.length);
    for (const [page, bytes] of pages) {
      const begin = page * PAGE_BYTES - range.offset;
      const part = bytes.subarray(Math.max(0, -begin), Math.max(0, range.length - begin));
      wanted.set(part, Math.max(0, begin));
    }
    return wanted;
  }

  async #fetch(key: string, metadata: ObjectMetadata, range: ByteRange, use: OriginUse): Promise<Uint8Array> {
    return new Uint8Array(await new Response(await this.#origin.read(key, metadata, range, use)).arrayBuffer());
  }

  #remember(name: string, page: Uint8Array): void {
    this.#pages.delete(name);
    this.#pages.set(name, page);
    if (this.#pages.size <= MAX_PAGES) return;
    for (const oldest of this.#pages.keys()) {
      this.#pages.delete(oldest);
      break;
    }
  }
}

function numbers(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}
