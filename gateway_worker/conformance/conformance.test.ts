/** The table against every way to run the gateway, each with a cold and with a warm cache, and without any. */

import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { startSelfHosted } from "../test/selfhost";
import type { SelfHosted } from "../test/selfhost";
import { s3Settings, startStack } from "../test/stack";
import type { Stack } from "../test/stack";
import type { Target } from "../test/target";
import { RULES } from "./cases";
import { fillStore, mismatches } from "./check";
import { DECODE_MAX_BYTES } from "./objects";

let store: Stack;
let s3: Stack;
let selfHosted: SelfHosted;
let uncached: SelfHosted;

beforeAll(async () => {
  const settings = { FILE_DECODE_MAX_BYTES: String(DECODE_MAX_BYTES) };
  store = await startStack(settings);
  const s3Origin = { ...s3Settings(store), ...settings };
  [s3, selfHosted, uncached] = await Promise.all([
    startStack(s3Origin),
    startSelfHosted(s3Origin),
    startSelfHosted({ ...s3Origin, SLICE_CACHE: "off" }),
  ]);
  await fillStore(store);
});

afterAll(async () => {
  await Promise.all([s3?.stop(), selfHosted?.stop(), uncached?.stop()]);
  await store?.stop();
});

const TARGETS: readonly (readonly [name: string, target: () => Target & Pick<Stack, "output">])[] = [
  ["wrangler dev, R2 binding", () => store],
  ["wrangler dev, S3 origin", () => s3],
  ["plain workerd, S3 origin", () => selfHosted],
];

function describeRules(target: () => Target): void {
  describe.each(RULES.map(({ rule, cases }) => [rule, cases] as const))("%s", (_rule, cases) => {
    test.concurrent.each(cases.map((testCase) => [testCase.name, testCase] as const))("%s", async (_case, testCase) => {
      expect(await mismatches(testCase, target())).toEqual([]);
    });
  });
}

const cachesOf = (target: Pick<Stack, "output">) =>
  [...target.output().matchAll(/"cache":"(hit|miss|partial|bypass)"/g)].map(([, cache]) => cache);

describe.each(TARGETS)("%s", (_name, target) => {
  // The second pass finds in the cache what the first one left there.
  describe.each(["cold", "warm"])("%s", () => describeRules(target));

  test("the first pass has met an empty cache, the second one a full one", () => {
    const found = cachesOf(target()).filter((cache) => cache !== "bypass");
    expect(found.slice(0, found.length / 2)).toContain("miss");
    expect(new Set(found.slice(found.length / 2))).toEqual(new Set(["hit"]));
  });
});

describe("plain workerd, S3 origin, no slice cache", () => {
  describeRules(() => uncached);

  test("no cache was used", () => {
    expect(new Set(cachesOf(uncached))).toEqual(new Set(["bypass"]));
  });
});
