import { beforeEach, expect, test } from "vitest";

import { OriginChanged, OriginError } from "../origin/interface";
import { MemoryOrigin } from "./memory_origin";
import { signatureNaming } from "./release_fixture";
import { isDatasetName, isVersionName, LATEST_MS, ReleaseReader, VISIBLE_MS } from "./releases";

const LOOKUP = "lookup.0123456789abcdef.bin";
const SIGNATURE = "ds/releases/v1/manifest.json.sig";
const use = { requests: 0, bytes: 0, status: null };

let origin: MemoryOrigin;
let releases: ReleaseReader;

beforeEach(() => {
  origin = new MemoryOrigin();
  origin.put(SIGNATURE, signatureNaming(LOOKUP));
  origin.put(`ds/releases/v1/${LOOKUP}`, "lookup");
  releases = new ReleaseReader(origin);
});

test("a release is there as long as its signature is", async () => {
  expect(await releases.open("ds", "v2", use, 0)).toBeNull();
  expect((await releases.open("ds", "v1", use, 0))?.lookup?.key).toBe(`ds/releases/v1/${LOOKUP}`);
  origin.remove(SIGNATURE);
  expect(await releases.open("ds", "v1", use, VISIBLE_MS - 1)).not.toBeNull();
  expect(await releases.open("ds", "v1", use, VISIBLE_MS)).toBeNull();
});

test("a manifest without a signature is no release", async () => {
  origin.put("ds/releases/v2/manifest.json", "{}");
  expect(await releases.open("ds", "v2", use, 0)).toBeNull();
});

test("a yanked release is there for who names it", async () => {
  origin.put("ds/releases/v1/yanked.json", "{}");
  expect(await releases.open("ds", "v1", use, 0)).not.toBeNull();
});

test("what is known costs nothing, and then one question whether it is there still", async () => {
  await releases.open("ds", "v1", use, 0);
  origin.asked.length = 0;
  await releases.open("ds", "v1", use, VISIBLE_MS - 1);
  expect(origin.asked).toEqual([]);
  await releases.open("ds", "v1", use, VISIBLE_MS);
  expect(origin.asked).toEqual([`HEAD ${SIGNATURE}`]);
});

test("a release of a time before lookups has none", async () => {
  origin.put(SIGNATURE, signatureNaming(undefined));
  expect(await releases.open("ds", "v1", use, 0)).toEqual({ lookup: null });
});

test.each(["lookup.bin", "../v2/lookup.0123456789abcdef.bin", "x/lookup.0123456789abcdef.bin", ""])(
  "a signature that names '%s' as its lookup is not followed",
  async (name) => {
    origin.put(SIGNATURE, signatureNaming(name));
    await expect(releases.open("ds", "v1", use, 0)).rejects.toThrow(OriginError);
  },
);

test.each(["", "no signature", "e30", "....."])(
  "what is no signature ('%s') is an error of the store",
  async (content) => {
    origin.put(SIGNATURE, content);
    await expect(releases.open("ds", "v1", use, 0)).rejects.toThrow(OriginError);
  },
);

test("a lookup that is missing may be a release that was replaced just now", async () => {
  origin.remove(`ds/releases/v1/${LOOKUP}`);
  await expect(releases.open("ds", "v1", use, 0)).rejects.toThrow(OriginChanged);
});

test("a promotion is seen within two seconds, and a way back has a time of its own", async () => {
  const promote = (version: string, ms: number) =>
    origin.put("ds/latest.json", `{"manifest_sha256":"","version":"${version}"}\n`, ms);
  expect(await releases.latest("ds", use, 0)).toBeNull();
  promote("v1", 1000);
  expect(await releases.latest("ds", use, 0)).toEqual({ version: "v1", promotedMs: 1000 });
  promote("v2", 2000);
  expect(await releases.latest("ds", use, LATEST_MS - 1)).toEqual({ version: "v1", promotedMs: 1000 });
  expect(await releases.latest("ds", use, LATEST_MS)).toEqual({ version: "v2", promotedMs: 2000 });
  releases.forget("ds");
  promote("v1", 3000);
  expect(await releases.latest("ds", use, LATEST_MS)).toEqual({ version: "v1", promotedMs: 3000 });
});

test.each(['{"version":"../x"}', '{"version":7}', "[]", "no JSON"])(
  "latest.json that holds %s is an error",
  async (content) => {
    origin.put("ds/latest.json", content);
    await expect(releases.latest("ds", use, 0)).rejects.toThrow(OriginError);
  },
);

test("names are those of the format", () => {
  expect(["a", "imagenet-mini", "a.b_c"].every(isDatasetName)).toBe(true);
  expect(["", "A", "-a", "a..", ".a", "a/b", "a".repeat(64)].some(isDatasetName)).toBe(false);
  expect(["latest", "2026-01-01", "V1.0"].every(isVersionName)).toBe(true);
  expect(["", ".", "..", "-1", "v".repeat(65)].some(isVersionName)).toBe(false);
});
