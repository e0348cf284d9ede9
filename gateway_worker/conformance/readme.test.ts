/** The README traces every rule of the table to its source: this holds it to the table. */

import { readFileSync } from "node:fs";
import { join } from "node:path";

import { expect, test } from "vitest";

import { RULES } from "./cases";

const readme = readFileSync(join(import.meta.dirname, "../README.md"), "utf8");
const rows = readme.split("\n").map((line) => line.split("|").map((cell) => cell.trim()));

test.each(RULES.map(({ rule, source }) => [rule, source] as const))("%s (%s) is in the README", (rule, source) => {
  expect(rows.find((cells) => cells[1] === rule)?.[2]).toBe(source);
});
