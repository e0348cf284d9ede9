import { describe, expect, test } from "vitest";

import { answerAdmin, requireAdmin } from "./admin";
import type { Denial, DeniedKind, Denylist } from "./limits/interface";
import type { Grant } from "./token";

function listOf(): { list: Denylist; denials: Map<string, Denial> } {
  const denials = new Map<string, Denial>();
  return {
    denials,
    list: {
      put: async (kind, value, until) => void denials.set(value, { kind, value, since: 0, until }),
      remove: async (_kind, value) => void denials.delete(value),
      find: async (_kind, value) => denials.get(value) ?? null,
    },
  };
}

describe("answerAdmin", () => {
  const answer = (method: string, list: Denylist, kind: DeniedKind = "jti") =>
    answerAdmin(method, { kind, value: "x" }, list, 3600, 1_000_000);

  test("deny, look up, allow again; twice is fine", async () => {
    const { list } = listOf();
    await expect(answer("GET", list)).rejects.toMatchObject({ code: "not_found" });
    expect(await answer("PUT", list)).toEqual({ status: 204, body: null });
    expect(await answer("PUT", list)).toEqual({ status: 204, body: null });
    const { status, body } = await answer("GET", list);
    expect([status, JSON.parse(body ?? "")]).toEqual([
      200,
      { kind: "jti", value: "x", since: "1970-01-01T00:00:00.000Z", until: "1970-01-01T01:17:00.000Z" },
    ]);
    expect((await answer("DELETE", list)).status).toBe(204);
    expect((await answer("DELETE", list)).status).toBe(204);
    await expect(answer("HEAD", list)).rejects.toMatchObject({ code: "not_found" });
  });

  test("a token's id is denied as long as such a token can hold, a user and a key until they are allowed again", async () => {
    const { list, denials } = listOf();
    await answer("PUT", list, "jti");
    expect(denials.get("x")?.until).toBe(1_000_000 + (3600 + 20) * 1000);
    await answer("PUT", list, "sub");
    expect(denials.get("x")?.until).toBeNull();
  });
});

test("only the exact scope lets a token in", () => {
  const grantOf = (...scopes: string[]) => ({ scopes }) as unknown as Grant;
  requireAdmin(grantOf("ds/", "admin:denylist"));
  for (const scopes of [[], ["admin:"], ["admin:denylist/"], ["ds/"]]) {
    expect(() => requireAdmin(grantOf(...scopes))).toThrow(expect.objectContaining({ code: "key_not_allowed" }));
  }
});
