import { describe, expect, test } from "vitest";

import { datasetOf, fileNameOf, keyFromPath, keyFromQuery, MAX_KEY_BYTES } from "./key";

describe("keyFromPath", () => {
  test.each([
    ["ds/latest.json", "ds/latest.json"],
    ["ds%2Flatest.json", "ds/latest.json"],
    ["ds/caf%C3%A9+1.txt", "ds/café+1.txt"],
    ["ds/a%2525", "ds/a%25"],
    ["ds/..a/b..", "ds/..a/b.."],
  ])("%s is %s", (encoded, key) => {
    expect(keyFromPath(encoded)).toBe(key);
  });

  test.each([
    ["empty", ""],
    ["broken escape", "ds/%zz"],
    ["cut escape", "ds/%4"],
    ["not UTF-8", "ds/%ff"],
    ["overlong slash", "ds%c0%afx"],
    ["lone surrogate", "ds/%ed%a0%80"],
    ["NUL", "ds/%00"],
    ["line break", "ds/a%0d%0aX: y"],
    ["parent", "ds/../other"],
    ["encoded parent", "ds%2f%2e%2e%2fother"],
    ["here", "ds/./x"],
    ["double slash", "ds//x"],
    ["encoded double slash", "ds/%2Fx"],
    ["leading slash", "/ds"],
    ["trailing slash", "ds/"],
    ["too long", "a".repeat(MAX_KEY_BYTES + 1)],
    ["too long in bytes", "é".repeat(MAX_KEY_BYTES / 2 + 1)],
  ])("refuses %s", (_name, encoded) => {
    expect(() => keyFromPath(encoded)).toThrow(expect.objectContaining({ code: "bad_request" }));
  });
});

test("keyFromQuery takes + as a space", () => {
  expect(keyFromQuery("ds/a+b%2B")).toBe("ds/a b+");
});

test("dataset and file name are the first and the last segment", () => {
  expect([datasetOf("ds/releases/1/manifest.json"), datasetOf("ds")]).toEqual(["ds", "ds"]);
  expect([fileNameOf("ds/releases/1/manifest.json"), fileNameOf("ds")]).toEqual(["manifest.json", "ds"]);
});
