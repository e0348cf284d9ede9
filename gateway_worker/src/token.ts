/** Download tokens: JWS compact, `typ: dl+jwt` (design, section 5; RFC 7519, RFC 8725). */

import { decodeProtectedHeader, errors, jwtVerify } from "jose";
import type { JWTPayload } from "jose";

import { blockHolds, parseAddress, parseBlock } from "./address";
import type { Block } from "./address";
import type { Keyring } from "./keyring";
import { Problem } from "./problem";
import { remember } from "./remember";

/** What a verified token grants. */
export interface Grant {
  readonly kid: string;
  readonly jti: string;
  readonly sub: string;
  /** Project that pays, where the issuer named one. */
  readonly project: string | null;
  /** Key prefixes that end in `/`, and exact keys. */
  readonly scopes: readonly string[];
  /** Addresses that the token is bound to, where it is. */
  readonly boundTo: Block | null;
  /** Bytes that may be fetched in all, where that is limited. */
  readonly maxBytes: number | null;
  /** Seconds since the epoch. */
  readonly expiresAt: number;
}

export interface TokenRules {
  readonly issuer: string;
  readonly audience: string;
  /** Longest `exp - iat` that is accepted, in seconds. */
  readonly maxLifetimeSeconds: number;
}

/** Clocks of issuer and gateway may differ by this many seconds. */
export const LEEWAY_SECONDS = 10;

/** Header `typ` of a download token, so that no other JWT of the same issuer passes (RFC 8725 section 3.11). */
export const TOKEN_TYPE = "dl+jwt";

/** No token of ours comes near this length, in characters; longer ones are refused before any work is done. */
const MAX_TOKEN_LENGTH = 8192;

/** Ids and names longer than this, in characters, are refused: they are keys of the limiter's storage. */
const MAX_NAME_LENGTH = 256;

/** Verified tokens that one isolate remembers, at up to a few kB each. */
const MAX_REMEMBERED_TOKENS = 1000;

/** An expired token whose signature holds: who it was is worth a log line. */
export class ExpiredToken extends Problem {
  readonly grant: Grant | null;

  constructor(grant: Grant | null) {
    super("token_expired", "The token has expired: ask the issuer for a new one and resume.");
    this.grant = grant;
  }
}

/**
 * Verifies tokens and remembers the ones that held until they expire: sixteen parallel ranges of one client carry the
 * same token, and the signature is the dearest step of a small request.
 */
export class TokenVerifier {
  readonly #keyring: Keyring;
  readonly #rules: TokenRules;
  readonly #remembered = new Map<string, Grant>();

  constructor(keyring: Keyring, rules: TokenRules) {
    this.#keyring = keyring;
    this.#rules = rules;
  }

  /**
   * @param nowMs ms since the epoch
   * @throws Problem `token_invalid` or `token_expired`
   */
  async verify(token: string, nowMs: number): Promise<Grant> {
    const remembered = this.#remembered.get(token);
    if (remembered !== undefined) {
      if (nowMs < (remembered.expiresAt + LEEWAY_SECONDS) * 1000) return remembered;
      this.#remembered.delete(token);
    }
    const grant = await verifyToken(token, this.#keyring, this.#rules, nowMs);
    remember(this.#remembered, token, grant, MAX_REMEMBERED_TOKENS);
    return grant;
  }
}

/** @throws Problem `token_invalid` or `token_expired`, see `TokenVerifier.verify` */
export async function verifyToken(token: string, keyring: Keyring, rules: TokenRules, nowMs: number): Promise<Grant> {
  if (token.length > MAX_TOKEN_LENGTH) throw invalid("it is too long");
  const kid = keyIdOf(token);
  const entry = keyring.get(kid);
  if (entry === undefined) throw invalid("its kid is not known here");

  let payload: JWTPayload;
  try {
    ({ payload } = await jwtVerify(token, entry.key, {
      algorithms: [entry.algorithm],
      typ: TOKEN_TYPE,
      issuer: rules.issuer,
      audience: rules.audience,
      requiredClaims: ["iss", "aud", "sub", "jti", "iat", "exp", "scp"],
      clockTolerance: LEEWAY_SECONDS,
      currentDate: new Date(nowMs),
    }));
  } catch (error) {
    if (error instanceof errors.JWTExpired) throw new ExpiredToken(grantOrNull(kid, error.payload));
    if (error instanceof errors.JWTClaimValidationFailed) throw invalid(`its claim ${error.claim} does not hold`);
    throw invalid("its form or its signature does not hold");
  }

  const grant = grantFrom(kid, payload);
  const issuedAt = payload.iat as number;
  if (issuedAt > nowMs / 1000 + LEEWAY_SECONDS) throw invalid("it is issued in the future");
  if (grant.expiresAt - issuedAt > rules.maxLifetimeSeconds) throw invalid("its lifetime is too long");
  return grant;
}

/** Whether a decoded, checked key lies in what a grant covers. */
export function scopeAllows(scopes: readonly string[], key: string): boolean {
  return scopes.some((scope) => (scope.endsWith("/") ? key.startsWith(scope) : key === scope));
}

/** Whether a client at `clientAddress` may use a grant. An unknown address never may use a bound one. */
export function addressAllowed(boundTo: Block | null, clientAddress: string | null): boolean {
  if (boundTo === null) return true;
  const address = clientAddress === null ? null : parseAddress(clientAddress);
  return address !== null && blockHolds(boundTo, address);
}

function keyIdOf(token: string): string {
  try {
    const { kid } = decodeProtectedHeader(token);
    if (typeof kid === "string") return kid;
  } catch {
    // Not a JWS at all: the same answer as one without a kid.
  }
  throw invalid("it is no signed token with a kid");
}

function grantFrom(kid: string, payload: JWTPayload): Grant {
  const { jti, sub, scp, prj, ip, max, exp } = payload;
  if (typeof jti !== "string" || jti === "" || typeof sub !== "string" || sub === "" || typeof exp !== "number") {
    throw invalid("jti and sub must be strings that are not empty");
  }
  if (jti.length > MAX_NAME_LENGTH || sub.length > MAX_NAME_LENGTH) throw invalid("jti or sub is too long");
  if (!Array.isArray(scp) || !scp.every((scope): scope is string => typeof scope === "string" && scope !== "")) {
    throw invalid("scp must be a list of key prefixes and keys");
  }
  if (prj !== undefined && typeof prj !== "string") throw invalid("prj must be a string");
  const boundTo = ip === undefined ? null : parseBlock(String(ip));
  if (ip !== undefined && boundTo === null) throw invalid("ip must be an address or a CIDR block");
  if (max !== undefined && !(typeof max === "number" && Number.isSafeInteger(max) && max >= 0)) {
    throw invalid("max must be a whole number of bytes");
  }
  return { kid, jti, sub, project: prj ?? null, scopes: scp, boundTo, maxBytes: max ?? null, expiresAt: exp };
}

function grantOrNull(kid: string, payload: JWTPayload): Grant | null {
  try {
    return grantFrom(kid, payload);
  } catch {
    return null;
  }
}

function invalid(why: string): Problem {
  return new Problem("token_invalid", `The token is not valid: ${why}.`);
}
