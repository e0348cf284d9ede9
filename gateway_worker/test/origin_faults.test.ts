/** A store that misbehaves, and a cache that was damaged, behind a gateway of each kind: no hang, no wrong byte. */

import { readdir, truncate, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";

import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { bytesAt, startFakeStore } from "./fake_store";
import type { FakeStore, Fault } from "./fake_store";
import { startSelfHosted } from "./selfhost";
import type { SelfHosted } from "./selfhost";
import { eventually, startStack } from "./stack";
import type { Stack } from "./stack";

const MIB = 1024 * 1024;
const SIZE = 20 * MIB;
const STALL_TIMEOUT_S = 2;

let store: FakeStore;
let selfHosted: SelfHosted;
let wrangler: Stack;

beforeAll(async () => {
  store = await startFakeStore();
  const settings = {
    ...{ S3_ENDPOINT: store.url, S3_BUCKET: "bucket", S3_ACCESS_KEY_ID: "a", S3_SECRET_ACCESS_KEY: "b" },
    ...{ ORIGIN_ANSWER_TIMEOUT_S: "1", ORIGIN_STALL_TIMEOUT_S: String(STALL_TIMEOUT_S) },
  };
  [selfHosted, wrangler] = await Promise.all([
    startSelfHosted(settings),
    startStack({ ...settings, ORIGIN: "s3", SLICE_CACHE: "off" }),
  ]);
});

afterAll(async () => {
  await Promise.all([selfHosted?.stop(), wrangler?.stop()]);
  await store?.stop();
});

type Gateway = Pick<SelfHosted, "url" | "output" | "token" | "send">;

const TARGETS: readonly (readonly [name: string, target: () => Gateway])[] = [
  ["plain workerd", () => selfHosted],
  ["wrangler dev, no slice cache", () => wrangler],
];

const keyOf = (fault: string) => `ds/${fault.replaceAll(" ", "-")}`;

/** What came of a download, whole or broken off. */
async function download(
  gateway: Gateway,
  key: string,
  range?: string,
): Promise<{ status: number; body: Buffer; isWhole: boolean }> {
  const headers: Record<string, string> = { Authorization: `Bearer ${await gateway.token()}` };
  if (range !== undefined) headers["Range"] = range;
  const response = await fetch(`${gateway.url}/d/${key}`, { headers });
  const chunks: Uint8Array[] = [];
  let isWhole = true;
  try {
    for await (const chunk of response.body ?? []) chunks.push(chunk);
  } catch {
    isWhole = false;
  }
  return { status: response.status, body: Buffer.concat(chunks), isWhole };
}

const eventsOf = (gateway: Gateway, key: string) =>
  gateway
    .output()
    .split("\n")
    .filter((line) => line.startsWith('{"v":1') && line.includes(`"key":"${key}"`))
    .map((line) => JSON.parse(line));

describe.each(TARGETS)("%s", (name, target) => {
  describe("before the first byte: 502, and nothing of the store shows", () => {
    test.each<Fault>([
      "stalls before the answer",
      "sends another ETag",
      "sends the whole for a range",
      "sends another range",
      "sends no length",
      "fails always",
      "refuses the key",
    ])("%s", async (fault) => {
      const key = keyOf(`${fault} ${name}`);
      store.add(key, SIZE, fault);
      const { status, body } = await download(target(), key, "bytes=5-104");
      expect(status).toBe(502);
      expect(JSON.parse(body.toString())).toMatchObject({ code: "origin_error", request_id: expect.any(String) });
      expect(body.toString()).not.toContain("secret");
      const event = await eventually(() => eventsOf(target(), key)[0]);
      expect(event).toMatchObject({ status: 502, code: "origin_error", completed: true });
    });

    test("a store that fails once is asked once more", async () => {
      store.add(keyOf(`fails once ${name}`), SIZE, "fails once");
      const { status, body } = await download(target(), keyOf(`fails once ${name}`), "bytes=5-104");
      expect([status, body.equals(bytesAt(5, 100))]).toEqual([206, true]);
      expect(store.gets(keyOf(`fails once ${name}`))).toBe(2);
    });
  });

  describe("in the middle: the transfer breaks off, and what came is right", () => {
    test.each<Fault>([
      "dies in the middle",
      "stalls in the middle",
      "sends less than it says",
      "changes between slices",
    ])("%s", async (fault) => {
      const key = keyOf(`${fault} ${name}`);
      store.add(key, SIZE, fault);
      const { status, body, isWhole } = await download(target(), key);
      expect([status, isWhole]).toEqual([200, false]);
      expect(body.length).toBeLessThan(SIZE);
      expect(body.equals(bytesAt(0, body.length))).toBe(true);
      const event = await eventually(() => eventsOf(target(), key)[0]);
      expect(event).toMatchObject({ status: 200, code: "origin_error", completed: false, bytes_expected: SIZE });
      // Nothing of a broken slice was kept: what comes from the cache afterwards is right as well.
      store.add(key, SIZE, "none");
      const again = await download(target(), key);
      expect(again.body.equals(bytesAt(0, SIZE))).toBe(true);
    });

    test("the client vanishes: an event tells how far it came", async () => {
      store.add(keyOf(`vanish ${name}`), 200 * MIB, "none");
      const socket = connect(Number(new URL(target().url).port), "127.0.0.1");
      socket.write(
        `GET /d/${keyOf(`vanish ${name}`)}?token=${await target().token()} HTTP/1.1\r\nHost: gateway\r\n\r\n`,
      );
      await new Promise((done) => socket.once("data", done));
      socket.destroy();
      const event = await eventually(() => eventsOf(target(), keyOf(`vanish ${name}`))[0]);
      expect(event).toMatchObject({ status: 200, code: "aborted", completed: false });
      expect(event.bytes_sent).toBeLessThan(200 * MIB);
    });
  });
});

describe("a damaged cache", () => {
  test("slices that were cut short or emptied are dropped and fetched again", async () => {
    const key = "ds/damaged";
    store.add(key, SIZE, "none");
    const before = new Set(await readdir(selfHosted.slices, { recursive: true }));
    await download(selfHosted, key);
    const files = await eventually(async () => {
      const found = await readdir(selfHosted.slices, { recursive: true });
      const added = found.filter((name) => !before.has(name) && name.length > 60);
      return added.length === 3 ? added : undefined;
    });
    await truncate(join(selfHosted.slices, files[0] ?? ""), 1000);
    await writeFile(join(selfHosted.slices, files[1] ?? ""), "");
    const { status, body } = await download(selfHosted, key);
    expect([status, body.equals(bytesAt(0, SIZE))]).toEqual([200, true]);
    const events = await eventually(() =>
      eventsOf(selfHosted, key).length === 2 ? eventsOf(selfHosted, key) : undefined,
    );
    expect(events.map(({ cache }) => cache)).toEqual(["miss", "partial"]);
  });
});

describe("objects beyond 5 GiB", () => {
  const HUGE = 6 * 1024 ** 3 + 7;

  test.each([
    ["across 2^31", 2 ** 31 - 5, 10],
    ["across 2^32", 2 ** 32 - 5, 10],
    ["across a border of slices beyond 5 GiB", 5 * 1024 ** 3 - 5, 10],
    ["the end", HUGE - 3, 3],
  ])("a range %s", async (_name, first, length) => {
    store.add("ds/huge", HUGE, "none");
    const { status, body } = await download(selfHosted, "ds/huge", `bytes=${first}-${first + length - 1}`);
    expect([status, body.equals(bytesAt(first, length))]).toEqual([206, true]);
  });

  test("HEAD tells the whole length", async () => {
    const { headers } = await selfHosted.send("HEAD", "/d/ds/huge", {
      Authorization: `Bearer ${await selfHosted.token()}`,
    });
    expect(headers["content-length"]).toBe(String(HUGE));
  });
});
