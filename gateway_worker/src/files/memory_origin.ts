/** A store in memory, for tests: objects can be replaced, removed and damaged while the gateway runs. */

import { OriginChanged } from "../origin/interface";
import type { ObjectMetadata, Origin, OriginUse } from "../origin/interface";
import type { ByteRange } from "../range";

interface Stored {
  readonly bytes: Uint8Array;
  readonly etag: string;
  readonly lastModifiedMs: number;
}

export class MemoryOrigin implements Origin {
  readonly #objects = new Map<string, Stored>();
  #puts = 0;
  /** What was asked for, as `HEAD key` or `key offset+length`. */
  readonly asked: string[] = [];

  put(key: string, bytes: Uint8Array | string, lastModifiedMs = 0): void {
    this.#puts += 1;
    const content = typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes;
    this.#objects.set(key, { bytes: content, etag: `"e${this.#puts}"`, lastModifiedMs });
  }

  putAll(objects: ReadonlyMap<string, Uint8Array>, lastModifiedMs = 0): void {
    for (const [key, bytes] of objects) this.put(key, bytes, lastModifiedMs);
  }

  remove(key: string): void {
    this.#objects.delete(key);
  }

  /** Changes a byte and nothing else, as a failing disk would. */
  damage(key: string, offset: number): void {
    const { bytes, ...rest } = this.#objects.get(key)!;
    const damaged = bytes.slice();
    damaged[offset]! ^= 0xff;
    this.#objects.set(key, { bytes: damaged, ...rest });
  }

  async head(key: string, use: OriginUse): Promise<ObjectMetadata | null> {
    this.asked.push(`HEAD ${key}`);
    use.requests += 1;
    const stored = this.#objects.get(key);
    if (stored === undefined) return null;
    const { bytes, etag, lastModifiedMs } = stored;
    return { size: bytes.length, originEtag: etag, lastModifiedMs, sha256: null };
  }

  async read(
    key: string,
    metadata: ObjectMetadata,
    range: ByteRange,
    use: OriginUse,
  ): Promise<ReadableStream<Uint8Array>> {
    this.asked.push(`${key} ${range.offset}+${range.length}`);
    use.requests += 1;
    use.bytes += range.length;
    const stored = this.#objects.get(key);
    if (stored?.etag !== metadata.originEtag) throw new OriginChanged(`${key} changed`);
    if (range.length <= 0 || range.offset + range.length > stored.bytes.length)
      throw new RangeError(`${key}: beyond its end`);
    const part = stored.bytes.slice(range.offset, range.offset + range.length);
    return new Blob([part]).stream() as ReadableStream<Uint8Array>;
  }
}
