/** The gateway on a real socket, with a real local R2 and a real queue. */

import { createHash, randomBytes } from "node:crypto";
import { connect } from "node:net";
import { gunzipSync } from "node:zlib";

import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { eventually, startStack } from "./stack";
import type { Stack } from "./stack";
import type { Answer } from "./target";

const MIB = 1024 * 1024;
const sha256 = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");

const json = Buffer.from('{"a":"lading"}\n'.repeat(1000));
// Three slices, the last one short.
const shard = randomBytes(20 * MIB + 123);
const shardKey = `ds/shards/${sha256(shard)}.tar.zst`;
const objects: Record<string, Buffer> = {
  "ds/releases/1/manifest.json": json,
  "ds/releases/1/manifest.json.sig": json,
  "ds/releases/1/croissant.json": json,
  "ds/releases/1/files.parquet": json,
  "ds/readme.txt": json,
  "ds/caf\u00e9 1.txt": json,
  "ds/empty": Buffer.alloc(0),
  [shardKey]: shard,
};

let stack: Stack;
let token: string;

beforeAll(async () => {
  stack = await startStack();
  token = await stack.token({ jti: "test-token" });
  for (const [key, body] of Object.entries(objects)) {
    const response = await stack.s3.fetch(stack.s3Url("lading", key), {
      method: "PUT",
      body: new Uint8Array(body),
      headers: { "x-amz-meta-sha256": sha256(body), "content-type": "application/json" },
    });
    expect(response.status).toBe(200);
  }
});

afterAll(async () => {
  await stack?.stop();
});

const get = (key: string, headers: Record<string, string> = {}, method = "GET") =>
  stack.send(method, `/d/${encodeURI(key)}`, { Authorization: `Bearer ${token}`, ...headers });
const problem = (answer: Answer) => JSON.parse(answer.body.toString());

async function eventOf(answer: Answer): Promise<Record<string, unknown>> {
  const id = String(answer.headers["x-request-id"]);
  const line = await eventually(() =>
    stack
      .output()
      .split("\n")
      .find((text) => text.startsWith("{") && text.includes(id)),
  );
  return JSON.parse(line);
}

describe("exact bytes and lengths for clients that accept compression", () => {
  const compressing = { "Accept-Encoding": "gzip, br, zstd, deflate" };

  test.each(Object.entries(objects))("GET %s", async (key, body) => {
    const { status, headers, body: received } = await get(key, compressing);
    expect([status, headers["content-encoding"], headers["transfer-encoding"]]).toEqual([200, undefined, undefined]);
    expect(headers["content-length"]).toBe(String(body.length));
    expect(sha256(received)).toBe(sha256(body));
    expect(headers["etag"]).toBe(`"${sha256(body)}"`);
    expect(headers["repr-digest"]).toBe(`sha-256=:${Buffer.from(sha256(body), "hex").toString("base64")}:`);
  });

  test.each(Object.entries(objects))("HEAD %s", async (key, body) => {
    const { status, headers } = await get(key, { ...compressing, Range: "bytes=0-1" }, "HEAD");
    expect([status, headers["content-length"], headers["content-encoding"]]).toEqual([
      200,
      String(body.length),
      undefined,
    ]);
  });

  test("a range of JSON", async () => {
    const { status, headers, body } = await get("ds/releases/1/manifest.json", {
      ...compressing,
      Range: "bytes=5-104",
    });
    expect([status, headers["content-length"], headers["content-encoding"]]).toEqual([206, "100", undefined]);
    expect(headers["content-range"]).toBe(`bytes 5-104/${json.length}`);
    expect(body.equals(json.subarray(5, 105))).toBe(true);
  });

  test("a problem and the health check", async () => {
    for (const answer of [
      await stack.send("GET", "/d/ds/x", compressing),
      await stack.send("GET", "/healthz", compressing),
    ]) {
      expect(answer.headers["content-length"]).toBe(String(answer.body.length));
      expect(answer.headers["content-encoding"]).toBeUndefined();
      JSON.parse(answer.body.toString());
    }
  });
});

describe("ranges", () => {
  test.each([
    ["within a slice", "bytes=100-199", 100, 200],
    ["across slices", `bytes=${8 * MIB - 1}-${16 * MIB}`, 8 * MIB - 1, 16 * MIB + 1],
    ["open", `bytes=${20 * MIB}-`, 20 * MIB, shard.length],
    ["suffix", "bytes=-5", shard.length - 5, shard.length],
  ])("%s", async (_name, range, start, end) => {
    const { status, headers, body } = await get(shardKey, { Range: range });
    expect([status, headers["content-range"]]).toEqual([206, `bytes ${start}-${end - 1}/${shard.length}`]);
    expect(body.equals(shard.subarray(start, end))).toBe(true);
  });

  test("several, as multipart/byteranges", async () => {
    const { status, headers, body } = await get(shardKey, { Range: `bytes=${9 * MIB}-${9 * MIB + 9},0-4` });
    expect([status, headers["content-length"]]).toEqual([206, String(body.length)]);
    const boundary = /^multipart\/byteranges; boundary=(.+)$/.exec(headers["content-type"] ?? "")?.[1];
    const parts = body.toString("latin1").split(`--${boundary}`);
    expect(parts.length).toBe(4);
    const content = (part: string) => part.slice(part.indexOf("\r\n\r\n") + 4, -2);
    expect(content(parts[1] ?? "")).toBe(shard.subarray(9 * MIB, 9 * MIB + 10).toString("latin1"));
    expect(content(parts[2] ?? "")).toBe(shard.subarray(0, 5).toString("latin1"));
  });

  test("416 tells the size", async () => {
    const answer = await get(shardKey, { Range: `bytes=${shard.length}-` });
    expect([answer.status, answer.headers["content-range"]]).toEqual([416, `bytes */${shard.length}`]);
    expect(problem(answer)).toMatchObject({ code: "range_not_satisfiable", status: 416 });
  });

  test("a range of an empty object", async () => {
    expect((await get("ds/empty", { Range: "bytes=0-" })).headers["content-range"]).toBe("bytes */0");
    expect((await get("ds/empty", { Range: "bytes=-1" })).status).toBe(200);
  });

  test("sixteen at once", async () => {
    const step = Math.ceil(shard.length / 16);
    const answers = await Promise.all(
      Array.from({ length: 16 }, (_, i) => get(shardKey, { Range: `bytes=${i * step}-${(i + 1) * step - 1}` })),
    );
    expect(Buffer.concat(answers.map((answer) => answer.body)).equals(shard)).toBe(true);
  });
});

describe("conditional requests", () => {
  const key = "ds/releases/1/manifest.json";
  const etag = `"${sha256(json)}"`;

  test("304 and 412", async () => {
    const { headers } = await get(key);
    const date = String(headers["last-modified"]);
    const unchanged = await get(key, { "If-None-Match": etag });
    expect([unchanged.status, unchanged.body.length, unchanged.headers["etag"]]).toEqual([304, 0, etag]);
    expect((await get(key, { "If-Modified-Since": date })).status).toBe(304);
    expect((await get(key, { "If-Unmodified-Since": date })).status).toBe(200);
    expect((await get(key, { "If-Match": '"other"' })).status).toBe(412);
  });

  test("If-Range", async () => {
    const date = String((await get(key)).headers["last-modified"]);
    const status = async (ifRange: string) => (await get(key, { Range: "bytes=0-0", "If-Range": ifRange })).status;
    expect(await status(etag)).toBe(206);
    expect(await status(date)).toBe(206);
    expect(await status('"other"')).toBe(200);
    expect(await status(`W/${etag}`)).toBe(200);
  });
});

describe("who may read what", () => {
  const key = "ds/releases/1/manifest.json";
  const statusAndCode = (answer: Answer) => [answer.status, problem(answer).code];

  test("the token comes by query or header, on both routes", async () => {
    for (const path of [`/d/${key}?token=${token}`, `/download?key=${encodeURIComponent(key)}&token=${token}`]) {
      expect((await stack.send("GET", path)).status).toBe(200);
    }
    const bearer = { Authorization: `Bearer ${token}` };
    expect((await stack.send("GET", `/download?key=${key}`, bearer)).status).toBe(200);
  });

  test("refusals", async () => {
    const other = await stack.token({ scp: ["other/"] });
    const bound = await stack.token({ ip: "203.0.113.0/24" });
    const expired = await stack.token({ iat: 0, exp: 1 });
    const withToken = (t: string) => ({ Authorization: `Bearer ${t}` });
    expect(statusAndCode(await stack.send("GET", `/d/${key}`))).toEqual([401, "token_missing"]);
    expect(statusAndCode(await stack.send("GET", `/download?key=${key}`))).toEqual([400, "bad_request"]);
    expect(statusAndCode(await stack.send("GET", `/d/${key}?token=${token}x`, withToken(token)))).toEqual([
      400,
      "bad_request",
    ]);
    expect(statusAndCode(await stack.send("GET", `/d/${key}`, withToken("nonsense")))).toEqual([403, "token_invalid"]);
    expect(statusAndCode(await stack.send("GET", `/d/${key}`, withToken(other)))).toEqual([403, "key_not_allowed"]);
    expect(statusAndCode(await stack.send("GET", `/d/${key}`, withToken(bound)))).toEqual([403, "ip_not_allowed"]);
    expect(statusAndCode(await stack.send("GET", `/d/${key}`, withToken(expired)))).toEqual([403, "token_expired"]);
    expect(statusAndCode(await get("ds/missing"))).toEqual([404, "not_found"]);
    expect(statusAndCode(await get("ds/%ff".replace("%", "%25")))).toEqual([404, "not_found"]);
    expect(statusAndCode(await stack.send("GET", "/d/ds/%ff", withToken(token)))).toEqual([400, "bad_request"]);
    expect(statusAndCode(await stack.send("GET", "/d/ds//x", withToken(token)))).toEqual([400, "bad_request"]);
    const post = await stack.send("POST", `/d/${key}`);
    expect([...statusAndCode(post), post.headers["allow"]]).toEqual([405, "method_not_allowed", "GET, HEAD, OPTIONS"]);
  });

  test("a path with dot segments reaches no key outside the scope", async () => {
    const answer = await stack.send("GET", `/d/ds/../other/x?token=${token}`);
    expect([400, 403]).toContain(answer.status);
  });

  test("a browser may ask first and read the range fields", async () => {
    const answer = await stack.send("OPTIONS", `/d/${key}`, {
      Origin: "https://a.example",
      "Access-Control-Request-Method": "GET",
    });
    expect([answer.status, answer.headers["access-control-allow-origin"]]).toEqual([204, "*"]);
    expect(answer.headers["access-control-allow-headers"]).toContain("Range");
    expect((await get(key)).headers["access-control-expose-headers"]).toContain("Content-Range");
  });
});

describe("request events", () => {
  test("a completed range", async () => {
    await stack.put("ds/once", json);
    const answer = await get("ds/once", {
      Range: "bytes=0-99",
      "CF-Connecting-IP": "198.51.100.7",
      "User-Agent": "test/1",
    });
    expect(await eventOf(answer)).toMatchObject({
      ...{ v: 1, type: "request", method: "GET", dataset: "ds", key: "ds/once", status: 206, code: "ok" },
      ...{ range_start: 0, range_end: 99, object_size: json.length, bytes_expected: 100, bytes_sent: 100 },
      ...{ completed: true, cache: "miss", origin_requests: 2, origin_bytes: 100, origin_status: 206 },
      ...{ jti: "test-token", sub: "ann", prj: "p1", kid: "k1", ip: "198.51.100.0/24", user_agent: "test/1" },
    });
  });

  test("a refusal, with what is known of the token", async () => {
    const expired = await stack.token({ exp: 1, iat: 0, jti: "old" });
    const answer = await stack.send("GET", `/d/ds/x?token=${expired}`);
    expect(await eventOf(answer)).toMatchObject({
      status: 403,
      code: "token_expired",
      key: "ds/x",
      jti: "old",
      sub: "ann",
    });
  });

  test("a client that goes away in the middle", async () => {
    const before = stack.output().length;
    const socket = connect(Number(new URL(stack.url).port), "127.0.0.1");
    socket.write(`GET /d/${shardKey}?token=${token} HTTP/1.1\r\nHost: gateway\r\n\r\n`);
    await new Promise((done) => socket.once("data", done));
    socket.destroy();
    const event = await eventually(() => {
      const line = stack
        .output()
        .slice(before)
        .split("\n")
        .find((text) => text.startsWith('{"v":1') && text.endsWith("}"));
      return line === undefined ? undefined : JSON.parse(line);
    });
    expect(event).toMatchObject({ status: 200, code: "aborted", completed: false, bytes_expected: shard.length });
    expect(event.bytes_sent).toBeLessThan(shard.length);
  });

  test("events come out of the queue as log objects, by hour", async () => {
    const answer = await get("ds/readme.txt");
    const id = String(answer.headers["x-request-id"]);
    const event = await eventually(async () => {
      const list = await (
        await stack.s3.fetch(`${stack.s3Url("lading-logs", "")}?list-type=2&prefix=logs/gateway/`)
      ).text();
      for (const [, key = ""] of list.matchAll(/<Key>([^<]+)<\/Key>/g)) {
        expect(key).toMatch(/^logs\/gateway\/dt=\d{4}-\d\d-\d\d\/hh=\d\d\/[0-9a-f]{32}\.ndjson\.gz$/);
        const object = await stack.s3.fetch(stack.s3Url("lading-logs", key));
        expect(object.headers.get("content-type")).toBe("application/gzip");
        const lines = gunzipSync(Buffer.from(await object.arrayBuffer()))
          .toString()
          .trimEnd()
          .split("\n");
        const found = lines.map((line) => JSON.parse(line)).find((candidate) => candidate.id === id);
        if (found !== undefined) return found;
      }
      return undefined;
    });
    expect(event).toEqual(await eventOf(answer));
  });

  test("nothing that was printed holds a token", () => {
    expect(stack.output()).not.toContain(token.slice(0, 40));
    expect(stack.output()).not.toContain(token.split(".")[2]);
  });
});
