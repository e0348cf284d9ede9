import { describe, expect, test } from "vitest";

import { contentDisposition, contentTypeOf, representationHeaders } from "./headers";

describe("contentTypeOf", () => {
  test.each([
    "ds/releases/1/manifest.json",
    "ds/releases/1/manifest.json.sig",
    "ds/croissant.json",
    "ds/readme.txt",
    "x",
  ])("%s has a type that no edge compresses", (key) => {
    expect(contentTypeOf(key)).toBe("application/octet-stream");
  });
  test("shards and indexes have their registered types", () => {
    expect(contentTypeOf("ds/shards/a.tar.zst")).toBe("application/zstd");
    expect(contentTypeOf("ds/files.parquet")).toBe("application/vnd.apache.parquet");
  });
});

describe("contentDisposition", () => {
  test.each([
    ["manifest.json", 'attachment; filename="manifest.json"'],
    ['a"b\\c.txt', "attachment; filename=\"a_b_c.txt\"; filename*=UTF-8''a%22b%5Cc.txt"],
    ["café (1).txt", "attachment; filename=\"caf_ (1).txt\"; filename*=UTF-8''caf%C3%A9%20%281%29.txt"],
  ])("%s", (name, field) => {
    expect(contentDisposition(name)).toBe(field);
  });
});

test("the digest is base64 of the hex digest", () => {
  const object = { key: "a", etag: '"x"', lastModifiedMs: 0, sha256: "00ff".repeat(16) };
  expect(representationHeaders("id", object).get("Repr-Digest")).toBe(`sha-256=:${btoa("\u0000\u00ff".repeat(16))}:`);
});
