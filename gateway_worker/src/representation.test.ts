import { describe, expect, test } from "vitest";

import { planResponse } from "./representation";

const SHA256 = "ab".repeat(32);
const metadata = { size: 1000, originEtag: '"md5"', lastModifiedMs: 1_800_000_000_900, sha256: SHA256 };
const plan = (headers: Record<string, string>, method = "GET", change: object = {}, key = "ds/x.json") =>
  planResponse(new Request("http://g/d/x", { method, headers }), key, { ...metadata, ...change }, "boundary");

describe("planResponse", () => {
  test("the whole object", () => {
    const { status, headers, bodyLength, parts } = plan({});
    expect([status, bodyLength, parts.length]).toEqual([200, 1000, 1]);
    expect(Object.fromEntries(headers)).toMatchObject({
      "accept-ranges": "bytes",
      "cache-control": "private, no-transform",
      "content-length": "1000",
      etag: `"${SHA256}"`,
      "last-modified": "Fri, 15 Jan 2027 08:00:00 GMT",
    });
  });

  test("a shard's ETag is its name, any other object without a digest has the origin's", () => {
    const unknown = { sha256: null };
    expect(plan({}, "GET", unknown, `ds/shards/${SHA256}.tar.zst`).headers.get("ETag")).toBe(`"${SHA256}"`);
    const plain = plan({}, "GET", unknown).headers;
    expect([plain.get("ETag"), plain.get("Repr-Digest")]).toEqual(['"md5"', null]);
  });

  test("a size beyond 2^32 is exact", () => {
    const { headers } = plan({ Range: "bytes=-1" }, "GET", { size: 2 ** 40 + 3 });
    expect(headers.get("Content-Range")).toBe(`bytes ${2 ** 40 + 2}-${2 ** 40 + 2}/${2 ** 40 + 3}`);
  });

  test("HEAD ignores Range, and tells the length without a body", () => {
    const { status, headers, parts, bodyLength } = plan({ Range: "bytes=0-9" }, "HEAD");
    expect([status, headers.get("Content-Length"), parts.length, bodyLength]).toEqual([200, "1000", 0, 0]);
  });

  test("an If-Range that does not hold gives the whole object, even where the range could not be satisfied", () => {
    expect(plan({ Range: "bytes=0-9", "If-Range": '"old"' }).status).toBe(200);
    expect(plan({ Range: "bytes=5000-", "If-Range": '"old"' }).status).toBe(200);
    expect(plan({ Range: "bytes=0-9", "If-Range": `"${SHA256}"` }).status).toBe(206);
  });

  test("preconditions go before Range", () => {
    expect(plan({ Range: "bytes=5000-", "If-None-Match": "*" }).status).toBe(304);
    const failed = expect.objectContaining({ code: "precondition_failed" });
    expect(() => plan({ Range: "bytes=5000-", "If-Match": '"old"' })).toThrow(failed);
  });

  test("304 has no length and no type of a body", () => {
    const { headers } = plan({ "If-None-Match": `"${SHA256}"` });
    expect([headers.get("Content-Length"), headers.get("Content-Type")]).toEqual([null, null]);
    expect(headers.get("ETag")).toBe(`"${SHA256}"`);
  });

  test("416 tells the size", () => {
    const refused = expect.objectContaining({
      code: "range_not_satisfiable",
      headers: { "Accept-Ranges": "bytes", "Content-Range": "bytes */1000" },
    });
    expect(() => plan({ Range: "bytes=1000-" })).toThrow(refused);
  });

  test("several ranges make a multipart body of the promised length", () => {
    const { headers, parts, closing, bodyLength } = plan({ Range: "bytes=0-9,500-509" });
    const text = new TextDecoder();
    const body = parts.map((part) => text.decode(part.framing ?? undefined) + "x".repeat(part.range.length));
    const whole = body.join("") + text.decode(closing ?? undefined);
    expect(headers.get("Content-Type")).toBe("multipart/byteranges; boundary=boundary");
    expect([headers.get("Content-Length"), headers.get("Content-Range")]).toEqual([String(whole.length), null]);
    expect(bodyLength).toBe(whole.length);
    expect(whole.match(/Content-Range: [^\r]*/g)).toEqual([
      "Content-Range: bytes 0-9/1000",
      "Content-Range: bytes 500-509/1000",
    ]);
  });
});
