/** Whole objects. */

import { OBJECTS, SHARD_KEY } from "../objects";
import { TEXT } from "./case";
import type { Case, Rule } from "./case";

export const BODIES: readonly Rule[] = [
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
