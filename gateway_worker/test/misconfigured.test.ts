import { afterAll, beforeAll, expect, test } from "vitest";

import { eventually, startStack } from "./stack";
import type { Stack } from "./stack";

let stack: Stack;

beforeAll(async () => {
  stack = await startStack({ TOKEN_KEYRING: '{"keys":[]}' });
});

afterAll(async () => {
  await stack?.stop();
});

test("a wrong setting is a clear 500, named for client and operator, without a stack trace", async () => {
  for (const path of ["/healthz", "/d/ds/x"]) {
    const { status, headers, body } = await stack.send("GET", path);
    expect([status, headers["content-type"]]).toEqual([500, "application/problem+json"]);
    expect(JSON.parse(body.toString())).toMatchObject({
      code: "misconfigured",
      detail: "The operator must correct the setting TOKEN_KEYRING.",
    });
  }
  await eventually(() => stack.output().includes("configuration error in TOKEN_KEYRING: it holds no key") || undefined);
});
