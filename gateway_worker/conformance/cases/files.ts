/** The rules for single files, `/f/{dataset}/{version}/{path}`. */

import type { Case, Expected, Rule, Span } from "./case";
import { RELEASE, RELEASED, sha256Of } from "../objects";

const SMALL = "small.txt";
const LARGE = "large.bin";
const HUGE = "huge.bin";
const NAME = "dir/ünï 1+2 100%.bin";
const N = RELEASED[SMALL].content.length;
const ZSTD = { "Accept-Encoding": "zstd" };

const etagOf = (path: keyof typeof RELEASED) => `"${sha256Of(RELEASED[path].content as Buffer)}"`;
const framesOf = (path: string) => RELEASE.coded.get(path)!.reduce((sum, frame) => sum + frame.length, 0);

const ask = (
  name: string,
  file: string,
  headers: Record<string, string>,
  expect: Expected,
  rest: Partial<Case> = {},
): Case => ({ name, file, headers, expect, ...rest });

/** The file's own bytes. */
const plain = (path: keyof typeof RELEASED, rest: Partial<Expected["headers"]> = {}): Expected => ({
  status: 200,
  body: "whole",
  headers: {
    "Content-Encoding": null,
    "Content-Length": String((RELEASED[path].content as Buffer).length),
    ETag: etagOf(path),
    "Repr-Digest": /^sha-256=:[A-Za-z0-9+/]{43}=:$/,
    Vary: "Accept-Encoding",
    ...rest,
  },
});

/** The stored frames. */
const frames = (path: keyof typeof RELEASED): Expected => ({
  status: 200,
  frames: "whole",
  headers: {
    "Content-Encoding": "zstd",
    "Content-Length": String(framesOf(path)),
    ETag: etagOf(path).replace(/"$/, '-zstd"'),
    "Repr-Digest": null,
    Vary: "Accept-Encoding",
  },
});

const part = (body: Span, size: number): Expected => ({
  status: 206,
  body,
  headers: {
    "Content-Encoding": null,
    "Content-Range": `bytes ${body[0]}-${body[1]}/${size}`,
    "Content-Length": String(body[1] - body[0] + 1),
  },
});

const refused = (name: string, target: string, status: number, code: string): Case => ({
  name,
  target,
  expect: { status, code },
});

const tooLarge: Expected = { status: 406, code: "not_acceptable", headers: { Vary: "Accept-Encoding" } };
const signature = "conf/releases/v1/manifest.json.sig";

export const FILE_RULES: readonly Rule[] = [
  {
    rule: "a file of a release comes out of its shards",
    source: "design §6",
    cases: [
      ...([SMALL, NAME, LARGE, "scattered.bin", "empty", "table.parquet"] as const).flatMap((path) => [
        ask(`GET ${path}`, path, {}, plain(path)),
        ask(`HEAD ${path}`, path, {}, { ...plain(path), body: "nothing" }, { method: "HEAD" }),
      ]),
      refused("latest", `/f/conf/latest/${SMALL}?token={token}`, 200, ""),
      refused("a path that is written in another way", "/f/conf/v1%2F%73mall.txt?token={token}", 200, ""),
      ask(
        "fields of the answer",
        NAME,
        {},
        {
          status: 200,
          headers: {
            "Accept-Ranges": "bytes",
            "Cache-Control": "private, no-transform",
            "Content-Type": "application/octet-stream",
            "Content-Disposition":
              "attachment; filename=\"_n_ 1+2 100_.bin\"; filename*=UTF-8''%C3%BCn%C3%AF%201%2B2%20100%25.bin",
            "Last-Modified": "Sun, 13 Sep 2020 12:26:40 GMT",
            "X-Content-Type-Options": "nosniff",
          },
        },
      ),
      ask(
        "a type by the name's end",
        "table.parquet",
        {},
        {
          status: 200,
          headers: { "Content-Type": "application/vnd.apache.parquet" },
        },
      ),
      ask(
        "preflight",
        SMALL,
        { Origin: "https://a.example" },
        { status: 204, body: "nothing" },
        { method: "OPTIONS", token: null },
      ),
      {
        name: "POST",
        method: "POST",
        target: "/f/%ff",
        expect: { status: 405, code: "method_not_allowed", headers: { Allow: "GET, HEAD, OPTIONS" } },
      },
    ],
  },
  {
    rule: "stored frames for who accepts zstd, the file's own bytes for all others",
    source: "RFC 9110 §12.5.3, §8.4.1",
    cases: [
      ask("zstd", LARGE, ZSTD, frames(LARGE)),
      ask("zstd among others, by its weight", LARGE, { "Accept-Encoding": "gzip, br;q=1, zstd;q=0.1" }, frames(LARGE)),
      ask("any coding", LARGE, { "Accept-Encoding": "*" }, frames(LARGE)),
      ask("frames of two shards", "scattered.bin", ZSTD, frames("scattered.bin")),
      ask("HEAD", LARGE, ZSTD, { status: 200, headers: frames(LARGE).headers!, body: "nothing" }, { method: "HEAD" }),
      ask("no zstd", LARGE, { "Accept-Encoding": "gzip, br" }, plain(LARGE)),
      ask("zstd of weight 0", LARGE, { "Accept-Encoding": "zstd;q=0, *" }, plain(LARGE)),
      ask("identity preferred", LARGE, { "Accept-Encoding": "zstd;q=0.5, identity" }, plain(LARGE)),
      ask("a file that shares its frame with others", SMALL, ZSTD, plain(SMALL)),
      ask("an empty file", "empty", ZSTD, plain("empty")),
    ],
  },
  {
    rule: "each form of a file has validators of its own",
    source: "RFC 9110 §8.8.3.3, §12.5.5, §13.2.2",
    cases: [
      ask(
        "If-None-Match of the bytes",
        LARGE,
        { "If-None-Match": "{etag}" },
        { status: 304, body: "nothing", headers: { Vary: "Accept-Encoding" } },
      ),
      ask(
        "If-None-Match of the frames",
        LARGE,
        { ...ZSTD, "If-None-Match": "{etag}" },
        { status: 304, body: "nothing" },
      ),
      ask(
        "the tag of the frames is not that of the bytes",
        LARGE,
        { ...ZSTD, "If-None-Match": etagOf(LARGE) },
        frames(LARGE),
      ),
      ask(
        "If-Match of another",
        LARGE,
        { "If-Match": '"x"' },
        { status: 412, code: "precondition_failed", headers: { Vary: "Accept-Encoding" } },
      ),
      ask("If-Modified-Since", SMALL, { "If-Modified-Since": "{date}" }, { status: 304 }),
      ask(
        "If-Unmodified-Since",
        SMALL,
        { "If-Unmodified-Since": "{date-1}" },
        { status: 412, code: "precondition_failed" },
      ),
    ],
  },
  {
    rule: "a range is one of the file's own bytes, or of the frames that If-Range names",
    source: "RFC 9110 §14.2, §13.1.5",
    cases: [
      ask("within one piece", SMALL, { Range: "bytes=10-19" }, part([10, 19], N)),
      ask("a suffix", SMALL, { Range: "bytes=-7" }, part([N - 7, N - 1], N)),
      ask("across pieces", LARGE, { Range: "bytes=399999-700000" }, part([399_999, 700_000], 900_000)),
      ask("across shards", "scattered.bin", { Range: "bytes=9999-20000" }, part([9_999, 20_000], 40_000)),
      ask(
        "of a file that is too large as a whole",
        HUGE,
        { Range: "bytes=1400000-" },
        part([1_400_000, 1_499_999], 1_500_000),
      ),
      ask("for who accepts zstd too", LARGE, { ...ZSTD, Range: "bytes=5-9" }, part([5, 9], 900_000)),
      ask(
        "for who accepts nothing but zstd",
        LARGE,
        { "Accept-Encoding": "zstd, identity;q=0", Range: "bytes=5-9" },
        {
          status: 206,
          frames: [5, 9],
          headers: { "Content-Encoding": "zstd", "Content-Range": `bytes 5-9/${framesOf(LARGE)}` },
        },
      ),
      ask(
        "of the frames",
        LARGE,
        { ...ZSTD, "If-Range": "{etag}", Range: `bytes=100-` },
        {
          status: 206,
          frames: [100, framesOf(LARGE) - 1],
          headers: { "Content-Encoding": "zstd" },
        },
      ),
      ask("If-Range of the bytes", LARGE, { "If-Range": "{etag}", Range: "bytes=0-4" }, part([0, 4], 900_000)),
      ask("If-Range of another file", LARGE, { "If-Range": '"x"', Range: "bytes=0-4" }, plain(LARGE)),
      ask(
        "behind the end",
        SMALL,
        { Range: `bytes=${N}-` },
        {
          status: 416,
          code: "range_not_satisfiable",
          headers: { "Content-Range": `bytes */${N}`, Vary: "Accept-Encoding" },
        },
      ),
      ask("several ranges are the whole file", SMALL, { Range: "bytes=0-9,1000-1009" }, plain(SMALL)),
      ask("HEAD ignores it", SMALL, { Range: "bytes=0-9" }, { ...plain(SMALL), body: "nothing" }, { method: "HEAD" }),
    ],
  },
  {
    rule: "what is too large to be decoded is refused, with a hint",
    source: "RFC 9110 §15.5.7",
    cases: [
      ask("GET", HUGE, {}, tooLarge),
      ask("a range that is too long", HUGE, { Range: "bytes=0-1000000" }, tooLarge),
      ask("no form is acceptable", SMALL, { "Accept-Encoding": "identity;q=0" }, tooLarge),
      ask("the longest range", HUGE, { Range: "bytes=0-999999" }, part([0, 999_999], 1_500_000)),
      ask("its frames", HUGE, ZSTD, frames(HUGE)),
      ask(
        "its frames, though identity is preferred",
        HUGE,
        { "Accept-Encoding": "zstd;q=0.1, identity" },
        frames(HUGE),
      ),
      ask("HEAD tells the size, for ranges", HUGE, {}, { ...plain(HUGE), body: "nothing" }, { method: "HEAD" }),
    ],
  },
  {
    rule: "files that are not there, and paths that are none",
    source: "design §6",
    cases: [
      ...["missing", "dir", "folder", "nowhere.lnk", "small.txt/x"].map((path) =>
        ask(path, path, {}, { status: 404, code: "not_found", headers: { Vary: "Accept-Encoding" } }),
      ),
      refused("a release that is not there", `/f/conf/v2/${SMALL}?token={token}`, 404, "not_found"),
      refused("no path", "/f/conf/v1?token={token}", 400, "bad_request"),
      refused("a folder's slash", "/f/conf/v1/dir/?token={token}", 400, "bad_request"),
      refused("two slashes", "/f/conf/v1//small.txt?token={token}", 400, "bad_request"),
      refused("NUL", "/f/conf/v1/a%00?token={token}", 400, "bad_request"),
      refused("no UTF-8", "/f/conf/v1/%ff?token={token}", 400, "bad_request"),
      refused("dot segments", "/f/conf/v1/dir%2f..%2fsmall.txt?token={token}", 400, "bad_request"),
      refused("too long a path", `/f/conf/v1/${"a".repeat(4096)}?token={token}`, 400, "bad_request"),
      refused("a name that no dataset has", `/f/Conf/v1/${SMALL}?token={token}`, 400, "bad_request"),
    ],
  },
  {
    rule: "a file needs a token for all that is read of it",
    source: "design §5",
    cases: [
      ask("no token", SMALL, {}, { status: 401, code: "token_missing" }, { token: null }),
      ...(
        [
          ["another dataset", ["other/"]],
          ["the release without its shards", ["conf/releases/v1/"]],
          ["the shards without the release", ["conf/shards/"]],
          ["another release", ["conf/shards/", "conf/releases/v2/"]],
          ["a shard that is another one", [signature, RELEASE.lookupKey, RELEASE.shardKeys[1]!]],
          ["the key of its event", [`conf/releases/v1/files/${SMALL}`]],
        ] as const
      ).map(([name, scp]) => ask(name, SMALL, {}, { status: 403, code: "key_not_allowed" }, { token: { scp } })),
      ask("what the issuer grants", SMALL, {}, plain(SMALL), { token: { scp: ["conf/shards/", "conf/releases/v1/"] } }),
      ask("exact keys", SMALL, {}, plain(SMALL), {
        token: { scp: [signature, RELEASE.lookupKey, RELEASE.shardKeys[0]!] },
      }),
      ask(
        "an expired one",
        SMALL,
        {},
        { status: 403, code: "token_expired" },
        {
          token: { iat: Math.floor(Date.now() / 1000) - 3600, exp: Math.floor(Date.now() / 1000) - 3300 },
        },
      ),
      ask("too few bytes", SMALL, {}, { status: 429, code: "quota_exceeded" }, { token: { max: N - 1 } }),
    ],
  },
];
