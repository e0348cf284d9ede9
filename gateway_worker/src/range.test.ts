import { describe, expect, test } from "vitest";

import { contentRange, decideRange, MAX_RANGES } from "./range";

const SIZE = 1000;
const ranges = (...pairs: [number, number][]) => ({
  kind: "ranges",
  ranges: pairs.map(([offset, length]) => ({ offset, length })),
});

describe("decideRange", () => {
  test.each([
    ["closed", "bytes=0-99", [0, 100]],
    ["one byte", "bytes=0-0", [0, 1]],
    ["last byte", "bytes=999-999", [999, 1]],
    ["open", "bytes=900-", [900, 100]],
    ["end beyond the object", "bytes=900-5000", [900, 100]],
    ["end of any number of digits", `bytes=900-${"9".repeat(400)}`, [900, 100]],
    ["suffix", "bytes=-100", [900, 100]],
    ["suffix longer than the object", "bytes=-5000", [0, 1000]],
    ["unit in another case", "Bytes=0-99", [0, 100]],
    ["optional white space and empty elements", "bytes= ,0-99 , ", [0, 100]],
    ["one satisfiable range among others", "bytes=2000-, 0-99", [0, 100]],
  ] as const)("%s", (_name, field, [offset, length]) => {
    expect(decideRange(field, SIZE)).toEqual(ranges([offset, length]));
  });

  test.each([
    ["no field", null],
    ["unknown unit", "items=0-9"],
    ["no set", "bytes="],
    ["only commas", "bytes=,,"],
    ["last before first", "bytes=5-2"],
    ["no position", "bytes=-"],
    ["negative", "bytes=--5"],
    ["hexadecimal", "bytes=0x0-9"],
    ["exponent", "bytes=1e1-"],
    ["space within", "bytes=0 - 9"],
    ["one malformed among good ones", "bytes=0-9, x"],
    ["two fields, combined", "bytes=0-1, bytes=2-3"],
  ])("malformed or foreign is ignored: %s", (_name, field) => {
    expect(decideRange(field, SIZE)).toEqual({ kind: "whole" });
  });

  test.each(["bytes=1000-", "bytes=1000-2000", "bytes=-0", "bytes=5000-,-0", `bytes=${"9".repeat(400)}-`])(
    "unsatisfiable: %s",
    (field) => {
      expect(decideRange(field, SIZE)).toEqual({ kind: "unsatisfiable" });
    },
  );

  test("an empty object has no satisfiable first position, and its suffix is the whole", () => {
    expect(decideRange("bytes=0-", 0)).toEqual({ kind: "unsatisfiable" });
    expect(decideRange("bytes=-5", 0)).toEqual({ kind: "whole" });
  });

  test("positions beyond 2^53 are compared exactly", () => {
    expect(decideRange("bytes=9007199254740993-9007199254740992", 10)).toEqual({ kind: "whole" });
    expect(decideRange("bytes=9007199254740992-9007199254740993", 10)).toEqual({ kind: "unsatisfiable" });
  });

  test("positions beyond 2^32 are exact", () => {
    const size = 2 ** 42 + 7;
    expect(decideRange(`bytes=${2 ** 40 + 1}-${2 ** 40 + 2}`, size)).toEqual(ranges([2 ** 40 + 1, 2]));
    expect(decideRange("bytes=-3", size)).toEqual(ranges([size - 3, 3]));
  });

  test("several ranges keep the order of the request", () => {
    expect(decideRange("bytes=900-909,0-9", SIZE)).toEqual(ranges([900, 10], [0, 10]));
  });

  test("overlapping, adjacent and nearly touching ranges are joined", () => {
    expect(decideRange("bytes=0-99,50-149,150-199,210-219", SIZE)).toEqual(ranges([0, 220]));
  });

  test("a range within an earlier one adds nothing", () => {
    expect(decideRange("bytes=0-499,10-19", SIZE)).toEqual(ranges([0, 500]));
  });

  test("more ranges than the limit answer as the whole object", () => {
    const spread = (count: number) => `bytes=${Array.from({ length: count }, (_, i) => `${i * 1000}-${i * 1000}`)}`;
    expect(decideRange(spread(MAX_RANGES), 1e6)).toMatchObject({ kind: "ranges" });
    expect(decideRange(spread(MAX_RANGES + 1), 1e6)).toEqual({ kind: "whole" });
  });
});

test("contentRange names inclusive positions", () => {
  expect(contentRange({ offset: 5, length: 10 }, 100)).toBe("bytes 5-14/100");
});
