/** Tokens and what they allow. */

import { N, TEXT, refusedTarget } from "./case";
import type { Case, Rule } from "./case";

const refusedToken = (
  name: string,
  token: Case["token"] & {},
  code: string,
  headers: Record<string, string> = {},
): Case => ({ name, key: TEXT, token, headers, expect: { status: 403, code } });

const PAST = Math.floor(Date.now() / 1000) - 3600;

export const TOKENS: readonly Rule[] = [
  {
    rule: "the token comes by query or header",
    source: "RFC 6750 §2.1, §3",
    cases: [
      refusedTarget("query", `/d/${TEXT}?token={token}`, 200),
      refusedTarget("download", `/download?key=${encodeURIComponent(TEXT)}&token={token}`, 200),
      {
        name: "no token",
        key: TEXT,
        token: null,
        expect: { status: 401, code: "token_missing", headers: { "WWW-Authenticate": /^Bearer/ } },
      },
      refusedTarget("no token on /download", `/download?key=${TEXT}`, 400, "bad_request"),
      {
        name: "two that differ",
        target: `/d/${TEXT}?token={token}x`,
        token: {},
        expect: { status: 400, code: "bad_request" },
      },
    ],
  },
  {
    rule: "tokens that do not hold",
    source: "design §5, RFC 8725",
    cases: [
      refusedToken("no JWT", "nonsense", "token_invalid"),
      refusedToken("alg none", "eyJhbGciOiJub25lIiwia2lkIjoiazEiLCJ0eXAiOiJkbCtqd3QifQ.e30.", "token_invalid"),
      refusedToken("expired", { iat: PAST, exp: PAST + 300 }, "token_expired"),
      refusedToken("issued in the future", { iat: PAST + 7200, exp: PAST + 7500 }, "token_invalid"),
      refusedToken("too long a lifetime", { iat: PAST, exp: PAST + 86_400 }, "token_invalid"),
      refusedToken("another audience", { aud: "other" }, "token_invalid"),
      refusedToken("another issuer", { iss: "other" }, "token_invalid"),
      refusedToken("a scope that is no list", { scp: "conf/" }, "token_invalid"),
      refusedToken("a max that is no number", { max: "1" }, "token_invalid"),
      refusedToken("another prefix", { scp: ["other/"] }, "key_not_allowed"),
      refusedToken("a prefix without its slash is a key", { scp: ["conf"] }, "key_not_allowed"),
      refusedToken("another key", { scp: ["conf/text.txt2"] }, "key_not_allowed"),
      refusedToken("an empty scope", { scp: [] }, "key_not_allowed"),
      refusedToken("another address", { ip: "203.0.113.0/24" }, "ip_not_allowed"),
      refusedToken("an IPv6 address", { ip: "2001:db8::1" }, "ip_not_allowed"),
      { name: "an exact key", key: TEXT, token: { scp: [TEXT] }, expect: { status: 200, body: "whole" } },
      { name: "one of several scopes", key: TEXT, token: { scp: ["a/", "conf/", "b"] }, expect: { status: 200 } },
      { name: "the client's own address", key: TEXT, token: { ip: "127.0.0.0/8" }, expect: { status: 200 } },
    ],
  },
  {
    rule: "bytes that a token may fetch in all",
    source: "design §5",
    cases: [
      { name: "enough", key: TEXT, token: { max: N }, expect: { status: 200, body: "whole" } },
      {
        name: "too few",
        key: TEXT,
        token: { max: N - 1 },
        expect: { status: 429, code: "quota_exceeded", headers: { "Retry-After": /^\d+$/ } },
      },
      {
        name: "enough for a range",
        key: TEXT,
        token: { max: 10 },
        headers: { Range: "bytes=0-9" },
        expect: { status: 206, body: [0, 9] },
      },
    ],
  },
];
