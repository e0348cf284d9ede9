import { describe, expect, test } from "vitest";

import { beginEvent, loggedAddress, recordKey } from "./events";

const TOKEN = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl";

describe("request event", () => {
  test("no token gets in: not by the URL, a header, a key or the user agent", () => {
    const request = new Request(`http://g/d/x?token=${TOKEN}`, {
      headers: { Authorization: `Bearer ${TOKEN}`, "User-Agent": `curl ${TOKEN}` },
    });
    const event = beginEvent(request, "id", 0);
    recordKey(event, `ds/${TOKEN}`);
    expect(JSON.stringify(event)).not.toContain(TOKEN.split(".")[1]);
    expect([event.key, event.user_agent]).toEqual(["ds/[token]", "curl [token]"]);
  });

  test("the longest key and user agent leave the line below the platform's limit", () => {
    const request = new Request("http://g/", { headers: { "User-Agent": "\\".repeat(10_000) } });
    const event = beginEvent(request, "id", 0);
    recordKey(event, '"'.repeat(1024));
    expect(JSON.stringify(event).length).toBeLessThan(16_384);
  });
});

describe("loggedAddress", () => {
  test.each([
    ["full", "192.0.2.7", "192.0.2.7"],
    ["prefix", "192.0.2.7", "192.0.2.0/24"],
    ["prefix", "2001:db8:1:2::3", "2001:db8:1::/48"],
    ["prefix", null, null],
    ["full", "<script>", null],
  ] as const)("%s of %s is %s", async (kind, address, logged) => {
    expect(await loggedAddress(address, { kind })).toBe(logged);
  });

  test("a hash depends on the key, not on the way the address is written", async () => {
    const [a, b] = [{ kind: "hash", key: "a".repeat(32) } as const, { kind: "hash", key: "b".repeat(32) } as const];
    const hash = await loggedAddress("192.0.2.7", a);
    expect(hash).toMatch(/^[0-9a-f]{32}$/);
    expect(await loggedAddress("::ffff:192.0.2.7", a)).toBe(hash);
    expect(await loggedAddress("192.0.2.7", b)).not.toBe(hash);
  });
});
