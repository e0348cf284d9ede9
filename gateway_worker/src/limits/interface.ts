/** What the limiter needs from the objects that hold its state. The objects' classes are in the files beside. */

import type { TokenUsage, UsageDelta, UserUsage } from "./usage";

/** What a revocation can name. */
export const DENIED_KINDS = ["jti", "sub", "kid"] as const;
export type DeniedKind = (typeof DENIED_KINDS)[number];

/** The token that a report asks about. */
export interface TokenIdentity {
  readonly jti: string;
  readonly sub: string;
  readonly kid: string;
  /** Seconds since the epoch. */
  readonly expiresAt: number;
}

/** What a user and one of the user's tokens have used in all, and whether the token is revoked. */
export interface Standing {
  /** Grows with each answer of one object: answers may overtake each other. */
  readonly sequence: number;
  readonly user: UserUsage;
  readonly token: TokenUsage;
  /** What of the token is denied. */
  readonly denied: DeniedKind | null;
}

/** The books of all users. */
export interface Ledgers {
  /** Adds deltas of one user's tokens and gives the standing of the token that is asked about. */
  report(asked: TokenIdentity, deltas: readonly UsageDelta[]): Promise<Standing>;
}

export interface Denial {
  readonly kind: DeniedKind;
  readonly value: string;
  /** ms since the epoch. */
  readonly since: number;
  /** When it may be forgotten, ms since the epoch: no token that it names can hold any longer. Null: never. */
  readonly until: number | null;
}

/** The list of what is revoked. */
export interface Denylist {
  put(kind: DeniedKind, value: string, until: number | null): Promise<void>;
  remove(kind: DeniedKind, value: string): Promise<void>;
  find(kind: DeniedKind, value: string): Promise<Denial | null>;
}
