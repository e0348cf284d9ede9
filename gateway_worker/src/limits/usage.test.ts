import { describe, expect, test } from "vitest";

import { addCount, addToToken, countAt, DAY_MS, MINUTE_MS, NO_COUNT, secondsLeft } from "./usage";

describe("window counts", () => {
  test("add up within a window and begin anew in the next", () => {
    const first = addCount(addCount(NO_COUNT, 2, MINUTE_MS, 60_000), 3, MINUTE_MS, 119_999);
    expect(countAt(first, MINUTE_MS, 119_999)).toBe(5);
    expect(countAt(first, MINUTE_MS, 120_000)).toBe(0);
    expect(addCount(first, 1, MINUTE_MS, 120_000)).toEqual({ window: 2, count: 1 });
  });

  test("never fall below zero: bytes may be given back in another window than they were taken in", () => {
    expect(addCount(NO_COUNT, -5, DAY_MS, 0).count).toBe(0);
    expect(addToToken(undefined, { jti: "j", expiresAt: 1, requests: 0, bytes: -1 }, 0).bytes).toBe(0);
  });

  test("the time until the next one is at least a second", () => {
    expect(secondsLeft(MINUTE_MS, 60_000)).toBe(60);
    expect(secondsLeft(MINUTE_MS, 119_999)).toBe(1);
  });
});
