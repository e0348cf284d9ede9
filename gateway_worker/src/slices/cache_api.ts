/** Slice cache over the platform's Cache API: Cloudflare's data centre, or the disk of `wrangler dev`. */

import type { ByteRange } from "../range";
import type { Slice, SliceCache } from "./interface";

/** A name of our own: no request of a client can have this host, so that none can meet a slice. */
const BASE_URL = "https://slices.lading.internal";

/** The tag is part of the address, and what is stored never changes. */
const CACHE_CONTROL = "public, max-age=31536000, immutable";

export class CacheApiSlices implements SliceCache {
  readonly #open: () => Promise<Cache>;
  #cache: Promise<Cache> | null = null;

  /** `open` is called when the first slice is asked for. */
  constructor(open: () => Promise<Cache>) {
    this.#open = open;
  }

  async read(slice: Slice, range: ByteRange): Promise<ReadableStream<Uint8Array> | null> {
    const cache = await this.#opened();
    const isWhole = range.length === slice.length;
    const last = range.offset + range.length - 1;
    const url = urlOf(slice);
    // The only header that the cache ever sees, made here: it would obey some of a client's and ignore others.
    const request = new Request(url, isWhole ? {} : { headers: { Range: `bytes=${range.offset}-${last}` } });
    const found = await cache.match(request);
    if (found === undefined) return null;
    const holds =
      found.body !== null &&
      found.headers.get("ETag") === slice.etag &&
      found.headers.get("Content-Length") === String(range.length) &&
      (isWhole
        ? found.status === 200
        : found.status === 206 &&
          found.headers.get("Content-Range") === `bytes ${range.offset}-${last}/${slice.length}`);
    if (holds) return found.body;
    await found.body?.cancel();
    await cache.delete(url);
    return null;
  }

  async write(slice: Slice, bytes: ReadableStream<Uint8Array>): Promise<void> {
    const headers = {
      "Cache-Control": CACHE_CONTROL,
      "Content-Length": String(slice.length),
      "Content-Type": "application/octet-stream",
      ETag: slice.etag,
    };
    await (await this.#opened()).put(urlOf(slice), new Response(bytes, { headers }));
  }

  async drop(slice: Slice): Promise<void> {
    await (await this.#opened()).delete(urlOf(slice));
  }

  #opened(): Promise<Cache> {
    this.#cache ??= this.#open();
    return this.#cache;
  }
}

function urlOf({ key, etag, index }: Slice): string {
  return `${BASE_URL}/${index}/${encodeURIComponent(etag)}/${encodeURIComponent(key)}`;
}
