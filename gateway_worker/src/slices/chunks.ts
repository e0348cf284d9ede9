/** Reads a stream in large chunks, of exactly as many bytes as it must have. */

/**
 * Bytes that move at once: few turns of JavaScript for a slice, little memory for a stream, and the grain in which a
 * transfer is counted.
 */
export const CHUNK_BYTES = 512 * 1024;

export interface ChunkRules {
  /** A chunk must be there within this time, ms; null: it is waited for as long as it takes. */
  readonly stallMs: number | null;
  /** The error for a stream that breaks, stalls, or has another length than it should. */
  failure(why: string): Error;
}

/**
 * Frees the memory of a chunk: the garbage collector comes when tens of megabytes of them lie about, and an isolate has 128 MB
 * for all its transfers. Whoever still reads the chunk by mistake finds it empty, and never other bytes.
 */
export function freeMemory(chunk: Uint8Array): void {
  (chunk.buffer as ArrayBuffer).transfer(0);
}

export class ChunkReader {
  readonly #reader: ReadableStreamBYOBReader;
  readonly #length: number;
  readonly #rules: ChunkRules;
  #left: number;

  /** `length`: bytes that the stream must have; none is read beyond them, and none may be missing. */
  constructor(stream: ReadableStream<Uint8Array>, length: number, rules: ChunkRules) {
    this.#reader = stream.getReader({ mode: "byob" });
    this.#length = this.#left = length;
    this.#rules = rules;
  }

  /** Bytes that are still to come. */
  get left(): number {
    return this.#left;
  }

  /**
   * The next bytes in memory of their own: `maxBytes`, fewer at the end, null after it. Of the last chunk it is certain
   * that nothing follows.
   *
   * @throws what `ChunkRules.failure` gives
   */
  async next(maxBytes: number): Promise<Uint8Array | null> {
    if (this.#left === 0) return null;
    const wanted = Math.min(maxBytes, this.#left);
    // One byte more than the last chunk has: the answer then tells the stream's end as well.
    const size = wanted === this.#left ? wanted + 1 : wanted;
    const { value } = await this.#guarded(this.#reader.readAtLeast(size, new Uint8Array(size)));
    const found = value?.length ?? 0;
    if (found !== wanted) {
      const read = this.#length - this.#left + found;
      throw this.#failed(found > wanted ? "it is longer than it should be" : `it ended after ${read} bytes`);
    }
    this.#left -= found;
    return value ?? null;
  }

  /** Frees the chunk's memory at once. */
  release(chunk: Uint8Array): void {
    freeMemory(chunk);
  }

  /** Nobody wants the rest. */
  async cancel(): Promise<void> {
    this.#left = 0;
    await this.#reader.cancel().catch(() => undefined);
  }

  /** @throws what `ChunkRules.failure` gives */
  async #guarded<T>(reading: Promise<T>): Promise<T> {
    const { stallMs } = this.#rules;
    try {
      return await (stallMs === null ? reading : unlessStalled(reading, stallMs));
    } catch (error) {
      throw this.#failed(error instanceof Error ? error.message : String(error));
    }
  }

  #failed(why: string): Error {
    // Not awaited: a source that stalls may stall here as well.
    void this.cancel();
    return this.#rules.failure(`${why}; ${this.#length} bytes were promised`);
  }
}

async function unlessStalled<T>(reading: Promise<T>, stallMs: number): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | null = null;
  const stalled = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`nothing came for ${stallMs} ms`)), stallMs);
  });
  try {
    return await Promise.race([reading, stalled]);
  } finally {
    clearTimeout(timer);
    // Where it stalled, nobody waits for it any more.
    reading.catch(() => undefined);
  }
}
