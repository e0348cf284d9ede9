/** Slice cache over a directory: workerd's disk service, which serves ranges and writes files atomically. */

import type { ByteRange } from "../range";
import { remember } from "../remember";
import type { Slice, SliceCache } from "./interface";

/** The part of a service binding that is used. */
export interface DiskService {
  fetch(url: string, init?: RequestInit): Promise<Response>;
}

/** The host means nothing to the service. */
const BASE_URL = "http://disk";

/** Slices whose file name an isolate remembers. */
const MAX_URLS = 10_000;

export class DiskSlices implements SliceCache {
  readonly #disk: DiskService;
  readonly #urls = new Map<string, string>();

  constructor(disk: DiskService) {
    this.#disk = disk;
  }

  async read(slice: Slice, range: ByteRange): Promise<ReadableStream<Uint8Array> | null> {
    const url = await this.#urlOf(slice);
    const isWhole = range.length === slice.length;
    const last = range.offset + range.length - 1;
    const found = await this.#disk.fetch(url, {
      headers: isWhole ? {} : { Range: `bytes=${range.offset}-${last}` },
    });
    const holds = isWhole
      ? found.status === 200 && found.headers.get("Content-Length") === String(slice.length)
      : found.status === 206 && found.headers.get("Content-Range") === `bytes ${range.offset}-${last}/${slice.length}`;
    if (holds) return found.body;
    await found.body?.cancel();
    if (found.status !== 404) await this.#disk.fetch(url, { method: "DELETE" });
    return null;
  }

  async write(slice: Slice, bytes: ReadableStream<Uint8Array>): Promise<void> {
    const written = await this.#disk.fetch(await this.#urlOf(slice), { method: "PUT", body: bytes });
    if (!written.ok) throw new Error(`the slice cache's disk answered ${written.status}`);
  }

  async drop(slice: Slice): Promise<void> {
    await this.#disk.fetch(await this.#urlOf(slice), { method: "DELETE" });
  }

  /** The file's name is a hash: a key may hold what no file name may, and its tag and position are part of it. */
  async #urlOf({ key, etag, index, length }: Slice): Promise<string> {
    const name = JSON.stringify([key, etag, index, length]);
    const known = this.#urls.get(name);
    if (known !== undefined) return known;
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(name)));
    const hex = [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    const url = `${BASE_URL}/${hex.slice(0, 2)}/${hex}`;
    remember(this.#urls, name, url, MAX_URLS);
    return url;
  }
}
