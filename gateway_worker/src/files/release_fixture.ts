/** A release as the release engine stores it, for tests: shards of zstd frames, the lookup, the signature that names it. */

import { zstdCompressSync } from "node:zlib";

import { hexOf } from "./lookup_format";

const TAR_BLOCK_BYTES = 512;
const BUCKET_ENTRIES = 32;

export interface FixtureFile {
  readonly path: string;
  /** null: a folder; "dangling": a link that leads nowhere. */
  readonly content: Uint8Array | null | "dangling";
  /** Lengths of its pieces, each in a frame of its own; without them the file lies in one frame with other small ones. */
  readonly chunks?: readonly number[];
  /** Puts every other piece into a second shard, so that no two frames follow each other. */
  readonly scattered?: boolean;
  /** Seconds since the epoch. */
  readonly mtime?: number;
}

export interface FixtureRelease {
  /** Bytes by key. */
  readonly objects: ReadonlyMap<string, Uint8Array>;
  readonly lookupKey: string;
  readonly shardKeys: readonly string[];
  /** The stored frames of each file that is made of whole ones. */
  readonly coded: ReadonlyMap<string, readonly Uint8Array[]>;
}

interface Placed {
  readonly shard: number;
  readonly frameOffset: number;
  readonly frameLength: number;
  readonly innerOffset: number;
  readonly content: Uint8Array;
  readonly start: number;
}

export async function fixtureRelease(
  dataset: string,
  version: string,
  files: readonly FixtureFile[],
): Promise<FixtureRelease> {
  const shards = [new ShardFixture(), new ShardFixture()];
  const placed = new Map<string, Placed[]>();
  placeSmall(files, shards[0]!, placed);
  for (const file of files) placeLarge(file, shards, placed);

  const digests = await Promise.all(shards.map(async (shard) => sha256(shard.bytes())));
  // The lookup lists shards by their digest.
  const order = [0, 1].sort((a, b) => (hexOf(digests[a]!) < hexOf(digests[b]!) ? -1 : 1));
  const lookup = await lookupOf(
    files,
    placed,
    order.map((index) => digests[index]!),
    (shard) => order.indexOf(shard),
  );
  const name = `lookup.${hexOf(await sha256(lookup)).slice(0, 16)}.bin`;
  const lookupKey = `${dataset}/releases/${version}/${name}`;
  const shardKeys = digests.map((digest) => `${dataset}/shards/${hexOf(digest)}.tar.zst`);
  const objects = new Map<string, Uint8Array>([
    [`${dataset}/releases/${version}/manifest.json.sig`, signatureNaming(name)],
    [lookupKey, lookup],
    ...shards.map((shard, index) => [shardKeys[index]!, shard.bytes()] as const),
  ]);
  const frameOf = ({ shard, frameOffset, frameLength }: Placed) =>
    shards[shard]!.bytes().subarray(frameOffset, frameOffset + frameLength);
  const coded = new Map(
    [...placed]
      .filter(([, places]) => places.every(({ innerOffset }) => innerOffset === 0))
      .map(([path, places]) => [path, places.map(frameOf)]),
  );
  return { objects, lookupKey, shardKeys, coded };
}

/** A detached JWS as `lading/signing.py` makes it; the gateway reads its header alone. */
export function signatureNaming(lookup: string | undefined): Uint8Array {
  const header = { alg: "EdDSA", b64: false, crit: ["b64"], kid: "k?>", lookup, typ: "lading-manifest+jws" };
  const coded = btoa(JSON.stringify(header)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  return new TextEncoder().encode(`${coded}..c2lnbmF0dXJl\n`);
}

class ShardFixture {
  readonly #frames: Uint8Array[] = [];
  #length = 0;

  add(raw: Uint8Array): { frameOffset: number; frameLength: number } {
    const frame = new Uint8Array(zstdCompressSync(raw));
    const place = { frameOffset: this.#length, frameLength: frame.length };
    this.#frames.push(frame);
    this.#length += frame.length;
    return place;
  }

  bytes(): Uint8Array {
    return joined([...this.#frames, new TextEncoder().encode("in place of the seek table")]);
  }
}

function placeSmall(files: readonly FixtureFile[], shard: ShardFixture, placed: Map<string, Placed[]>): void {
  const small = files.filter(({ content, chunks }) => isContent(content) && content.length > 0 && chunks === undefined);
  const raw: Uint8Array[] = [];
  const starts: number[] = [];
  for (const { content } of small) {
    raw.push(new Uint8Array(TAR_BLOCK_BYTES).fill(0x68));
    starts.push(raw.reduce((sum, part) => sum + part.length, 0));
    raw.push(content as Uint8Array);
  }
  if (small.length === 0) return;
  const frame = shard.add(joined(raw));
  for (const [index, { path, content }] of small.entries()) {
    const place = { shard: 0, ...frame, innerOffset: starts[index]!, content: content as Uint8Array, start: 0 };
    placed.set(path, [place]);
  }
}

function placeLarge(file: FixtureFile, shards: readonly ShardFixture[], placed: Map<string, Placed[]>): void {
  if (!isContent(file.content) || file.chunks === undefined) return;
  const pieces: Placed[] = [];
  let start = 0;
  for (const [index, length] of file.chunks.entries()) {
    const content = file.content.subarray(start, start + length);
    const shard = file.scattered === true ? index % 2 : 0;
    pieces.push({ shard, ...shards[shard]!.add(content), innerOffset: 0, content, start });
    start += length;
  }
  placed.set(file.path, pieces);
}

async function lookupOf(
  files: readonly FixtureFile[],
  placed: ReadonlyMap<string, readonly Placed[]>,
  shards: readonly Uint8Array[],
  shardNumber: (shard: number) => number,
): Promise<Uint8Array> {
  const spans: Uint8Array[] = [];
  const pieces: Uint8Array[] = [];
  const entries: { hash: Uint8Array; bytes: Uint8Array }[] = [];
  for (const { path, content, mtime } of files) {
    const hash = (await sha256(new TextEncoder().encode(path))).subarray(0, 16);
    const places = placed.get(path) ?? [];
    const [only] = places;
    let described = [0, 0, 0, 0];
    let kind = content === null ? 3 : content === "dangling" ? 4 : 0;
    if (places.length === 1 && only !== undefined) {
      kind = 1;
      described = [shardNumber(only.shard), only.frameLength, only.innerOffset, only.frameOffset];
    } else if (places.length > 1) {
      kind = 2;
      const own = spansOf(places);
      described = [pieces.length, places.length, own.length, spans.length];
      for (const { shard, offset, length } of own)
        spans.push(packed([8, offset], [8, length], [4, shardNumber(shard)], [4, 0]));
      for (const place of places) {
        const { frameOffset, frameLength, innerOffset, start } = place;
        const numbers = packed([8, start], [8, frameOffset], [4, frameLength], [4, shardNumber(place.shard)]);
        pieces.push(
          joined([await sha256(place.content), numbers, packed([4, innerOffset], [4, place.content.length])]),
        );
      }
    }
    const bytes = isContent(content) ? content : new Uint8Array();
    const digest = isContent(content) ? await sha256(bytes) : new Uint8Array(32);
    const [first, second, third, fourth] = described as [number, number, number, number];
    const facts = packed([8, bytes.length], [8, mtime ?? 0], [1, kind], [1, 0], [1, 0], [1, 0]);
    const place = packed([4, first], [4, second], [4, third], [8, fourth]);
    entries.push({ hash, bytes: joined([hash, digest, facts, place]) });
  }
  entries.sort((a, b) => (hexOf(a.hash) < hexOf(b.hash) ? -1 : 1));
  const bits = Math.max(0, Math.ceil(Math.log2(Math.max(1, entries.length) / BUCKET_ENTRIES)));
  const bucketOf = (hash: Uint8Array) =>
    Math.floor(new DataView(hash.buffer, hash.byteOffset).getUint32(0) / 2 ** (32 - bits));
  const directory = Array.from({ length: 2 ** bits + 1 }, (_, bucket) =>
    packed([4, entries.filter(({ hash }) => bucketOf(hash) < bucket).length]),
  );
  return joined([
    new TextEncoder().encode("LADLKUP1"),
    packed([4, bits], [4, shards.length], [8, entries.length], [8, spans.length], [8, pieces.length]),
    new Uint8Array(24),
    ...shards,
    ...directory,
    ...entries.map(({ bytes }) => bytes),
    ...spans,
    ...pieces,
  ]);
}

function spansOf(places: readonly Placed[]): { shard: number; offset: number; length: number }[] {
  const spans: { shard: number; offset: number; length: number }[] = [];
  for (const { shard, frameOffset, frameLength } of places) {
    const last = spans.at(-1);
    if (last?.shard === shard && last.offset + last.length === frameOffset) last.length += frameLength;
    else spans.push({ shard, offset: frameOffset, length: frameLength });
  }
  return spans;
}

function packed(...fields: readonly (readonly [width: number, value: number])[]): Uint8Array {
  return joined(
    fields.map(([width, value]) => {
      const view = new DataView(new ArrayBuffer(width));
      if (width === 8) view.setBigUint64(0, BigInt(value));
      else if (width === 4) view.setUint32(0, value);
      else view.setUint8(0, value);
      return new Uint8Array(view.buffer);
    }),
  );
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    bytes.set(part, offset);
    offset += part.length;
  }
  return bytes;
}

function isContent(content: FixtureFile["content"]): content is Uint8Array {
  return content instanceof Uint8Array;
}

async function sha256(bytes: Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
}
