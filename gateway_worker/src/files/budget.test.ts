import { expect, test } from "vitest";

import { DecodeBudget } from "./budget";

const never = () => new Promise<void>(() => undefined);
const atOnce = async () => undefined;

test("answers wait in the order of arrival until there is room", async () => {
  const budget = new DecodeBudget(10);
  const release = await budget.reserve(8, never);
  const started: string[] = [];
  const first = budget.reserve(5, never).then((done) => (started.push("first"), done));
  const second = budget.reserve(1, never).then((done) => (started.push("second"), done));
  await Promise.resolve();
  expect(started).toEqual([]);
  release();
  release();
  await Promise.all([first, second]);
  expect(started).toEqual(["first", "second"]);
  // 4 are left: what was given back twice counts once.
  await expect(budget.reserve(5, atOnce)).rejects.toMatchObject({ code: "rate_limited" });
  (await budget.reserve(4, never))();
});

test("who waits too long is told to come back, and does not stand in the way of others", async () => {
  const budget = new DecodeBudget(10);
  await budget.reserve(8, never);
  const refused = budget.reserve(5, atOnce);
  const small = budget.reserve(2, never);
  await expect(refused).rejects.toMatchObject({ code: "rate_limited", headers: { "Retry-After": "2" } });
  await small;
});

test("what is larger than all room takes all of it", async () => {
  const budget = new DecodeBudget(10);
  const release = await budget.reserve(1000, never);
  await expect(budget.reserve(1, atOnce)).rejects.toMatchObject({ code: "rate_limited" });
  release();
  (await budget.reserve(10, never))();
});
