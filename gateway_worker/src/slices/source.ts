/** Where the bytes of a slice come from: the cache, the origin, or the origin on their way into the cache as well. */

import { OriginError } from "../origin/interface";
import { CHUNK_BYTES, ChunkReader, freeMemory } from "./chunks";
import type { SliceSource } from "./interface";

/** Bytes of the origin. */
export function originSource(stream: ReadableStream<Uint8Array>, length: number, stallMs: number): ChunkReader {
  return new ChunkReader(stream, length, {
    stallMs,
    failure: (why) => new OriginError(`the store broke a body off: ${why}`),
  });
}

/** Bytes of the cache. When they turn out to be wrong, `drop` sees to it that the next transfer reads the origin. */
export function cachedSource(stream: ReadableStream<Uint8Array>, length: number, drop: () => void): SliceSource {
  return new ChunkReader(stream, length, {
    // A cache is the platform's own, or a local disk.
    stallMs: null,
    failure: (why) => {
      drop();
      return new Error(`a cached slice is broken: ${why}`);
    },
  });
}

/**
 * Bytes that are stored while they are sent, chunk by chunk: `tee()` would keep in memory what the slower side has not
 * taken yet, a whole slice for each transfer. A store that fails does not disturb the client. A client that leaves does
 * not end the storing: it may come back for the rest, and some caches keep what an aborted `put` had got as if it were
 * complete.
 *
 * @param store takes the stream of the bytes, and stores all or nothing
 * @param defer keeps the isolate alive until what is still to be stored is stored
 */
export function storedSource(
  origin: ChunkReader,
  store: (bytes: ReadableStream<Uint8Array>) => Promise<void>,
  defer: (work: Promise<unknown>) => void,
): SliceSource {
  const copy = new FixedLengthStream(origin.left);
  const cache = copy.writable.getWriter();
  let isStoring = true;
  /** The chunk that the client has already, and the cache has not. */
  let waiting: { readonly chunk: Uint8Array; readonly isLast: boolean } | null = null;
  defer(store(copy.readable).catch(() => (isStoring = false)));

  /** The client goes first: storing a chunk overlaps with its way to the client, and with the next one's from the origin. */
  async function storeWaiting(): Promise<void> {
    if (waiting === null) return;
    const { chunk, isLast } = waiting;
    waiting = null;
    if (isStoring) await cache.write(chunk).catch(() => (isStoring = false));
    // The last one is stored while the client may still be taking it: that one is left to the garbage collector.
    if (!isLast) freeMemory(chunk);
    else if (isStoring) await cache.close().catch(() => (isStoring = false));
  }

  async function step(maxBytes: number): Promise<Uint8Array | null> {
    const storing = storeWaiting();
    try {
      const chunk = await origin.next(maxBytes);
      // One chunk at a time: a slow disk slows the transfer down instead of filling the memory.
      await storing;
      if (chunk === null) return null;
      waiting = { chunk, isLast: origin.left === 0 };
      // Nobody need ask again after the last chunk, so that its turn comes without.
      if (waiting.isLast) defer(storeWaiting());
      return chunk;
    } catch (error) {
      await storing;
      await cache.abort(error).catch(() => undefined);
      throw error;
    }
  }

  /** One step after the other: who stores the rest may come while the client's last step is on its way. */
  let lastStep: Promise<unknown> = Promise.resolve();
  function next(maxBytes: number): Promise<Uint8Array | null> {
    const current = lastStep.then(() => step(maxBytes));
    lastStep = current.catch(() => undefined);
    return current;
  }

  async function storeRest(): Promise<void> {
    try {
      while (isStoring && (await next(CHUNK_BYTES)) !== null);
    } catch {
      // The slice is not stored, and nobody waits for it.
    }
    await origin.cancel();
  }

  return {
    get left() {
      return origin.left;
    },
    next,
    // Not yet: it is being stored.
    release: () => undefined,
    cancel: async () => defer(storeRest()),
  };
}
