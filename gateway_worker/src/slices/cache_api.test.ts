import { beforeEach, describe, expect, test } from "vitest";

import { CacheApiSlices } from "./cache_api";
import type { Slice } from "./interface";

const slice: Slice = { key: "ds/a b", etag: '"v1"', index: 3, length: 10 };

/** A cache that answers what a test tells it to, and notes what it was asked. */
class FakeCache {
  answer: Response | undefined;
  matched: Request[] = [];
  deleted: string[] = [];
  put_: [string, Response][] = [];
  match = async (request: Request) => (this.matched.push(request), this.answer);
  put = async (url: string, response: Response) => void this.put_.push([url, response]);
  delete = async (url: string) => this.deleted.push(url) > 0;
}

let fake: FakeCache;
let slices: CacheApiSlices;

beforeEach(() => {
  fake = new FakeCache();
  slices = new CacheApiSlices(async () => fake as unknown as Cache);
});

const whole = { offset: 0, length: 10 };
const part = { offset: 2, length: 3 };
const answer = (status: number, headers: Record<string, string>) => new Response("bytes", { status, headers });
const good = { ETag: '"v1"', "Content-Length": "10" };
const goodPart = { ETag: '"v1"', "Content-Length": "3", "Content-Range": "bytes 2-4/10" };

describe("read", () => {
  test("the address holds key, version and position; the only header is a range of our own", async () => {
    await slices.read(slice, whole);
    await slices.read(slice, part);
    expect(fake.matched.map(({ url }) => url)).toEqual(
      Array(2).fill("https://slices.lading.internal/3/%22v1%22/ds%2Fa%20b"),
    );
    expect(fake.matched.map(({ headers }) => [...headers])).toEqual([[], [["range", "bytes=2-4"]]]);
  });

  test("what holds is given as it is", async () => {
    fake.answer = answer(200, good);
    expect(await slices.read(slice, whole)).not.toBeNull();
    fake.answer = answer(206, goodPart);
    expect(await slices.read(slice, part)).not.toBeNull();
    expect(fake.deleted).toEqual([]);
  });

  test.each([
    ["another length", whole, answer(200, { ...good, "Content-Length": "9" })],
    ["no length", whole, answer(200, { ETag: '"v1"' })],
    ["another tag", whole, answer(200, { ...good, ETag: '"v2"' })],
    ["another range", part, answer(206, { ...goodPart, "Content-Range": "bytes 2-4/9" })],
    ["the whole instead of a part", part, answer(200, good)],
  ])("%s is dropped, and counts as not there", async (_name, range, found) => {
    fake.answer = found;
    expect(await slices.read(slice, range)).toBeNull();
    expect(fake.deleted).toHaveLength(1);
  });
});

test("a slice is stored as a plain 200 with its length and tag", async () => {
  await slices.write(slice, new Blob(["0123456789"]).stream() as ReadableStream<Uint8Array>);
  const [[, response] = []] = fake.put_;
  expect(response?.status).toBe(200);
  expect(Object.fromEntries(response?.headers ?? [])).toMatchObject({ "content-length": "10", etag: '"v1"' });
});
