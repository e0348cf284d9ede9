/** Conditional requests, RFC 9110 section 13. Pure. */

import { parseHttpDate } from "./http_date";

/** What a representation is compared by. */
export interface Validators {
  /** Strong entity tag, with its quotes. */
  readonly etag: string;
  /** Time of the last change, ms since the epoch, whole seconds (HTTP dates know no more). */
  readonly lastModifiedMs: number;
}

export type PreconditionOutcome = "proceed" | "not_modified" | "precondition_failed";

const ENTITY_TAG = /(W\/)?("[\u0021\u0023-\u007e\u0080-\u00ff]*")/g;

/** Evaluates the four preconditions for GET or HEAD on an object that exists, in the order of section 13.2.2. */
export function evaluatePreconditions(headers: Headers, current: Validators): PreconditionOutcome {
  const ifMatch = headers.get("If-Match");
  const ifUnmodifiedSince = parseHttpDate(headers.get("If-Unmodified-Since"));
  if (ifMatch !== null) {
    if (!listHolds(ifMatch, current.etag, "strong")) return "precondition_failed";
  } else if (ifUnmodifiedSince !== null && current.lastModifiedMs > ifUnmodifiedSince) {
    return "precondition_failed";
  }

  const ifNoneMatch = headers.get("If-None-Match");
  const ifModifiedSince = parseHttpDate(headers.get("If-Modified-Since"));
  if (ifNoneMatch !== null) {
    if (listHolds(ifNoneMatch, current.etag, "weak")) return "not_modified";
  } else if (ifModifiedSince !== null && current.lastModifiedMs <= ifModifiedSince) {
    return "not_modified";
  }
  return "proceed";
}

/**
 * Says whether a Range field counts, given If-Range (section 13.1.5): only an exact match of a strong entity tag or of
 * the Last-Modified date does. A release's objects are written once, so that their date is a strong validator.
 */
export function ifRangeHolds(field: string | null, current: Validators): boolean {
  if (field === null) return true;
  const value = field.trim();
  if (value.startsWith('"')) return value === current.etag;
  if (value.startsWith("W/")) return false;
  return parseHttpDate(value) === current.lastModifiedMs;
}

/** Whether a list of entity tags, or `*`, names the current one (section 8.8.3.2). The current one is strong. */
function listHolds(list: string, current: string, comparison: "strong" | "weak"): boolean {
  if (list.trim() === "*") return true;
  return [...list.matchAll(ENTITY_TAG)].some(
    ([, weak, tag]) => tag === current && (comparison === "weak" || weak === undefined),
  );
}
