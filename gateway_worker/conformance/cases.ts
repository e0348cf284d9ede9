/**
 * What a client may rely on, as data: a request and the answer that must come. Nothing here knows how the gateway
 * works, so that the same table judges every way to run it.
 *
 * In a request's fields, `{etag}`, `{date}`, `{date-1}` and `{date+1}` stand for the validators that a plain HEAD of the
 * object showed, the latter two a second earlier and later.
 */

import { FILE_RULES } from "./file_cases";
import { OBJECTS, SHARD_KEY } from "./objects";

const MIB = 1024 * 1024;
const TEXT = "conf/text.txt";
const N = OBJECTS[TEXT]!.bytes.length;
const S = OBJECTS[SHARD_KEY]!.bytes.length;

/** First and last byte, as in Content-Range. */
export type Span = readonly [first: number, last: number];

export interface Expected {
  /** One of several where the platform in front may settle a matter before the gateway sees it. */
  readonly status: number | readonly number[];
  /** `code` of the problem document. */
  readonly code?: string;
  /** A field's exact value, a pattern, or null: the field is absent. */
  readonly headers?: Readonly<Record<string, string | RegExp | null>>;
  /** The body: the whole object, a part of it, parts in this order as multipart/byteranges, or nothing. */
  readonly body?: "whole" | "nothing" | Span | readonly Span[];
  /** The body: the stored zstd frames of a file, all of them or a part. */
  readonly frames?: "whole" | Span;
}

export interface Case {
  readonly name: string;
  readonly method?: string;
  /** The object asked for at `/d/`; its path is percent-encoded by the runner. */
  readonly key?: string;
  /** Or the file of the release `conf` `v1` that is asked for at `/f/`. */
  readonly file?: string;
  /** Or the request's target, literally; `{token}` stands for a good token. */
  readonly target?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Claims that differ from a good token's; null: no token; text: this instead of a token. */
  readonly token?: Readonly<Record<string, unknown>> | string | null;
  readonly expect: Expected;
}

export interface Rule {
  readonly rule: string;
  /** Where it comes from. */
  readonly source: string;
  readonly cases: readonly Case[];
}

const range = (value: string, body: Span, key = TEXT, size = N): Case => ({
  name: `Range: ${value} of ${size} bytes`,
  key,
  headers: { Range: value },
  expect: {
    status: 206,
    body,
    headers: {
      "Content-Range": `bytes ${body[0]}-${body[1]}/${size}`,
      "Content-Length": String(body[1] - body[0] + 1),
      "Accept-Ranges": "bytes",
    },
  },
});

const ignoredRange = (value: string): Case => ({
  name: `Range: ${value} is ignored`,
  key: TEXT,
  headers: { Range: value },
  expect: { status: 200, body: "whole", headers: { "Content-Range": null, "Content-Length": String(N) } },
});

const unsatisfiable = (value: string, key = TEXT, size = N): Case => ({
  name: `Range: ${value} of ${size} bytes`,
  key,
  headers: { Range: value },
  expect: { status: 416, code: "range_not_satisfiable", headers: { "Content-Range": `bytes */${size}` } },
});

const severalRanges = (value: string, body: readonly Span[], key = TEXT): Case => ({
  name: `Range: ${value}`,
  key,
  headers: { Range: value },
  expect: {
    status: 206,
    body,
    headers: { "Content-Type": /^multipart\/byteranges; boundary=\S+$/, "Content-Range": null },
  },
});

const conditional = (name: string, headers: Record<string, string>, status: 200 | 206 | 304 | 412): Case => ({
  name,
  key: TEXT,
  headers,
  expect:
    status === 412
      ? { status, code: "precondition_failed", headers: { "Content-Range": null } }
      : { status, body: status === 304 ? "nothing" : status === 206 ? [0, 0] : "whole" },
});

const refusedTarget = (name: string, target: string, status: number | readonly number[], code?: string): Case => ({
  name,
  target,
  expect: code === undefined ? { status } : { status, code },
});

const refusedToken = (
  name: string,
  token: Case["token"] & {},
  code: string,
  headers: Record<string, string> = {},
): Case => ({ name, key: TEXT, token, headers, expect: { status: 403, code } });

const PAST = Math.floor(Date.now() / 1000) - 3600;

export const RULES: readonly Rule[] = [
  ...FILE_RULES,
  {
    rule: "one range: closed, open, suffix, beyond the end",
    source: "RFC 9110 §14.1.2",
    cases: [
      range("bytes=0-0", [0, 0]),
      range("bytes=5-104", [5, 104]),
      range(`bytes=${N - 1}-`, [N - 1, N - 1]),
      range("bytes=0-", [0, N - 1]),
      range("bytes=-5", [N - 5, N - 1]),
      range(`bytes=-${N + 1}`, [0, N - 1]),
      range(`bytes=10-${N}`, [10, N - 1]),
      range("bytes=10-99999999999999999999999", [10, N - 1]),
      range("bytes=-99999999999999999999999", [0, N - 1]),
      range("bytes=00000000000000000000001-01", [1, 1]),
      range("bytes=0-0", [0, 0], "conf/one", 1),
    ],
  },
  {
    rule: "ranges within a slice, up to its border, and across slices",
    source: "design §6",
    cases: [
      range(`bytes=${8 * MIB}-${16 * MIB - 1}`, [8 * MIB, 16 * MIB - 1], SHARD_KEY, S),
      range(`bytes=${8 * MIB - 1}-${8 * MIB}`, [8 * MIB - 1, 8 * MIB], SHARD_KEY, S),
      range(`bytes=${8 * MIB - 3}-${16 * MIB + 2}`, [8 * MIB - 3, 16 * MIB + 2], SHARD_KEY, S),
      range(`bytes=${4 * MIB}-${4 * MIB + 4095}`, [4 * MIB, 4 * MIB + 4095], SHARD_KEY, S),
      range("bytes=-1", [S - 1, S - 1], SHARD_KEY, S),
      range(`bytes=${16 * MIB}-`, [16 * MIB, S - 1], SHARD_KEY, S),
    ],
  },
  {
    rule: "unit names are case-insensitive, white space and empty elements are allowed",
    source: "RFC 9110 §14.1, §5.6.1.2",
    cases: [range("BYTES=1-2", [1, 2]), range("bytes= 1-2 ", [1, 2]), range("bytes=,1-2,,", [1, 2])],
  },
  {
    rule: "a unit or a set that is not understood is ignored",
    source: "RFC 9110 §14.2",
    cases: [
      "items=0-1",
      "bytes",
      "bytes=",
      "bytes=-",
      "bytes=a-b",
      "bytes=5-1",
      "bytes=0-1,x",
      "bytes=1-2-3",
      "bytes=0x1-2",
      "bytes=1 - 2",
      "bytes=+1-2",
      "bytes:0-1",
    ].map(ignoredRange),
  },
  {
    rule: "no satisfiable range: 416 with the size",
    source: "RFC 9110 §15.5.17, §14.4",
    cases: [
      unsatisfiable(`bytes=${N}-`),
      unsatisfiable(`bytes=${N}-${N + 5},-0`),
      unsatisfiable("bytes=-0"),
      unsatisfiable("bytes=99999999999999999999999-"),
      unsatisfiable(`bytes=${S}-`, SHARD_KEY, S),
      unsatisfiable("bytes=0-", "conf/empty", 0),
      unsatisfiable("bytes=0-0,1-1", "conf/empty", 0),
    ],
  },
  {
    rule: "a suffix of an empty object is the whole object",
    source: "RFC 9110 §14.1.2",
    cases: [
      { name: "bytes=-1", key: "conf/empty", headers: { Range: "bytes=-1" }, expect: { status: 200, body: "whole" } },
    ],
  },
  {
    rule: "several ranges: multipart/byteranges in the order asked, joined when close",
    source: "RFC 9110 §14.6, §15.3.7.2",
    cases: [
      severalRanges("bytes=0-9,1000-1009", [
        [0, 9],
        [1000, 1009],
      ]),
      severalRanges("bytes=2000-2009, 0-9 ,-5", [
        [2000, 2009],
        [0, 9],
        [N - 5, N - 1],
      ]),
      severalRanges("bytes=0-9,5-20,1000-1001", [
        [0, 20],
        [1000, 1001],
      ]),
      severalRanges(`bytes=0-9,1000-1001,${N}-`, [
        [0, 9],
        [1000, 1001],
      ]),
      severalRanges(
        `bytes=${8 * MIB - 2}-${8 * MIB + 1},0-0,${16 * MIB - 1}-`,
        [
          [8 * MIB - 2, 8 * MIB + 1],
          [0, 0],
          [16 * MIB - 1, S - 1],
        ],
        SHARD_KEY,
      ),
      severalRanges(
        `bytes=${Array.from({ length: 16 }, (_, i) => `${i * 180}-${i * 180}`).join()}`,
        Array.from({ length: 16 }, (_, i): Span => [i * 180, i * 180]),
      ),
      { ...range("bytes=0-9,10-19", [0, 19]), name: "neighbours become one plain range" },
      { ...range(`bytes=5-9,${N}-`, [5, 9]), name: "one of two is satisfiable" },
    ],
  },
  {
    rule: "more than 16 ranges: the whole object",
    source: "RFC 9110 §17.15",
    cases: [
      {
        ...ignoredRange(`bytes=${Array.from({ length: 17 }, (_, i) => `${i * 170}-${i * 170}`).join()}`),
        name: "17 ranges",
      },
      { ...range(`bytes=${Array.from({ length: 500 }, () => "0-9").join()}`, [0, 9]), name: "500 times the same one" },
    ],
  },
  {
    rule: "HEAD ignores Range",
    source: "RFC 9110 §14.2",
    cases: [
      {
        name: "HEAD with a range",
        key: TEXT,
        method: "HEAD",
        headers: { Range: "bytes=0-1" },
        expect: { status: 200, body: "nothing", headers: { "Content-Length": String(N), "Content-Range": null } },
      },
    ],
  },
  {
    rule: "If-Range: the strong tag or the exact date, else the whole object",
    source: "RFC 9110 §13.1.5",
    cases: [
      conditional("the tag", { Range: "bytes=0-0", "If-Range": "{etag}" }, 206),
      conditional("the date", { Range: "bytes=0-0", "If-Range": "{date}" }, 206),
      conditional("another tag", { Range: "bytes=0-0", "If-Range": '"other"' }, 200),
      conditional("the tag, weak", { Range: "bytes=0-0", "If-Range": "W/{etag}" }, 200),
      conditional("a later date", { Range: "bytes=0-0", "If-Range": "{date+1}" }, 200),
      conditional("an earlier date", { Range: "bytes=0-0", "If-Range": "{date-1}" }, 200),
      conditional("nonsense", { Range: "bytes=0-0", "If-Range": "nonsense" }, 200),
      { ...conditional("an unsatisfiable range of another version", { Range: `bytes=${N}-`, "If-Range": '"o"' }, 200) },
      { ...conditional("without Range it means nothing", { "If-Range": '"other"' }, 200) },
    ],
  },
  {
    rule: "If-Match compares strongly; 412 when it does not hold",
    source: "RFC 9110 §13.1.1",
    cases: [
      conditional("the tag", { "If-Match": "{etag}" }, 200),
      conditional("a list with the tag", { "If-Match": '"a", {etag} ,"b"' }, 200),
      conditional("any", { "If-Match": "*" }, 200),
      conditional("another", { "If-Match": '"other"' }, 412),
      conditional("the tag, weak", { "If-Match": "W/{etag}" }, 412),
      conditional("a malformed list", { "If-Match": "nonsense" }, 412),
    ],
  },
  {
    rule: "If-None-Match compares weakly; 304 when it matches",
    source: "RFC 9110 §13.1.2",
    cases: [
      conditional("the tag", { "If-None-Match": "{etag}" }, 304),
      conditional("the tag, weak", { "If-None-Match": "W/{etag}" }, 304),
      conditional("a list with the tag", { "If-None-Match": '"a",{etag}' }, 304),
      conditional("any", { "If-None-Match": "*" }, 304),
      conditional("another", { "If-None-Match": '"other"' }, 200),
    ],
  },
  {
    rule: "If-Modified-Since and If-Unmodified-Since; what is no date is ignored",
    source: "RFC 9110 §13.1.3, §13.1.4, §5.6.7",
    cases: [
      conditional("not modified since", { "If-Modified-Since": "{date}" }, 304),
      conditional("modified since", { "If-Modified-Since": "{date-1}" }, 200),
      conditional("not unmodified since", { "If-Unmodified-Since": "{date-1}" }, 412),
      conditional("unmodified since", { "If-Unmodified-Since": "{date}" }, 200),
      conditional("no date", { "If-Modified-Since": "yesterday", "If-Unmodified-Since": "0" }, 200),
      conditional("RFC 850 form", { "If-Unmodified-Since": "Sunday, 06-Nov-94 08:49:37 GMT" }, 412),
      conditional("asctime form", { "If-Unmodified-Since": "Sun Nov  6 08:49:37 1994" }, 412),
    ],
  },
  {
    rule: "order of preconditions, all before Range",
    source: "RFC 9110 §13.2.2",
    cases: [
      conditional(
        "If-Match overrides If-Unmodified-Since",
        { "If-Match": "{etag}", "If-Unmodified-Since": "{date-1}" },
        200,
      ),
      conditional(
        "If-None-Match overrides If-Modified-Since",
        { "If-None-Match": '"o"', "If-Modified-Since": "{date}" },
        200,
      ),
      conditional("412 before 304", { "If-Match": '"o"', "If-None-Match": "{etag}" }, 412),
      conditional("304 before 206", { "If-None-Match": "{etag}", Range: "bytes=0-0" }, 304),
      conditional("304 before 416", { "If-None-Match": "{etag}", Range: `bytes=${N}-` }, 304),
      conditional("412 before 416", { "If-Match": '"o"', Range: `bytes=${N}-` }, 412),
      conditional("what holds lets the range through", { "If-Match": "{etag}", Range: "bytes=0-0" }, 206),
    ],
  },
  {
    rule: "304 carries the validators, neither body nor length of one",
    source: "RFC 9110 §15.4.5",
    cases: [
      {
        name: "304",
        key: TEXT,
        headers: { "If-None-Match": "*" },
        expect: {
          status: 304,
          body: "nothing",
          headers: { ETag: /^"[0-9a-f]{64}"$/, "Last-Modified": / GMT$/, "Cache-Control": "private, no-transform" },
        },
      },
    ],
  },
  {
    rule: "strong ETag and digest of the whole representation, on any part of it",
    source: "RFC 9110 §8.8.3, RFC 9530 §3",
    cases: [
      ...[TEXT, SHARD_KEY].map((key): Case => {
        const digest = { ETag: /^"[0-9a-f]{64}"$/, "Repr-Digest": /^sha-256=:[A-Za-z0-9+/]{43}=:$/ };
        return {
          name: `206 of ${key}`,
          key,
          headers: { Range: "bytes=0-0" },
          expect: { status: 206, headers: digest },
        };
      }),
      {
        name: "an object without a known digest",
        key: "conf/undigested",
        expect: { status: 200, headers: { ETag: /^"[^"]+"$/, "Repr-Digest": null } },
      },
    ],
  },
  {
    rule: "the file name in a plain and an exact form",
    source: "RFC 6266 §4.3, RFC 8187 §3.2",
    cases: [
      {
        name: "a plain name",
        key: TEXT,
        expect: { status: 200, headers: { "Content-Disposition": 'attachment; filename="text.txt"' } },
      },
      {
        name: "a name beyond ASCII",
        key: "conf/café 1+2 100%.txt",
        expect: {
          status: 200,
          headers: {
            "Content-Disposition":
              "attachment; filename=\"caf_ 1+2 100_.txt\"; filename*=UTF-8''caf%C3%A9%201%2B2%20100%25.txt",
          },
        },
      },
    ],
  },
  {
    rule: "fields of every answer about an object",
    source: "design §6",
    cases: [
      {
        name: "200",
        key: TEXT,
        expect: {
          status: 200,
          headers: {
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "private, no-transform",
            "X-Request-Id": /^[0-9a-f-]{36}$/,
            "x-amz-request-id": null,
            "x-amz-meta-sha256": null,
            Server: null,
          },
        },
      },
    ],
  },
  {
    rule: "CORS: preflight, exposed fields",
    source: "Fetch standard §3.3",
    cases: [
      {
        name: "preflight",
        key: TEXT,
        method: "OPTIONS",
        token: null,
        headers: { Origin: "https://a.example", "Access-Control-Request-Method": "GET" },
        expect: {
          status: 204,
          body: "nothing",
          headers: {
            "Access-Control-Allow-Origin": "*",
            "Access-Control-Allow-Methods": /GET/,
            "Access-Control-Allow-Headers": /Authorization.*Range.*If-Range/,
          },
        },
      },
      {
        name: "a range for a page of another site",
        key: TEXT,
        headers: { Origin: "https://a.example", Range: "bytes=0-0" },
        expect: {
          status: 206,
          headers: {
            "Access-Control-Allow-Origin": "*",
            "Access-Control-Expose-Headers": /Content-Range.*ETag/,
          },
        },
      },
      {
        name: "a problem can be read too",
        key: TEXT,
        token: null,
        headers: { Origin: "https://a.example" },
        expect: { status: 401, headers: { "Access-Control-Allow-Origin": "*" } },
      },
    ],
  },
  {
    rule: "405 with Allow, before anything else is judged",
    source: "RFC 9110 §15.5.6",
    cases: ["POST", "PUT", "DELETE", "PATCH"].map((method) => ({
      name: method,
      method,
      target: "/d/%ff",
      expect: { status: 405, code: "method_not_allowed", headers: { Allow: "GET, HEAD, OPTIONS" } },
    })),
  },
  {
    rule: "keys that are no clean path are refused",
    source: "design §6, RFC 3986 §2.1, RFC 3629 §3",
    cases: [
      refusedTarget("an escape that is cut off", "/d/conf/%4?token={token}", 400, "bad_request"),
      refusedTarget("an escape that is none", "/d/conf/%zz?token={token}", 400, "bad_request"),
      refusedTarget("a byte that is no UTF-8", "/d/conf/%ff?token={token}", 400, "bad_request"),
      refusedTarget("an overlong form", "/d/conf/%c0%af?token={token}", 400, "bad_request"),
      refusedTarget("half a surrogate pair", "/d/conf/%ed%a0%80?token={token}", 400, "bad_request"),
      refusedTarget("NUL", "/d/conf/a%00b?token={token}", 400, "bad_request"),
      refusedTarget("a line feed", "/d/conf/a%0ab?token={token}", 400, "bad_request"),
      refusedTarget("two slashes", "/d/conf//text.txt?token={token}", 400, "bad_request"),
      refusedTarget("two slashes, one escaped", "/d/conf/%2ftext.txt?token={token}", 400, "bad_request"),
      refusedTarget("a slash at the end", "/d/conf/?token={token}", 400, "bad_request"),
      refusedTarget("an empty key", "/d/?token={token}", 400, "bad_request"),
      refusedTarget("too long a key", `/d/conf/${"a".repeat(1024)}?token={token}`, 400, "bad_request"),
      // Whoever resolves the dots before the gateway sees them asks for a key outside of the scope.
      refusedTarget("dot segments", "/d/conf/../other/x?token={token}", [400, 403]),
      refusedTarget("dot segments, escaped", "/d/conf/%2e%2e/other/x?token={token}", [400, 403]),
      refusedTarget("dot segments, all escaped", "/d/conf%2f..%2fother%2fx?token={token}", 400, "bad_request"),
      refusedTarget(
        "dot segments in a parameter",
        "/download?key=conf/../conf/text.txt&token={token}",
        400,
        "bad_request",
      ),
      refusedTarget("no key", "/download?token={token}", 400, "bad_request"),
      refusedTarget("two keys", "/download?key=a&key=b&token={token}", 400, "bad_request"),
    ],
  },
  {
    rule: "keys are compared decoded, however they are written",
    source: "RFC 3986 §6.2.2",
    cases: [
      refusedTarget("escaped letters", "/d/%63onf%2Ftext.txt?token={token}", 200),
      refusedTarget("a plus in a path is a plus", "/d/conf/caf%C3%A9%201+2%20100%25.txt?token={token}", 200),
      refusedTarget(
        "a plus in a parameter is a space",
        "/download?key=conf/caf%c3%a9+1%2B2+100%25.txt&token={token}",
        200,
      ),
    ],
  },
  {
    rule: "unknown routes",
    source: "RFC 9110 §15.5.5",
    cases: [
      refusedTarget("the root", "/", 404, "not_found"),
      refusedTarget("a neighbour of a route", "/downloads?key=conf/text.txt&token={token}", 404, "not_found"),
      refusedTarget("another case", "/D/conf/text.txt?token={token}", 404, "not_found"),
    ],
  },
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
  {
    rule: "health check",
    source: "design §6",
    cases: [
      refusedTarget("GET", "/healthz", 200),
      { name: "HEAD", method: "HEAD", target: "/healthz", expect: { status: 200, body: "nothing" } },
    ],
  },
  // Last, so that on the first pass the ranges above meet an empty cache.
  {
    rule: "no content coding on the way, whatever the client accepts",
    source: "RFC 9110 §7.7, §8.4",
    cases: [TEXT, "conf/manifest.json", SHARD_KEY].flatMap((key): Case[] =>
      [{}, { Range: "bytes=3-2002" }].map((headers) => ({
        name: `${key} ${JSON.stringify(headers)}`,
        key,
        headers: { ...headers, "Accept-Encoding": "gzip, br, zstd, deflate" },
        expect: {
          ...("Range" in headers ? { status: 206, body: [3, 2002] as const } : { status: 200, body: "whole" as const }),
          headers: { "Content-Encoding": null, "Transfer-Encoding": null, "Content-Length": /^\d+$/ },
        },
      })),
    ),
  },
  {
    rule: "GET and HEAD of a whole object",
    source: "RFC 9110 §9.3.1, §9.3.2, §8.6",
    cases: [
      ...Object.keys(OBJECTS).flatMap((key): Case[] => {
        const headers = { "Content-Length": String(OBJECTS[key]!.bytes.length), "Accept-Ranges": "bytes" };
        return [
          { name: `GET ${key}`, key, expect: { status: 200, body: "whole", headers } },
          { name: `HEAD ${key}`, key, method: "HEAD", expect: { status: 200, body: "nothing", headers } },
        ];
      }),
      { name: "GET of what is not there", key: "conf/missing", expect: { status: 404, code: "not_found" } },
      {
        name: "HEAD of what is not there",
        key: "conf/missing",
        method: "HEAD",
        expect: { status: 404, body: "nothing" },
      },
    ],
  },
];
