import { describe, expect, test } from "vitest";

import { acceptEncodingOf, chooseCoding, parseAcceptEncoding } from "./negotiation";

describe("parseAcceptEncoding", () => {
  test.each([
    [null, 0, null],
    ["", 0, null],
    ["gzip, deflate, br", 0, null],
    ["zstd", 1, null],
    ["ZSTD", 1, null],
    ["gzip, zstd;q=0.5", 0.5, null],
    ["zstd ; q=0.25 , identity;q=1", 0.25, 1],
    ["zstd;Q=1.000", 1, null],
    ["zstd;q=0", 0, null],
    ["zstd;q=0.000", 0, null],
    ["*", 1, null],
    ["*;q=0.3, zstd;q=0", 0, null],
    ["*;q=0.3", 0.3, null],
    ["identity;q=0, zstd", 1, 0],
    ["*;q=0, zstd", 1, 0],
    ["*;q=0, identity;q=0.1", 0, 0.1],
    ["zstd;q=2", 0, null],
    ["zstd;q=0.1234", 0, null],
    ["zstd;q=", 0, null],
    ["zstd;q=0.5;x=1", 0, null],
    [",, ,zstd", 1, null],
    ["zstandard, x-zstd", 0, null],
  ])("%s: zstd %s, identity %s", (field, zstd, identity) => {
    expect(parseAcceptEncoding(field)).toEqual({ zstd, identity });
  });
});

describe("chooseCoding", () => {
  const choices = { hasFrames: true, wantsRange: false, mayDecode: true };

  test.each([
    ["zstd", {}, "zstd"],
    [null, {}, "identity"],
    ["zstd;q=0.5, identity", {}, "identity"],
    ["zstd;q=0.5, identity;q=0.5", {}, "zstd"],
    ["zstd", { hasFrames: false }, "identity"],
    ["zstd", { wantsRange: true }, "identity"],
    ["zstd, identity;q=0", { wantsRange: true }, "zstd"],
    [null, { mayDecode: false }, null],
    ["zstd;q=0.5, identity", { mayDecode: false }, "zstd"],
    ["zstd", { hasFrames: false, mayDecode: false }, null],
    ["identity;q=0", {}, null],
    ["zstd, identity;q=0", { hasFrames: false }, null],
    // How much of a range is to be decoded is judged when the range is known.
    [null, { wantsRange: true, mayDecode: false }, "identity"],
  ] as const)("%s with %j: %s", (field, differing, coding) => {
    expect(chooseCoding({ ...choices, ...differing, accepted: parseAcceptEncoding(field) })).toBe(coding);
  });
});

test("the client's own field goes before the one that the platform wrote", () => {
  const request = new Request("http://g/", { headers: { "Accept-Encoding": "br, gzip" } });
  expect(acceptEncodingOf(request)).toBe("br, gzip");
  for (const clientAcceptEncoding of ["zstd", ""]) {
    expect(acceptEncodingOf(Object.assign(request, { cf: { clientAcceptEncoding } }))).toBe(clientAcceptEncoding);
  }
});
