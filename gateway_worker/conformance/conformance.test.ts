/** The table against every way to run the gateway, each with a cold and with a warm cache. */

import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { startStack } from "../test/stack";
import type { Stack } from "../test/stack";
import type { Target } from "../test/target";
import { RULES } from "./cases";
import { fillStore, mismatches } from "./check";

let stack: Stack;

beforeAll(async () => {
  stack = await startStack();
  await fillStore(stack);
});

afterAll(async () => {
  await stack?.stop();
});

const TARGETS: readonly (readonly [name: string, target: () => Target])[] = [["wrangler dev, R2 binding", () => stack]];

describe.each(TARGETS)("%s", (_name, target) => {
  // The second pass finds in the cache what the first one left there.
  describe.each(["cold", "warm"])("%s", () => {
    describe.each(RULES.map(({ rule, cases }) => [rule, cases] as const))("%s", (_rule, cases) => {
      test.concurrent.each(cases.map((testCase) => [testCase.name, testCase] as const))(
        "%s",
        async (_case, testCase) => {
          expect(await mismatches(testCase, target())).toEqual([]);
        },
      );
    });
  });
});
