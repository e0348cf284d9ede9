import { expect, test } from "vitest";

import { SLICE_BYTES, slicesOf } from "./interface";

test("slices are aligned to the object, and add up to the range", () => {
  const range = { offset: 2 ** 33 + 5, length: 2 * SLICE_BYTES };
  const slices = [...slicesOf(range)];
  expect(slices).toEqual([
    { offset: 2 ** 33 + 5, length: SLICE_BYTES - 5 },
    { offset: 2 ** 33 + SLICE_BYTES, length: SLICE_BYTES },
    { offset: 2 ** 33 + 2 * SLICE_BYTES, length: 5 },
  ]);
});

test("a range within a slice is one slice", () => {
  expect([...slicesOf({ offset: 10, length: 20 })]).toEqual([{ offset: 10, length: 20 }]);
});
