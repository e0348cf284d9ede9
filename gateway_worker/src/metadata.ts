/** Remembers the metadata of shards: they are named by the hash of their bytes, so that no other version can appear. */

import type { ObjectMetadata, Origin, OriginUse } from "./origin/interface";
import { remember } from "./remember";

/** A shard that is deleted is gone from here after this long. */
const REMEMBER_MS = 60_000;
const MAX_REMEMBERED = 2000;

/** Shards are named by the SHA-256 of their bytes (design, section 4). */
const SHARD_KEY = /(?:^|\/)shards\/([0-9a-f]{64})\.tar\.zst$/;

/** The digest that the name of a shard tells, in hex; null for every other key. */
export function digestInName(key: string): string | null {
  return SHARD_KEY.exec(key)?.[1] ?? null;
}

export class MetadataReader {
  readonly #origin: Origin;
  readonly #remembered = new Map<string, { metadata: ObjectMetadata; until: number }>();

  constructor(origin: Origin) {
    this.#origin = origin;
  }

  /** @throws OriginError when the store fails. Null: there is no such object. */
  async head(key: string, use: OriginUse, nowMs: number): Promise<ObjectMetadata | null> {
    const known = this.#remembered.get(key);
    if (known !== undefined && nowMs < known.until) return known.metadata;
    this.#remembered.delete(key);
    const metadata = await this.#origin.head(key, use);
    if (metadata !== null && digestInName(key) !== null) this.#remember(key, metadata, nowMs);
    return metadata;
  }

  /** What was known of a key does not hold any longer. */
  forget(key: string): void {
    this.#remembered.delete(key);
  }

  #remember(key: string, metadata: ObjectMetadata, nowMs: number): void {
    remember(this.#remembered, key, { metadata, until: nowMs + REMEMBER_MS }, MAX_REMEMBERED);
  }
}
