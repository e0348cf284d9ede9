/** Limits and revocation, with real Durable Objects. */

import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { eventually, startStack } from "./stack";
import type { Stack } from "./stack";
import type { Answer } from "./target";

/** A revocation takes effect within this long (design, section 6). */
const REVOKED_WITHIN_MS = 10_000;

let stack: Stack;
let admin: string;

beforeAll(async () => {
  stack = await startStack({ LIMIT_TOKEN_REQUESTS_PER_MINUTE: "40", LIMIT_USER_BYTES_PER_DAY: "1000" });
  await stack.put("ds/x", Buffer.alloc(100));
  admin = await stack.token({ sub: "operator", scp: ["admin:denylist"] });
});

afterAll(async () => {
  await stack?.stop();
});

const bearer = (token: string) => ({ Authorization: `Bearer ${token}` });
const head = (token: string) => stack.send("HEAD", "/d/ds/x", bearer(token));
const get = (token: string) => stack.send("GET", "/d/ds/x", bearer(token));
const deny = (method: string, path: string, token = admin) =>
  stack.send(method, `/admin/denylist/${path}`, bearer(token));
const codeOf = ({ body }: Answer) => JSON.parse(body.toString()).code;

describe("revocation", () => {
  test.each([
    ["token, over a restart", { jti: "revoked/1" }, "jti/revoked%2F1", true],
    ["user", { sub: "mallory@example.org" }, "sub/mallory@example.org", false],
  ])("of a %s holds within seconds, and can be taken back", async (_what, claims, path, restarts) => {
    const token = await stack.token(claims);
    const hasStatus = (status: number) =>
      eventually(async () => ((await head(token)).status === status ? true : undefined), REVOKED_WITHIN_MS, 500);
    expect((await head(token)).status).toBe(200);
    expect((await deny("PUT", path)).status).toBe(204);
    await hasStatus(403);
    expect(codeOf(await get(token))).toBe("token_revoked");

    if (restarts) await stack.restart();
    expect((await head(token)).status).toBe(403);
    const { body } = await deny("GET", path);
    expect(JSON.parse(body.toString())).toMatchObject({ since: expect.stringMatching(/Z$/) });

    expect((await deny("DELETE", path)).status).toBe(204);
    await hasStatus(200);
    expect((await deny("GET", path)).status).toBe(404);
  });

  test("is for those whose token says so", async () => {
    const reader = await stack.token();
    for (const method of ["PUT", "DELETE", "GET"]) {
      expect(codeOf(await deny(method, "jti/x", reader))).toBe("key_not_allowed");
    }
    expect((await stack.send("PUT", "/admin/denylist/jti/x")).status).toBe(401);
    expect(codeOf(await deny("PUT", "colour/x"))).toBe("bad_request");
    expect(codeOf(await deny("PUT", "jti/"))).toBe("bad_request");
    expect((await deny("POST", "jti/x")).headers["allow"]).toBe("GET, HEAD, PUT, DELETE");
  });

  test("leaves a trace: an event that names it and who did it", async () => {
    const { headers } = await deny("PUT", "kid/old-key");
    const event = await eventually(() =>
      stack
        .output()
        .split("\n")
        .find((line) => line.includes(`"id":"${headers["x-request-id"]}"`)),
    );
    expect(JSON.parse(event)).toMatchObject({ method: "PUT", key: "admin/denylist/kid/old-key", sub: "operator" });
  });
});

describe("limits", () => {
  test("requests of a token: sixteen at once pass, too many are 429 with Retry-After", async () => {
    const token = await stack.token({ sub: "busy", max: 0 });
    const several = (count: number) => Promise.all(Array.from({ length: count }, () => head(token)));
    expect((await several(16)).map(({ status }) => status)).toEqual(Array(16).fill(200));
    const refused = (await several(40)).filter(({ status }) => status === 429);
    expect(refused.length).toBeGreaterThan(0);
    expect(Number(refused[0]?.headers["retry-after"])).toBeGreaterThan(0);
  });

  test("bytes of a user and day, over all tokens and a restart", async () => {
    const fetched: number[] = [];
    for (let i = 0; i < 8; i += 1) fetched.push((await get(await stack.token({ sub: "hungry" }))).status);
    expect(fetched).toEqual(Array(8).fill(200));
    // What was used is reported after two seconds.
    await new Promise((done) => setTimeout(done, 2500));
    await stack.restart();
    const token = await stack.token({ sub: "hungry" });
    expect([(await get(token)).status, (await get(token)).status]).toEqual([200, 200]);
    const refused = await get(token);
    expect([refused.status, codeOf(refused)]).toEqual([429, "quota_exceeded"]);
    expect(Number(refused.headers["retry-after"])).toBeGreaterThan(0);
  });
});
