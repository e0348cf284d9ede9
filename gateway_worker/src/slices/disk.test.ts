import { expect, test } from "vitest";

import { DiskSlices } from "./disk";
import type { Slice } from "./interface";

const slice: Slice = { key: "ds/x", etag: '"v1"', index: 0, length: 10 };
const part = { offset: 2, length: 3 };

/** A disk that gives the same answer to every read. */
function diskWith(status: number, headers: Record<string, string>) {
  const requests: [method: string, url: string][] = [];
  const fetch = async (url: string, init: RequestInit = {}) => {
    requests.push([init.method ?? "GET", url]);
    return new Response(status === 204 ? null : "x", { status, headers });
  };
  return { requests, slices: new DiskSlices({ fetch }) };
}

test("a part of a file of the right length is given as it is", async () => {
  const { slices, requests } = diskWith(206, { "Content-Range": "bytes 2-4/10" });
  expect(await slices.read(slice, part)).not.toBeNull();
  expect(requests).toEqual([["GET", expect.stringMatching(/^http:\/\/disk\/([0-9a-f]{2})\/\1[0-9a-f]{62}$/)]]);
});

test("a file of another length is deleted, a missing one is not", async () => {
  const short = diskWith(206, { "Content-Range": "bytes 2-4/9" });
  expect(await short.slices.read(slice, part)).toBeNull();
  expect(short.requests.map(([method]) => method)).toEqual(["GET", "DELETE"]);
  const missing = diskWith(404, {});
  expect(await missing.slices.read(slice, part)).toBeNull();
  expect(missing.requests).toHaveLength(1);
});

test("another version, position or length is another file", async () => {
  const { slices, requests } = diskWith(404, {});
  for (const other of [{}, { etag: '"v2"' }, { index: 1 }, { length: 11 }, { key: "ds/y" }]) {
    await slices.read({ ...slice, ...other }, part);
  }
  expect(new Set(requests.map(([, url]) => url)).size).toBe(5);
});

test("a disk that does not take a slice is an error", async () => {
  await expect(diskWith(507, {}).slices.write(slice, new Blob([]).stream() as never)).rejects.toThrow("507");
});
