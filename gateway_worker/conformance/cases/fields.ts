/** Fields of answers. */

import { SHARD_KEY } from "../objects";
import { TEXT } from "./case";
import type { Case, Rule } from "./case";

export const FIELDS: readonly Rule[] = [
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
];
