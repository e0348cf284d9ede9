import { expect, test } from "vitest";

import { Problem } from "./problem";

test("a problem is RFC 9457 with code and request_id", () => {
  expect(JSON.parse(new Problem("token_expired", "Renew it.").body("r1"))).toEqual({
    type: "about:blank",
    title: "The token has expired",
    status: 403,
    detail: "Renew it.",
    code: "token_expired",
    request_id: "r1",
  });
});
