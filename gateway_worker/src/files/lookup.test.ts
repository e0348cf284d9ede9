import { beforeEach, describe, expect, test } from "vitest";

import { LookupReader } from "./lookup";
import type { LookupObject } from "./lookup";
import { hexOf, LookupError, PIECE_BYTES } from "./lookup_format";
import { MemoryOrigin } from "./memory_origin";
import { PAGE_BYTES, PageReader } from "./pages";
import { fixtureRelease } from "./release_fixture";
import type { FixtureFile } from "./release_fixture";

const use = { requests: 0, bytes: 0, status: null };
const text = (content: string) => new TextEncoder().encode(content);
const sha256 = async (bytes: Uint8Array) => hexOf(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)));

let origin: MemoryOrigin;
let reader: LookupReader;

beforeEach(() => {
  origin = new MemoryOrigin();
  reader = new LookupReader(new PageReader(origin));
});

async function stored(files: readonly FixtureFile[]): Promise<{ lookup: LookupObject; shards: string[] }> {
  const release = await fixtureRelease("ds", "v1", files);
  origin.putAll(release.objects);
  const metadata = (await origin.head(release.lookupKey, use))!;
  origin.asked.length = 0;
  const shards = release.shardKeys.map((key) => /[0-9a-f]{64}/.exec(key)![0]);
  return { lookup: { key: release.lookupKey, metadata }, shards };
}

describe("find", () => {
  test("every path leads to its own entry, and an absent one to none", async () => {
    const files = Array.from({ length: 3000 }, (_, n) => ({ path: `dir/${n}.txt`, content: text(`content ${n}`) }));
    const { lookup } = await stored(files);
    for (const { path, content } of files.slice(0, 300)) {
      expect(await reader.find(lookup, path, use)).toMatchObject({
        kind: "file",
        size: content.length,
        sha256: await sha256(content),
      });
    }
    for (const path of ["dir", "dir/", "dir/3000.txt", "DIR/1.txt"])
      expect(await reader.find(lookup, path, use)).toBeNull();
  });

  test("costs three small reads cold and two at most when the header is known", async () => {
    const files = Array.from({ length: 3000 }, (_, n) => ({ path: `${n}`, content: text(`${n}`) }));
    const { lookup } = await stored(files);
    await reader.find(lookup, "2999", use);
    expect(origin.asked.length).toBeLessThanOrEqual(3);
    for (let n = 0; n < 100; n += 1) {
      origin.asked.length = 0;
      await reader.find(lookup, `${n}`, use);
      expect(origin.asked.length).toBeLessThanOrEqual(2);
      for (const asked of origin.asked) expect(Number(asked.split("+")[1])).toBeLessThanOrEqual(2 * PAGE_BYTES);
    }
  });

  test("folders, links that lead nowhere and empty files are told apart", async () => {
    const files = [
      { path: "folder", content: null },
      { path: "link", content: "dangling" as const },
      { path: "empty", content: text(""), mtime: 77 },
    ];
    const { lookup } = await stored(files);
    expect(await reader.find(lookup, "folder", use)).toEqual({ kind: "folder" });
    expect(await reader.find(lookup, "link", use)).toEqual({ kind: "dangling" });
    expect(await reader.find(lookup, "empty", use)).toMatchObject({ size: 0, mtime: 77, place: { in: "nothing" } });
  });

  test("an empty release has nothing", async () => {
    const { lookup } = await stored([]);
    expect(await reader.find(lookup, "a", use)).toBeNull();
  });

  test.each([
    ["the magic", 0],
    ["the bucket bits", 8],
    ["the number of shards", 15],
    ["the number of entries", 23],
    ["the directory", 64 + 2 * 32],
  ])("damage to %s is an error of the store", async (_what, offset) => {
    const { lookup } = await stored([{ path: "a", content: text("a") }]);
    origin.damage(lookup.key, offset);
    await expect(reader.find(lookup, "a", use)).rejects.toThrow(LookupError);
  });
});

describe("pieces and spans", () => {
  const chunks = [...Array.from({ length: 600 }, (_, n) => 1 + (n % 7)), 5];
  const content = new Uint8Array(chunks.reduce((sum, length) => sum + length, 0)).map((_, n) => (n * 31) % 251);
  const file = async (lookup: LookupObject, path: string) => {
    const entry = await reader.find(lookup, path, use);
    if (entry?.kind !== "file") throw new Error("it is not there");
    return entry;
  };

  test("the pieces of any range are those that overlap it", async () => {
    const { lookup } = await stored([{ path: "big", content, chunks }]);
    const entry = await file(lookup, "big");
    const starts = chunks.map((_, n) => chunks.slice(0, n).reduce((sum, length) => sum + length, 0));
    for (const [offset, length] of [
      [0, 1],
      [0, content.length],
      [content.length - 1, 1],
      [1000, 700],
      [3, 1],
      [4, 3],
    ] as const) {
      const pieces = await reader.pieces(lookup, entry, { offset, length }, use);
      const expected = starts.filter((start, n) => start < offset + length && start + chunks[n]! > offset);
      expect(pieces.map(({ start }) => start)).toEqual(expected);
      for (const piece of pieces) {
        expect(piece.sha256).toBe(await sha256(content.subarray(piece.start, piece.start + piece.length)));
      }
    }
  });

  test("frames in a row are one span, scattered ones as many as there are", async () => {
    const { lookup, shards } = await stored([
      { path: "row", content, chunks },
      { path: "scattered", content: content.subarray(0, 40), chunks: [10, 10, 20], scattered: true },
      { path: "small", content: text("small") },
      { path: "alone", content: text("alone"), chunks: [5] },
      { path: "empty", content: text("") },
    ]);
    expect(await reader.spans(lookup, await file(lookup, "row"), use)).toHaveLength(1);
    const scattered = (await reader.spans(lookup, await file(lookup, "scattered"), use))!;
    expect(scattered.map(({ shard }) => shard)).toEqual([shards[0], shards[1], shards[0]]);
    expect(await reader.spans(lookup, await file(lookup, "alone"), use)).toHaveLength(1);
    for (const path of ["small", "empty"]) expect(await reader.spans(lookup, await file(lookup, path), use)).toBeNull();
  });

  test("a table that ends before the file does is an error of the store", async () => {
    const { lookup } = await stored([{ path: "big", content, chunks }]);
    const entry = await file(lookup, "big");
    const size = entry.size + 1;
    await expect(reader.pieces(lookup, { ...entry, size }, { offset: 0, length: size }, use)).rejects.toThrow(
      LookupError,
    );
  });

  test("one piece of a file of many is found by few reads", async () => {
    const { lookup } = await stored([{ path: "big", content, chunks }]);
    const entry = await file(lookup, "big");
    origin.asked.length = 0;
    await reader.pieces(lookup, entry, { offset: content.length - 1, length: 1 }, use);
    expect(origin.asked.length).toBeLessThanOrEqual(1 + Math.ceil((chunks.length * PIECE_BYTES) / PAGE_BYTES));
  });
});

test("pages: any range gives its own bytes, whatever was read before", async () => {
  const bytes = new Uint8Array(5 * PAGE_BYTES + 100).map((_, n) => (n * 7) % 253);
  origin.put("object", bytes);
  const metadata = (await origin.head("object", use))!;
  const pages = new PageReader(origin);
  const positions = [0, 1, PAGE_BYTES - 1, PAGE_BYTES, 2 * PAGE_BYTES + 5, 4 * PAGE_BYTES, bytes.length - 1];
  for (const offset of positions) {
    for (const end of positions.filter((position) => position > offset).concat(bytes.length)) {
      const read = await pages.read("object", metadata, { offset, length: end - offset }, use);
      expect(read).toEqual(bytes.subarray(offset, end));
    }
  }
  expect(new Set(origin.asked).size).toBe(origin.asked.length);
});
