import { beforeEach, describe, expect, test } from "vitest";

import "../testing/platform";
import { OriginError } from "../origin/interface";
import { cachedSource, originSource, storedSource } from "./source";

const STALL_MS = 50;
const CHUNK = 10;
const bytes = Uint8Array.from({ length: 35 }, (_, i) => i);

let deferred: Promise<unknown>[];
beforeEach(() => {
  deferred = [];
});
const defer = (work: Promise<unknown>) => void deferred.push(work);
const streamOf = (...chunks: Uint8Array[]) =>
  new Blob(chunks.map((chunk) => chunk.slice())).stream() as ReadableStream<Uint8Array>;
const silent = () => new ReadableStream({ type: "bytes" }) as ReadableStream<Uint8Array>;

async function readAll(source: { next(maxBytes: number): Promise<Uint8Array | null> }): Promise<number[]> {
  const all: number[] = [];
  for (let chunk = await source.next(CHUNK); chunk !== null; chunk = await source.next(CHUNK)) all.push(...chunk);
  return all;
}

/** A store that keeps what it is given, and takes its time with each chunk. */
function slowStore(delayMs: number) {
  const kept: number[] = [];
  let isWhole = false;
  const store = async (stream: ReadableStream<Uint8Array>) => {
    for await (const chunk of stream) {
      await new Promise((done) => setTimeout(done, delayMs));
      kept.push(...chunk);
    }
    isWhole = true;
  };
  return { store, kept, isWhole: () => isWhole };
}

describe("originSource", () => {
  test("gives all bytes in chunks of the size asked for", async () => {
    const source = originSource(streamOf(bytes.subarray(0, 3), bytes.subarray(3)), bytes.length, STALL_MS);
    expect((await source.next(7))?.length).toBe(7);
    expect(source.left).toBe(28);
    expect(await readAll(source)).toEqual([...bytes.subarray(7)]);
  });

  test.each([
    ["shorter", bytes.length + 1, "it ended after 35 bytes"],
    ["longer", bytes.length - 1, "it is longer than it should be"],
  ])("a body that is %s than promised is an error before its last chunk", async (_what, length, why) => {
    const source = originSource(streamOf(bytes), length, STALL_MS);
    await expect(readAll(source)).rejects.toThrow(OriginError);
    await expect(readAll(originSource(streamOf(bytes), length, STALL_MS))).rejects.toThrow(why);
  });

  test("a body that stalls is an error after the time set", async () => {
    await expect(originSource(silent(), 1, STALL_MS).next(1)).rejects.toThrow("nothing came for 50 ms");
  });

  test("a chunk that was released is empty, and never other bytes", async () => {
    const source = originSource(streamOf(bytes), bytes.length, STALL_MS);
    const chunk = await source.next(CHUNK);
    source.release(chunk!);
    expect(chunk!.length).toBe(0);
  });
});

test("a cached slice that is too short is dropped", async () => {
  let drops = 0;
  const source = cachedSource(streamOf(bytes), bytes.length + 1, () => (drops += 1));
  await expect(readAll(source)).rejects.toThrow("a cached slice is broken");
  expect(drops).toBe(1);
});

describe("storedSource", () => {
  const origin = (stream = streamOf(bytes)) => originSource(stream, bytes.length, STALL_MS);

  test("client and store get all bytes, however slow the store is", async () => {
    const { store, kept, isWhole } = slowStore(5);
    expect(await readAll(storedSource(origin(), store, defer))).toEqual([...bytes]);
    await Promise.all(deferred);
    expect([isWhole(), kept]).toEqual([true, [...bytes]]);
  });

  test("a store that fails does not disturb the client", async () => {
    const store = async () => Promise.reject(new Error("disk full"));
    expect(await readAll(storedSource(origin(), store, defer))).toEqual([...bytes]);
  });

  test("a client that leaves in the middle of a step does not end the storing", async () => {
    const { store, kept, isWhole } = slowStore(5);
    const source = storedSource(origin(), store, defer);
    await source.next(CHUNK);
    const onItsWay = source.next(CHUNK);
    await source.cancel();
    await onItsWay;
    for (let done = 0; done < deferred.length; done += 1) await deferred[done];
    expect([isWhole(), kept]).toEqual([true, [...bytes]]);
  });

  test("of an origin that breaks off nothing is stored as whole", async () => {
    const { store, isWhole } = slowStore(0);
    await expect(readAll(storedSource(origin(streamOf(bytes.subarray(1))), store, defer))).rejects.toThrow(OriginError);
    await Promise.all(deferred);
    expect(isWhole()).toBe(false);
  });
});
