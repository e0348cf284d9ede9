/** Which form of a file a request gets: its bytes, or its zstd frames as they are stored (RFC 9110 section 12.5.3). Pure. */

/** Weights from 0 (not acceptable) to 1. `identity` is null where the client does not say. */
export interface Acceptance {
  readonly zstd: number;
  readonly identity: number | null;
}

export type Coding = "zstd" | "identity";

const WEIGHT = /^q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)$/i;

/**
 * The client's own Accept-Encoding: Cloudflare and `wrangler dev` replace the field before the Worker sees it, and keep
 * what it was in `cf.clientAcceptEncoding`.
 */
export function acceptEncodingOf(request: Request): string | null {
  const kept = (request.cf as { clientAcceptEncoding?: unknown } | undefined)?.clientAcceptEncoding;
  return typeof kept === "string" ? kept : request.headers.get("Accept-Encoding");
}

/**
 * Reads the field. Without one any coding is acceptable by the RFC, but then no client expects one: zstd is sent only to
 * who asks for it. An element that is malformed is left out.
 */
export function parseAcceptEncoding(field: string | null): Acceptance {
  const weights = new Map<string, number>();
  for (const element of (field ?? "").split(",")) {
    const [coding = "", ...parameters] = element.split(";").map((part) => part.trim());
    if (coding === "") continue;
    const weight = weightOf(parameters);
    if (weight !== null) weights.set(coding.toLowerCase(), weight);
  }
  const others = weights.get("*");
  const identity = weights.get("identity");
  return {
    zstd: weights.get("zstd") ?? others ?? 0,
    // `*;q=0` rules identity out where it is not named; another weight of `*` says nothing about it.
    identity: identity ?? (others === 0 ? 0 : null),
  };
}

function weightOf(parameters: readonly string[]): number | null {
  const [parameter, ...more] = parameters;
  if (parameter === undefined) return 1;
  const weight = WEIGHT.exec(parameter)?.[1];
  return weight === undefined || more.length > 0 ? null : Number(weight);
}

export interface Choices {
  readonly accepted: Acceptance;
  /** Whether the file is stored in whole frames. */
  readonly hasFrames: boolean;
  /** Whether the request is for a range of the file's own bytes: then nothing else is of use. */
  readonly wantsRange: boolean;
  /** Whether the file as a whole, or HEAD's answer about it, may be decoded. */
  readonly mayDecode: boolean;
}

/** The form that suits best; null: none that is acceptable. */
export function chooseCoding({ accepted, hasFrames, wantsRange, mayDecode }: Choices): Coding | null {
  const zstd = hasFrames && accepted.zstd > 0;
  const identity = accepted.identity !== 0;
  if (wantsRange && identity) return "identity";
  const prefersIdentity = accepted.identity !== null && accepted.identity > accepted.zstd;
  if (zstd && !(prefersIdentity && identity && mayDecode)) return "zstd";
  return identity && mayDecode ? "identity" : null;
}
