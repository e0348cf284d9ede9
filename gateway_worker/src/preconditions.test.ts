import { describe, expect, test } from "vitest";

import { parseHttpDate } from "./http_date";
import { evaluatePreconditions, ifRangeHolds } from "./preconditions";

const DATE = "Sun, 06 Nov 1994 08:49:37 GMT";
const BEFORE = "Sun, 06 Nov 1994 08:49:36 GMT";
const AFTER = "Sun, 06 Nov 1994 08:49:38 GMT";
const current = { etag: '"abc"', lastModifiedMs: Date.UTC(1994, 10, 6, 8, 49, 37) };
const evaluate = (headers: Record<string, string>) => evaluatePreconditions(new Headers(headers), current);

describe("evaluatePreconditions", () => {
  test.each([
    ["nothing", {}, "proceed"],
    ["If-Match holds", { "If-Match": '"x", "abc"' }, "proceed"],
    ["If-Match star", { "If-Match": "*" }, "proceed"],
    ["If-Match fails", { "If-Match": '"x"' }, "precondition_failed"],
    ["If-Match compares strongly", { "If-Match": 'W/"abc"' }, "precondition_failed"],
    ["If-Match without quotes matches nothing", { "If-Match": "abc" }, "precondition_failed"],
    ["If-None-Match holds", { "If-None-Match": '"x"' }, "proceed"],
    ["If-None-Match matches", { "If-None-Match": '"x","abc"' }, "not_modified"],
    ["If-None-Match compares weakly", { "If-None-Match": 'W/"abc"' }, "not_modified"],
    ["If-None-Match star", { "If-None-Match": "*" }, "not_modified"],
    ["a comma within a tag is no separator", { "If-None-Match": '"x,abc"' }, "proceed"],
    ["If-Unmodified-Since same second", { "If-Unmodified-Since": DATE }, "proceed"],
    ["If-Unmodified-Since earlier", { "If-Unmodified-Since": BEFORE }, "precondition_failed"],
    ["If-Unmodified-Since no date", { "If-Unmodified-Since": "yesterday" }, "proceed"],
    ["If-Modified-Since same second", { "If-Modified-Since": DATE }, "not_modified"],
    ["If-Modified-Since later", { "If-Modified-Since": AFTER }, "not_modified"],
    ["If-Modified-Since earlier", { "If-Modified-Since": BEFORE }, "proceed"],
    ["If-Modified-Since no date", { "If-Modified-Since": "0" }, "proceed"],
    ["If-Match overrides If-Unmodified-Since", { "If-Match": '"abc"', "If-Unmodified-Since": BEFORE }, "proceed"],
    ["If-None-Match overrides If-Modified-Since", { "If-None-Match": '"x"', "If-Modified-Since": DATE }, "proceed"],
    ["412 goes before 304", { "If-Match": '"x"', "If-None-Match": '"abc"' }, "precondition_failed"],
  ])("%s", (_name, headers, outcome) => {
    expect(evaluate(headers as Record<string, string>)).toBe(outcome);
  });
});

describe("ifRangeHolds", () => {
  test.each([
    [null, true],
    ['"abc"', true],
    ['"abd"', false],
    ['W/"abc"', false],
    [DATE, true],
    [BEFORE, false],
    [AFTER, false],
    ["abc", false],
    ["", false],
  ])("%s: %s", (field, holds) => {
    expect(ifRangeHolds(field, current)).toBe(holds);
  });
});

describe("parseHttpDate", () => {
  test.each([DATE, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"])("reads %s", (text) => {
    expect(parseHttpDate(text, Date.UTC(2026, 0, 1))).toBe(current.lastModifiedMs);
  });

  test.each(["", "1994-11-06T08:49:37Z", "Sun, 31 Feb 1994 08:49:37 GMT", "Sun, 06 Nov 1994 25:49:37 GMT"])(
    "refuses %s",
    (text) => {
      expect(parseHttpDate(text)).toBeNull();
    },
  );
});
