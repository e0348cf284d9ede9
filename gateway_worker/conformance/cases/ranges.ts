/** Ranges. */

import { SHARD_KEY } from "../objects";
import { MIB, N, S, TEXT } from "./case";
import type { Case, Rule, Span } from "./case";

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

export const RANGES: readonly Rule[] = [
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
];
