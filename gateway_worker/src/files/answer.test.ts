/** Requests for files through the whole gateway, with a store in memory. */

import { beforeEach, expect, test, vi } from "vitest";

import "../testing/platform";
import type { RequestEvent } from "../events";
import { Limiter } from "../limits/limiter";
import { NO_COUNT } from "../limits/usage";
import { MetadataReader } from "../metadata";
import { serve } from "../serve";
import type { Effects, Gateway } from "../serve";
import { SliceReader } from "../slices/reader";
import type { TokenVerifier } from "../token";
import { FileReader } from "./answer";
import { MemoryOrigin } from "./memory_origin";
import { fixtureRelease } from "./release_fixture";
import type { FixtureRelease } from "./release_fixture";
import { LATEST_MS, VISIBLE_MS } from "./releases";

const MAX_BYTES = 5000;
const STORED_MS = Date.parse("2026-01-01T00:00:00Z");
const PROMOTED_MS = Date.parse("2026-02-01T00:00:00Z");
const MTIME_S = 1_600_000_000;
const text = (content: string) => new TextEncoder().encode(content);
const LARGE = new Uint8Array(4000).map((_, n) => (n * 7) % 250);

let origin: MemoryOrigin;
let release: FixtureRelease;
let gateway: Gateway;
let scopes: string[];
let events: RequestEvent[];
let reports: string[];
let nowMs: number;

beforeEach(async () => {
  [origin, scopes, events, reports, nowMs] = [new MemoryOrigin(), ["ds/"], [], [], 0];
  release = await fixtureRelease("ds", "v1", [
    { path: "small", content: text("small content"), mtime: MTIME_S },
    { path: "future", content: text("f"), mtime: 4_000_000_000 },
    { path: "large", content: LARGE, chunks: [1500, 1500, 1000], scattered: true, mtime: MTIME_S },
  ]);
  origin.putAll(release.objects, STORED_MS);
  origin.put("ds/latest.json", '{"manifest_sha256":"","version":"v1"}\n', PROMOTED_MS);
  const usage = { requests: NO_COUNT, bytes: NO_COUNT };
  const limiterRules = {
    userRequestsPerMinute: 0,
    tokenRequestsPerMinute: 0,
    userBytesPerDay: 0,
    onFailure: "open",
  } as const;
  const standing = { sequence: 1, user: usage, token: { ...usage, bytes: 0, expiresAt: 0 }, denied: null };
  gateway = {
    config: {
      keyring: new Map(),
      tokenRules: { issuer: "", audience: "", maxLifetimeSeconds: 1 },
      ipLogging: { kind: "full" },
      clientIpSource: "none",
      limiterRules,
      origin: { kind: "r2" },
      sliceCache: "off",
      fileDecodeMaxBytes: MAX_BYTES,
      originStallMs: 1000,
    },
    metadata: new MetadataReader(origin),
    slices: new SliceReader(origin, null, 1000),
    files: new FileReader(origin),
    tokens: {
      verify: async () => ({
        kid: "k",
        jti: "j",
        sub: "s",
        project: null,
        scopes,
        boundTo: null,
        maxBytes: null,
        expiresAt: 0,
      }),
    } as unknown as TokenVerifier,
    limiter: new Limiter(limiterRules, { report: async () => standing }),
    denylist: { put: async () => undefined, remove: async () => undefined, find: async () => null },
  };
});

/** A chunk's memory goes when the next one is asked for, as on the platform. */
async function bodyOf(response: Response): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of response.body ?? []) chunks.push(chunk.slice());
  return new Uint8Array(await new Blob(chunks).arrayBuffer());
}

async function ask(path: string, headers: Record<string, string> = {}, method = "GET") {
  const deferred: Promise<unknown>[] = [];
  const effects: Effects = {
    now: () => nowMs,
    sleep: async () => undefined,
    newId: () => "id",
    defer: (work) => void deferred.push(work),
    emit: async (event) => void events.push(event),
    report: (message) => void reports.push(message),
  };
  events.length = 0;
  const request = new Request(`http://g/f/${path}?token=t`, { method, headers });
  const response = await serve(request, async () => gateway, effects);
  const body = await bodyOf(response).catch(() => null);
  await Promise.all(deferred);
  expect(events).toHaveLength(1);
  return { response, body, event: events[0]! };
}

test("the event tells the file, its release and the bytes that were sent", async () => {
  const { response, body, event } = await ask("ds/latest/large", { Range: "bytes=1499-1501" });
  expect(response.status).toBe(206);
  expect(body).toEqual(LARGE.subarray(1499, 1502));
  expect(event).toMatchObject({
    dataset: "ds",
    key: "ds/releases/v1/files/large",
    status: 206,
    code: "ok",
    range_start: 1499,
    range_end: 1501,
    object_size: LARGE.length,
    bytes_expected: 3,
    bytes_sent: 3,
    completed: true,
    sub: "s",
  });
  expect(event.origin_bytes).toBeGreaterThan(3);
});

test("the time of a file is its own, that of the promotion below latest, and never in the future", async () => {
  const shown = async (path: string) => (await ask(path, {}, "HEAD")).response.headers.get("Last-Modified");
  expect(await shown("ds/v1/small")).toBe(new Date(MTIME_S * 1000).toUTCString());
  expect(await shown("ds/latest/small")).toBe(new Date(PROMOTED_MS).toUTCString());
  expect(await shown("ds/v1/future")).toBe(new Date(STORED_MS).toUTCString());
});

test("a promotion is followed within two seconds, a removed release within ten", async () => {
  await ask("ds/latest/small");
  const next = await fixtureRelease("ds", "v2", [{ path: "small", content: text("changed") }]);
  origin.putAll(next.objects, STORED_MS);
  origin.put("ds/latest.json", '{"manifest_sha256":"","version":"v2"}\n', PROMOTED_MS + 1000);
  nowMs = LATEST_MS;
  expect((await ask("ds/latest/small")).body).toEqual(text("changed"));
  expect((await ask("ds/v1/small")).body).toEqual(text("small content"));
  origin.remove("ds/releases/v1/manifest.json.sig");
  nowMs += VISIBLE_MS;
  expect((await ask("ds/v1/small")).event.code).toBe("not_found");
});

test("a release that was made again under its name is read anew", async () => {
  await ask("ds/v1/small");
  const again = await fixtureRelease("ds", "v1", [{ path: "small", content: text("made again") }]);
  for (const key of release.objects.keys()) origin.remove(key);
  origin.putAll(again.objects, STORED_MS);
  // The page of the old lookup is still known: what it names is gone.
  nowMs = VISIBLE_MS;
  expect((await ask("ds/v1/small")).body).toEqual(text("made again"));
});

test("frames have no digest of the file, and their own tag", async () => {
  const coded = await ask("ds/v1/large", { "Accept-Encoding": "zstd" });
  const plain = await ask("ds/v1/large");
  expect(coded.response.headers.get("Content-Encoding")).toBe("zstd");
  expect(coded.response.headers.get("Repr-Digest")).toBeNull();
  expect(coded.response.headers.get("ETag")).toBe(plain.response.headers.get("ETag")!.replace(/"$/, '-zstd"'));
  expect(coded.event.bytes_sent).toBe(coded.body!.length);
});

test.each([
  ["a scope that covers no shard", ["ds/releases/v1/"], "key_not_allowed"],
  ["one shard of the two", ["ds/releases/v1/", "first shard"], "key_not_allowed"],
  ["both shards", ["ds/releases/v1/", "first shard", "second shard"], "ok"],
  ["no release", ["ds/shards/"], "key_not_allowed"],
])("%s", async (_name, granted, code) => {
  const names: Record<string, string> = { "first shard": release.shardKeys[0]!, "second shard": release.shardKeys[1]! };
  scopes = granted.map((scope) => names[scope] ?? scope);
  expect((await ask("ds/v1/large")).event.code).toBe(code);
});

test("who may read nothing of a dataset is not told what is promoted", async () => {
  scopes = ["other/", "ds"];
  origin.asked.length = 0;
  const { event, response } = await ask("ds/latest/small");
  expect([event.code, response.status]).toEqual(["key_not_allowed", 403]);
  expect(origin.asked).toEqual([]);
});

test("a range of another shard needs no more than that one", async () => {
  scopes = ["ds/releases/v1/", release.shardKeys[1]!];
  expect((await ask("ds/v1/large", { Range: "bytes=1500-2999" })).response.status).toBe(206);
  expect((await ask("ds/v1/large", { Range: "bytes=1499-2999" })).response.status).toBe(403);
});

test("damage to a small file is a 502, and to a later piece a transfer that breaks off", async () => {
  origin.damage(release.shardKeys[0]!, 20);
  const small = await ask("ds/v1/small");
  expect(small.event).toMatchObject({ status: 502, code: "origin_error" });
  expect(reports.join()).toContain("the frame at 0 of shard");
});

test("damage to the last piece breaks the transfer off", async () => {
  // The second piece is alone in the second shard.
  origin.damage(release.shardKeys[1]!, 30);
  const { response, body, event } = await ask("ds/v1/large");
  expect(response.status).toBe(200);
  expect(body).toBeNull();
  expect(event).toMatchObject({ code: "origin_error", completed: false });
});

test("a shard that is missing is the store's error, not the client's", async () => {
  origin.remove(release.shardKeys[0]!);
  expect((await ask("ds/v1/small")).event).toMatchObject({ status: 502, code: "origin_error" });
});

test("what was decoded gives its room back, whole or broken off", async () => {
  const reserve = vi.spyOn(gateway.files.budget, "reserve");
  await ask("ds/v1/large");
  await ask("ds/v1/large", { "Accept-Encoding": "zstd" });
  origin.damage(release.shardKeys[1]!, 30);
  await ask("ds/v1/large");
  origin.damage(release.shardKeys[0]!, 20);
  await ask("ds/v1/small");
  expect(reserve).toHaveBeenCalledTimes(3);
  // All room is free again: who wants all of it does not wait.
  const wait = vi.fn(async () => undefined);
  await gateway.files.budget.reserve(Number.MAX_SAFE_INTEGER, wait);
  expect(wait).not.toHaveBeenCalled();
});
