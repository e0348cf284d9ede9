import { describe, expect, test } from "vitest";

import "../testing/platform";
import { slicesOf } from "../slices/interface";
import { originSource } from "../slices/source";
import { codedContent, decodedContent, memoryOf } from "./content";
import type { OpenShard } from "./content";
import { DamagedFrame, FrameMemory } from "./frames";
import { LookupReader } from "./lookup";
import type { LookupObject, Piece, Span } from "./lookup";
import { hexOf } from "./lookup_format";
import { MemoryOrigin } from "./memory_origin";
import { PageReader } from "./pages";
import { fixtureRelease } from "./release_fixture";

const use = { requests: 0, bytes: 0, status: null };
const STALL_MS = 1000;
const CHUNK = 700;
const CHUNKS = [3000, 1, 4000, 2000, 5000];
const SIZE = CHUNKS.reduce((sum, length) => sum + length, 0);
const CONTENT = new Uint8Array(SIZE).map((_, n) => (n * 89 + (n >> 8)) % 255);

interface Stored {
  readonly origin: MemoryOrigin;
  readonly pieces: Piece[];
  readonly spans: Span[];
  readonly frames: Uint8Array;
  readonly shardKeys: readonly string[];
  readonly openShard: OpenShard;
}

async function stored(scattered: boolean): Promise<Stored> {
  const origin = new MemoryOrigin();
  const release = await fixtureRelease("ds", "v1", [{ path: "file", content: CONTENT, chunks: CHUNKS, scattered }]);
  origin.putAll(release.objects);
  const lookup: LookupObject = { key: release.lookupKey, metadata: (await origin.head(release.lookupKey, use))! };
  const reader = new LookupReader(new PageReader(origin));
  const entry = await reader.find(lookup, "file", use);
  if (entry?.kind !== "file") throw new Error("it is not there");
  const openShard: OpenShard = async (shard, slice) => {
    const key = `ds/shards/${shard}.tar.zst`;
    return originSource(await origin.read(key, (await origin.head(key, use))!, slice, use), slice.length, STALL_MS);
  };
  return {
    origin,
    pieces: await reader.pieces(lookup, entry, { offset: 0, length: SIZE }, use),
    spans: (await reader.spans(lookup, entry, use))!,
    frames: joined(release.coded.get("file")!),
    shardKeys: release.shardKeys,
    openShard,
  };
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  parts.reduce((offset, part) => (bytes.set(part, offset), offset + part.length), 0);
  return bytes;
}

/** What a range gives, and the error that it breaks off with. */
async function read(
  open: ReturnType<typeof codedContent>,
  offset: number,
  length: number,
): Promise<{ bytes: Uint8Array; error: unknown }> {
  const parts: Uint8Array[] = [];
  try {
    for (const slice of slicesOf({ offset, length })) {
      const source = await open(slice);
      for (let chunk = await source.next(CHUNK); chunk !== null; chunk = await source.next(CHUNK)) {
        parts.push(chunk.slice());
        source.release(chunk);
      }
      expect(source.left).toBe(0);
    }
    return { bytes: joined(parts), error: null };
  } catch (error) {
    return { bytes: joined(parts), error };
  }
}

const RANGES = [
  [0, SIZE],
  [0, 1],
  [2999, 2],
  [2999, 3],
  [3001, 4000],
  [SIZE - 1, 1],
  [1, SIZE - 2],
] as const;

describe.each([false, true])("scattered over shards: %s", (scattered) => {
  test.each(RANGES)("decoded bytes %i and %i more are those of the file", async (offset, length) => {
    const { pieces, openShard } = await stored(scattered);
    const sha256 = hexOf(new Uint8Array(await crypto.subtle.digest("SHA-256", CONTENT)));
    const whole = length === SIZE ? sha256 : null;
    const { bytes, error } = await read(
      decodedContent(pieces, whole, SIZE, openShard, new FrameMemory().of("ds")),
      offset,
      length,
    );
    expect(error).toBeNull();
    expect(bytes).toEqual(CONTENT.subarray(offset, offset + length));
  });

  test("any range of the frames is that of the stored bytes", async () => {
    const { spans, frames, openShard } = await stored(scattered);
    for (const offset of [0, 1, 100, frames.length - 1]) {
      for (const length of [1, Math.min(50, frames.length - offset), frames.length - offset]) {
        const { bytes } = await read(codedContent(spans, openShard), offset, length);
        expect(bytes).toEqual(frames.subarray(offset, offset + length));
      }
    }
  });
});

test("pieces of a later part need nothing of those before", async () => {
  const { pieces, origin, openShard } = await stored(false);
  origin.asked.length = 0;
  const { bytes } = await read(
    decodedContent(pieces.slice(2, 4), null, SIZE, openShard, new FrameMemory().of("ds")),
    3500,
    4000,
  );
  expect(bytes).toEqual(CONTENT.subarray(3500, 7500));
  expect(origin.asked.filter((asked) => !asked.startsWith("HEAD"))).toHaveLength(1);
});

describe("damage", () => {
  test.each([
    ["the frame's header", 0],
    ["its data", 0.5],
    ["its checksum", 1],
  ])("to %s: the transfer breaks off before a wrong byte", async (_what, where) => {
    const { origin, pieces, shardKeys, openShard } = await stored(false);
    const { frameOffset, frameLength } = pieces[2]!;
    origin.damage(shardKeys[0]!, frameOffset + Math.floor(where * (frameLength - 1)));
    const { bytes, error } = await read(
      decodedContent(pieces, null, SIZE, openShard, new FrameMemory().of("ds")),
      0,
      SIZE,
    );
    expect(error).toBeInstanceOf(DamagedFrame);
    expect(bytes).toEqual(CONTENT.subarray(0, pieces[2]!.start));
  });

  test("a frame of other content that is whole is found by its SHA-256", async () => {
    const { pieces, openShard } = await stored(false);
    const [first, , third] = pieces as [Piece, Piece, Piece];
    const swapped = { ...first, frameOffset: third.frameOffset, frameLength: third.frameLength };
    const { bytes, error } = await read(
      decodedContent([swapped], null, SIZE, openShard, new FrameMemory().of("ds")),
      0,
      10,
    );
    expect(error).toBeInstanceOf(DamagedFrame);
    expect(bytes).toHaveLength(0);
  });

  test("pieces in a wrong order never make a complete body", async () => {
    const { pieces, openShard } = await stored(false);
    const [first, second, third, ...rest] = pieces as [Piece, Piece, Piece, ...Piece[]];
    const turned = [third, second, first, ...rest];
    let start = 0;
    const placed = turned.map((piece) => ({ ...piece, start: (start += piece.length) - piece.length }));
    const sha256 = hexOf(new Uint8Array(await crypto.subtle.digest("SHA-256", CONTENT)));
    const { bytes, error } = await read(
      decodedContent(placed, sha256, SIZE, openShard, new FrameMemory().of("ds")),
      0,
      SIZE,
    );
    expect(error).toBeInstanceOf(DamagedFrame);
    expect(bytes.length).toBeLessThan(SIZE);
  });
});

test("memory is that of two pieces and two reads, however many there are", () => {
  const piece = (n: number) =>
    ({ shard: "s", frameOffset: 10 * n, frameLength: 10, innerOffset: 5, length: 100 }) as Piece;
  expect(memoryOf([])).toBe(0);
  expect(memoryOf([piece(0)])).toBe(115);
  expect(memoryOf([piece(0), piece(2), piece(4), piece(6)])).toBe(2 * 105 + 2 * 10);
});

test("frames that follow each other are read together, up to 4 MiB", async () => {
  const { pieces, origin, openShard } = await stored(false);
  origin.asked.length = 0;
  await read(decodedContent(pieces, null, SIZE, openShard, new FrameMemory().of("ds")), 0, SIZE);
  expect(origin.asked.filter((asked) => !asked.startsWith("HEAD"))).toHaveLength(1);
  const large = { shard: "s", frameLength: 1_500_000, innerOffset: 0, length: 1 };
  const many = Array.from({ length: 10 }, (_, n) => ({ ...large, frameOffset: n * 1_500_000 }) as Piece);
  expect(memoryOf(many)).toBe(2 * 1 + 2 * 3_000_000);
});

describe("frames that were decoded last", () => {
  const piece = (n: number, innerOffset = 512) => ({ shard: "s", frameOffset: n, innerOffset }) as Piece;

  test("are remembered up to 16 MiB, the one that was used longest ago goes first", () => {
    const memory = new FrameMemory().of("ds");
    const raw = new Uint8Array(3 * 1024 * 1024);
    for (const n of [0, 1, 2, 3, 4]) memory.put(piece(n), raw);
    expect(memory.get(piece(0))).toBe(raw);
    memory.put(piece(5), raw);
    expect([0, 1, 2, 5].map((n) => memory.get(piece(n)) !== null)).toEqual([true, false, true, true]);
  });

  test("of one dataset are not those of another", () => {
    const memory = new FrameMemory();
    memory.of("a").put(piece(1), new Uint8Array(1));
    expect([memory.of("a").get(piece(1)), memory.of("b").get(piece(1))]).toEqual([new Uint8Array(1), null]);
  });

  test("are those that several files share", () => {
    const memory = new FrameMemory().of("ds");
    memory.put(piece(1, 0), new Uint8Array(10));
    memory.put(piece(2), new Uint8Array(5 * 1024 * 1024));
    expect([memory.get(piece(1, 0)), memory.get(piece(2))]).toEqual([null, null]);
  });
});
