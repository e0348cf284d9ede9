/** The objects that the cases ask for: the same bytes on every run, so that a body is checked by comparing. */

import { createHash } from "node:crypto";

import { fixtureRelease } from "../src/files/release_fixture";

const MIB = 1024 * 1024;

/** Bytes that differ at every offset of a slice and between slices, without being random. */
function patterned(length: number): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  let state = 0x9e3779b9;
  for (let i = 0; i < length; i += 1) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

/** Three slices of 8 MiB, the last one short. */
const shard = patterned(16 * MIB + 5);

export const SHARD_KEY = `conf/shards/${sha256Of(shard)}.tar.zst`;

export interface StoredObject {
  readonly bytes: Buffer;
  /** Whether the uploader records `sha256` in the metadata, as Lading does. */
  readonly recordsDigest: boolean;
}

export const OBJECTS: Readonly<Record<string, StoredObject>> = {
  "conf/text.txt": { bytes: patterned(3000), recordsDigest: true },
  "conf/undigested": { bytes: patterned(100), recordsDigest: false },
  "conf/empty": { bytes: Buffer.alloc(0), recordsDigest: true },
  "conf/one": { bytes: Buffer.from("x"), recordsDigest: true },
  "conf/manifest.json": { bytes: Buffer.from('{"a":"lading"}\n'.repeat(500)), recordsDigest: true },
  "conf/café 1+2 100%.txt": { bytes: patterned(64), recordsDigest: true },
  [SHARD_KEY]: { bytes: shard, recordsDigest: false },
};

export const RELEASED = {
  "small.txt": { content: patterned(3000) },
  "table.parquet": { content: patterned(50) },
  "dir/ünï 1+2 100%.bin": { content: patterned(700) },
  empty: { content: Buffer.alloc(0) },
  // Three frames in a row, and four that lie in two shards in turn.
  "large.bin": { content: patterned(900_000), chunks: [400_000, 300_000, 200_000] },
  "scattered.bin": { content: patterned(40_000), chunks: [10_000, 10_000, 15_000, 5_000], scattered: true },
  // Above the limit that the suite configures.
  "huge.bin": { content: patterned(1_500_000), chunks: [500_000, 500_000, 500_000] },
  folder: { content: null },
  "nowhere.lnk": { content: "dangling" as const },
};

/** Files are decoded up to this many bytes where the suite runs. */
export const DECODE_MAX_BYTES = 1_000_000;

/** The same times in any run, and none of them in the future. */
const MTIME_S = 1_600_000_000;

export const RELEASE = await fixtureRelease(
  "conf",
  "v1",
  Object.entries(RELEASED).map(([path, file]) => ({ path, mtime: MTIME_S, ...file })),
);
export const LATEST_KEY = "conf/latest.json";

export function sha256Of(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}
