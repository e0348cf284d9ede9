import { beforeEach, describe, expect, test } from "vitest";

import type { Origin } from "../origin/interface";
import type { ByteRange } from "../range";
import { SLICE_BYTES } from "./interface";
import type { SliceCache } from "./interface";
import { SliceReader } from "./reader";

const STALL_MS = 100;
const metadata = { size: 3 * SLICE_BYTES + 5, originEtag: '"v1"', lastModifiedMs: 0, sha256: null };
const stream = () => new Blob(["x"]).stream() as ReadableStream<Uint8Array>;

let read: ByteRange[];
let written: number[];
let cached: Set<number>;
let deferred: Promise<unknown>[];
let reports: string[];
let cacheFails: boolean;

beforeEach(() => {
  [read, written, cached, deferred, reports, cacheFails] = [[], [], new Set(), [], [], false];
});

const origin: Origin = {
  head: async () => metadata,
  read: async (_key, _metadata, range) => {
    read.push(range);
    return stream();
  },
};
const cache: SliceCache = {
  read: async (slice) => {
    if (cacheFails) throw new Error("cache is down");
    return cached.has(slice.index) ? stream() : null;
  },
  write: async (slice) => {
    written.push(slice.index);
    cached.add(slice.index);
  },
  drop: async (slice) => void cached.delete(slice.index),
};
const effects = {
  defer: (work: Promise<unknown>) => void deferred.push(work),
  report: (message: string) => void reports.push(message),
};

async function open(reader: SliceReader, range: ByteRange) {
  const use = { hits: 0, misses: 0 };
  await reader.open("k", metadata, range, { requests: 0, bytes: 0, status: null }, use, effects);
  await Promise.all(deferred);
  return use;
}

const small = { offset: SLICE_BYTES + 10, length: 100 };

describe("SliceReader", () => {
  test("without a cache, everything is read from the origin", async () => {
    expect(await open(new SliceReader(origin, null, STALL_MS), small)).toEqual({ hits: 0, misses: 0 });
    expect(read).toEqual([small]);
  });

  test("the second small range of a slice brings the slice into the cache, the third finds it there", async () => {
    const reader = new SliceReader(origin, cache, STALL_MS);
    expect(await open(reader, small)).toEqual({ hits: 0, misses: 1 });
    expect(written).toEqual([]);
    await open(reader, small);
    expect(written).toEqual([1]);
    expect(read).toEqual([small, small, { offset: SLICE_BYTES, length: SLICE_BYTES }]);
    expect(await open(reader, small)).toEqual({ hits: 1, misses: 0 });
  });

  test("the last slice is as short as the object's end", async () => {
    const reader = new SliceReader(origin, cache, STALL_MS);
    for (let i = 0; i < 2; i += 1) await open(reader, { offset: 3 * SLICE_BYTES + 1, length: 1 });
    expect(read.at(-1)).toEqual({ offset: 3 * SLICE_BYTES, length: 5 });
  });

  test("a cache that fails is reported and passed by", async () => {
    cacheFails = true;
    expect(await open(new SliceReader(origin, cache, STALL_MS), small)).toEqual({ hits: 0, misses: 1 });
    expect(reports).toEqual(["slice cache: cache is down"]);
  });
});
