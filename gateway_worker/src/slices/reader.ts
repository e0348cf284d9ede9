/** Reads slices: from the cache where they are, else from the origin, and then into the cache. */

import type { ObjectMetadata, Origin, OriginUse } from "../origin/interface";
import type { ByteRange } from "../range";
import { SLICE_BYTES, sliceAt } from "./interface";
import type { Slice, SliceCache, SliceSource } from "./interface";
import { cachedSource, originSource, storedSource } from "./source";

/** How many slices of one answer came from the cache. */
export interface CacheUse {
  hits: number;
  misses: number;
}

export interface ReaderEffects {
  /** Keeps the isolate alive until `work` is done. */
  defer(work: Promise<unknown>): void;
  report(message: string): void;
}

/** Slices whose misses one isolate remembers. */
const MAX_REMEMBERED_MISSES = 1000;

export class SliceReader {
  readonly #origin: Origin;
  readonly #cache: SliceCache | null;
  readonly #stallMs: number;
  /** Slices that a small range missed once. */
  readonly #missed = new Set<string>();

  /** Without a cache all bytes come from the origin. A source that gives nothing for `stallMs` counts as broken. */
  constructor(origin: Origin, cache: SliceCache | null, stallMs: number) {
    this.#origin = origin;
    this.#cache = cache;
    this.#stallMs = stallMs;
  }

  /**
   * Opens the bytes of `range`, which must lie within one slice.
   *
   * @throws as `Origin.read`
   */
  async open(
    key: string,
    metadata: ObjectMetadata,
    range: ByteRange,
    originUse: OriginUse,
    cacheUse: CacheUse,
    effects: ReaderEffects,
  ): Promise<SliceSource> {
    const cache = this.#cache;
    const readOrigin = async (wanted: ByteRange) =>
      originSource(await this.#origin.read(key, metadata, wanted, originUse), wanted.length, this.#stallMs);
    if (cache === null) return readOrigin(range);

    const slice = sliceAt(key, { etag: metadata.originEtag, size: metadata.size }, range);
    const begin = slice.index * SLICE_BYTES;
    const cached = await readCache(cache, slice, { offset: range.offset - begin, length: range.length }, effects);
    if (cached !== null) {
      cacheUse.hits += 1;
      return cachedSource(cached, range.length, () => {
        effects.report(`slice cache: slice ${slice.index} of ${key} is broken; dropped`);
        effects.defer(cache.drop(slice).catch(() => undefined));
      });
    }
    cacheUse.misses += 1;
    const store = (bytes: ReadableStream<Uint8Array>) =>
      cache.write(slice, bytes).catch((error) => {
        effects.report(`slice cache: ${messageOf(error)}`);
        throw error;
      });
    const source = await readOrigin(range);
    if (range.length === slice.length) return storedSource(source, store, effects.defer);

    // A small range does not pay for a whole slice at once: a second one of the same slice shows that more will come.
    if (this.#isMissedAgain(slice)) {
      const fill = async () => {
        const whole = { offset: begin, length: slice.length };
        await store(await this.#origin.read(key, metadata, whole, originUse));
      };
      effects.defer(fill().catch(() => undefined));
    }
    return source;
  }

  #isMissedAgain({ key, etag, index }: Slice): boolean {
    const name = `${index} ${etag} ${key}`;
    // Taken out, so that the ranges which come while the slice is being fetched do not fetch it again at once.
    if (this.#missed.delete(name)) return true;
    this.#missed.add(name);
    if (this.#missed.size > MAX_REMEMBERED_MISSES) {
      for (const oldest of this.#missed) {
        this.#missed.delete(oldest);
        break;
      }
    }
    return false;
  }
}

/** A cache that fails is a cache that holds nothing. */
async function readCache(
  cache: SliceCache,
  slice: Slice,
  range: ByteRange,
  effects: ReaderEffects,
): Promise<ReadableStream<Uint8Array> | null> {
  try {
    return await cache.read(slice, range);
  } catch (error) {
    effects.report(`slice cache: ${messageOf(error)}`);
    return null;
  }
}

const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error));
