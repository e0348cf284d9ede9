import { expect, test } from "vitest";

import { digestInName, MetadataReader } from "./metadata";
import type { Origin } from "./origin/interface";

const SHARD = `ds/shards/${"a".repeat(64)}.tar.zst`;
const use = { requests: 0, bytes: 0, status: null };

function readerOf() {
  let heads = 0;
  const head: Origin["head"] = async (key) => {
    heads += 1;
    return key.includes("missing") ? null : { size: 1, originEtag: '"v"', lastModifiedMs: 0, sha256: null };
  };
  return { reader: new MetadataReader({ head, read: async () => Promise.reject() }), heads: () => heads };
}

test("a shard's metadata is remembered for a minute, or until it shows to be wrong", async () => {
  const { reader, heads } = readerOf();
  for (const ms of [0, 59_999]) await reader.head(SHARD, use, ms);
  expect(heads()).toBe(1);
  await reader.head(SHARD, use, 60_000);
  expect(heads()).toBe(2);
  reader.forget(SHARD);
  await reader.head(SHARD, use, 60_001);
  expect(heads()).toBe(3);
});

test("what may be replaced, and what is not there, is asked for each time", async () => {
  const { reader, heads } = readerOf();
  for (const key of ["ds/latest.json", `missing/${SHARD}`]) {
    for (let i = 0; i < 2; i += 1) await reader.head(key, use, 0);
  }
  expect(heads()).toBe(4);
});

test("only the name of a shard tells a digest", () => {
  expect(digestInName(SHARD)).toBe("a".repeat(64));
  expect(digestInName(`${SHARD}.sig`)).toBeNull();
  expect(digestInName("ds/shards/x.tar.zst")).toBeNull();
});
