/** Byte ranges, RFC 9110 section 14. Pure: a header and a size in, a decision out. */

/** A part of an object: offset of its first byte, and its length in bytes (never 0). */
export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

export type RangeDecision =
  | { readonly kind: "whole" }
  | { readonly kind: "unsatisfiable" }
  /** One range answers by a plain 206, several by multipart/byteranges. */
  | { readonly kind: "ranges"; readonly ranges: readonly [ByteRange, ...ByteRange[]] };

/** More ranges than this, after coalescing, answer as the whole object (RFC 9110 section 17.15: denial of service). */
export const MAX_RANGES = 16;

/** Ranges closer than this many bytes are joined: a part's own header fields would cost more (RFC 9110 section 15.3.7.2). */
export const COALESCE_GAP_BYTES = 128;

const WHOLE: RangeDecision = { kind: "whole" };
const UNIT_AND_SET = /^bytes=(.*)$/i; // Unit names are case-insensitive (RFC 9110 section 14.1).
const INT_RANGE = /^(\d+)-(\d*)$/;
const SUFFIX_RANGE = /^-(\d+)$/;

/**
 * Decides which part of an object of `size` bytes a Range field asks for.
 *
 * A field with an unknown unit or a syntax error is ignored as a whole, as RFC 9110 section 14.2 allows; positions of
 * any number of digits are understood.
 */
export function decideRange(field: string | null, size: number): RangeDecision {
  const set = field === null ? undefined : UNIT_AND_SET.exec(field.trim())?.[1];
  if (set === undefined) return WHOLE;

  // Empty list elements are to be ignored (RFC 9110 section 5.6.1.2).
  const specs = set
    .split(",")
    .map((spec) => spec.trim())
    .filter((spec) => spec !== "");
  if (specs.length === 0) return WHOLE;

  const satisfiable: ByteRange[] = [];
  for (const spec of specs) {
    const range = resolveSpec(spec, size);
    if (range === "malformed") return WHOLE;
    if (range === "empty") return WHOLE;
    if (range !== "unsatisfiable") satisfiable.push(range);
  }
  const [first, ...others] = coalesce(satisfiable);
  if (first === undefined) return { kind: "unsatisfiable" };
  if (others.length >= MAX_RANGES) return WHOLE;
  return { kind: "ranges", ranges: [first, ...others] };
}

/** Value of Content-Range for a part that is sent (RFC 9110 section 14.4). */
export function contentRange(range: ByteRange, size: number): string {
  return `bytes ${range.offset}-${range.offset + range.length - 1}/${size}`;
}

function resolveSpec(spec: string, size: number): ByteRange | "malformed" | "unsatisfiable" | "empty" {
  const suffix = SUFFIX_RANGE.exec(spec);
  if (suffix !== null) {
    const asked = Number(suffix[1]);
    if (asked === 0) return "unsatisfiable";
    // A suffix of an empty object is satisfiable by section 14.1.2, but no Content-Range can name zero bytes.
    if (size === 0) return "empty";
    const length = Math.min(asked, size);
    return { offset: size - length, length };
  }
  const int = INT_RANGE.exec(spec);
  if (int === null) return "malformed";
  const first = Number(int[1]);
  const last = int[2] === "" ? Infinity : Number(int[2]);
  // Beyond 2^53 two numbers that differ may be one and the same to JavaScript: such positions are compared exactly.
  if (int[2] !== "" && BigInt(int[2] ?? 0) < BigInt(int[1] ?? 0)) return "malformed";
  if (first >= size) return "unsatisfiable";
  return { offset: first, length: Math.min(last, size - 1) - first + 1 };
}

/** Joins what overlaps or nearly touches; what is left keeps the order of the request (RFC 9110 section 15.3.7.2). */
function coalesce(ranges: readonly ByteRange[]): ByteRange[] {
  const byOffset = ranges.map((range, position) => ({ ...range, position })).sort((a, b) => a.offset - b.offset);
  const joined: { offset: number; length: number; position: number }[] = [];
  for (const range of byOffset) {
    const last = joined.at(-1);
    if (last !== undefined && range.offset <= last.offset + last.length + COALESCE_GAP_BYTES) {
      last.length = Math.max(last.length, range.offset + range.length - last.offset);
      last.position = Math.min(last.position, range.position);
    } else {
      joined.push(range);
    }
  }
  return joined.sort((a, b) => a.position - b.position).map(({ offset, length }) => ({ offset, length }));
}
