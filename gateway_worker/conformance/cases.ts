/** The whole table. */

import { BODIES } from "./cases/bodies";
import type { Rule } from "./cases/case";
import { CONDITIONS } from "./cases/conditions";
import { FIELDS } from "./cases/fields";
import { FILE_RULES } from "./cases/files";
import { RANGES } from "./cases/ranges";
import { TARGETS } from "./cases/targets";
import { TOKENS } from "./cases/tokens";

export type { Case, Span } from "./cases/case";

/** Whole bodies come last, so that on the first pass the ranges meet an empty cache. */
export const RULES: readonly Rule[] = [
  ...FILE_RULES,
  ...RANGES,
  ...CONDITIONS,
  ...FIELDS,
  ...TARGETS,
  ...TOKENS,
  ...BODIES,
];
