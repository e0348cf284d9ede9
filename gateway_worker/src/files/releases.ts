/** Which releases can be seen, and where their lookups lie. */

import { OriginChanged, OriginError } from "../origin/interface";
import type { ObjectMetadata, Origin, OriginUse } from "../origin/interface";

/** A version name that stands for the promoted release; no release has it. */
export const LATEST = "latest";

/** `latest.json` is looked at again after this long: a promotion is seen within it. */
export const LATEST_MS = 2_000;

/** Whether a release is still there is looked at again after this long: retention removes old ones. */
export const VISIBLE_MS = 10_000;

/** Releases and datasets that one isolate remembers, at some 500 bytes each. */
const MAX_REMEMBERED = 1_000;

/** A signature has less than 1 KiB, and `latest.json` less than 200 bytes. */
const MAX_DOCUMENT_BYTES = 64 * 1024;

const DATASET = /^[a-z0-9][a-z0-9._-]{0,62}$/;
const VERSION = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const LOOKUP_NAME = /^lookup\.[0-9a-f]{16}\.bin$/;

export const isDatasetName = (name: string) => DATASET.test(name) && !name.endsWith("..");
export const isVersionName = (name: string) => VERSION.test(name);

/** The object that makes a release visible: it is written last, and goes when retention removes the release. */
export const signatureKey = (dataset: string, version: string) => `${dataset}/releases/${version}/manifest.json.sig`;

const latestKey = (dataset: string) => `${dataset}/latest.json`;

/** A release that can be seen. `lookup` is null where it was made before there were lookups. */
export interface Release {
  readonly lookup: { readonly key: string; readonly metadata: ObjectMetadata } | null;
}

/** The promoted release, and when it was promoted (ms since the epoch). */
export interface Promotion {
  readonly version: string;
  readonly promotedMs: number;
}

interface Remembered<T> {
  readonly value: T;
  /** Entity tag and time of the object that told it: a way back gives an old tag again. */
  readonly seen: string;
  readonly until: number;
}

export class ReleaseReader {
  readonly #origin: Origin;
  readonly #releases = new Map<string, Remembered<Release>>();
  readonly #promotions = new Map<string, Remembered<Promotion>>();

  constructor(origin: Origin) {
    this.#origin = origin;
  }

  /** The promoted release of a dataset; null: there is none. @throws OriginError */
  async latest(dataset: string, use: OriginUse, nowMs: number): Promise<Promotion | null> {
    return this.#known(this.#promotions, latestKey(dataset), LATEST_MS, use, nowMs, async (text, metadata) => {
      const document = JSON.parse(text) as { version?: unknown };
      const { version } = document;
      if (typeof version !== "string" || !isVersionName(version)) throw new SyntaxError("it names no version");
      return { version, promotedMs: metadata.lastModifiedMs };
    });
  }

  /** A release that is complete and not removed; null: there is none. A yanked one is there for who names it. */
  async open(dataset: string, version: string, use: OriginUse, nowMs: number): Promise<Release | null> {
    return this.#known(this.#releases, signatureKey(dataset, version), VISIBLE_MS, use, nowMs, async (text) => {
      const name = lookupNamedIn(text);
      if (name === null) return { lookup: null };
      const key = `${dataset}/releases/${version}/${name}`;
      const metadata = await this.#origin.head(key, use);
      if (metadata === null) throw new OriginChanged(`the lookup ${key} is not there`);
      return { lookup: { key, metadata } };
    });
  }

  /** What was known of a dataset does not hold any longer. */
  forget(dataset: string): void {
    this.#promotions.delete(latestKey(dataset));
    for (const key of [...this.#releases.keys()]) {
      if (key.startsWith(`${dataset}/`)) this.#releases.delete(key);
    }
  }

  /** What an object tells; after `maxAgeMs` it is looked whether the object is the same one still. */
  async #known<T>(
    remembered: Map<string, Remembered<T>>,
    key: string,
    maxAgeMs: number,
    use: OriginUse,
    nowMs: number,
    read: (text: string, metadata: ObjectMetadata) => Promise<T>,
  ): Promise<T | null> {
    const known = remembered.get(key);
    if (known !== undefined && nowMs < known.until) return known.value;
    remembered.delete(key);
    const metadata = await this.#origin.head(key, use);
    if (metadata === null) return null;
    const seen = `${metadata.originEtag} ${metadata.lastModifiedMs}`;
    const value = known?.seen === seen ? known.value : await this.#parsed(key, metadata, use, read);
    remembered.set(key, { value, seen, until: nowMs + maxAgeMs });
    if (remembered.size > MAX_REMEMBERED) {
      for (const oldest of remembered.keys()) {
        remembered.delete(oldest);
        break;
      }
    }
    return value;
  }

  async #parsed<T>(
    key: string,
    metadata: ObjectMetadata,
    use: OriginUse,
    read: (text: string, metadata: ObjectMetadata) => Promise<T>,
  ): Promise<T> {
    const { size } = metadata;
    if (size === 0 || size > MAX_DOCUMENT_BYTES) throw new OriginError(`${key} has ${size} bytes`);
    const text = await new Response(await this.#origin.read(key, metadata, { offset: 0, length: size }, use)).text();
    try {
      return await read(text, metadata);
    } catch (error) {
      if (error instanceof OriginError) throw error;
      throw new OriginError(`${key} is malformed: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
}

/**
 * The lookup's file name in the header of a release's signature, a detached JWS (RFC 7515 appendix F); null: none.
 *
 * The signature itself is for the client, who knows whom to trust: the gateway believes its store.
 */
export function lookupNamedIn(signature: string): string | null {
  const header = signature.slice(0, signature.indexOf("."));
  const json = atob(header.replaceAll("-", "+").replaceAll("_", "/"));
  const { lookup } = JSON.parse(json) as { lookup?: unknown };
  if (lookup === undefined) return null;
  if (typeof lookup !== "string" || !LOOKUP_NAME.test(lookup)) throw new SyntaxError("the signature names no lookup");
  return lookup;
}
