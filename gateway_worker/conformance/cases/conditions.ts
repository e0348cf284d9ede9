/** Conditional requests. */

import { N, TEXT } from "./case";
import type { Case, Rule } from "./case";

const conditional = (name: string, headers: Record<string, string>, status: 200 | 206 | 304 | 412): Case => ({
  name,
  key: TEXT,
  headers,
  expect:
    status === 412
      ? { status, code: "precondition_failed", headers: { "Content-Range": null } }
      : { status, body: status === 304 ? "nothing" : status === 206 ? [0, 0] : "whole" },
});

export const CONDITIONS: readonly Rule[] = [
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
];
