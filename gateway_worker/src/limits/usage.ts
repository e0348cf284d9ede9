/** What users and tokens have used: counters in fixed windows. Pure. */

export const MINUTE_MS = 60_000;
export const DAY_MS = 24 * 60 * MINUTE_MS;

/** A count that begins anew with each window (a minute, or a day in UTC). */
export interface WindowCount {
  /** Number of the window since the epoch. */
  readonly window: number;
  readonly count: number;
}

export interface TokenUsage {
  readonly requests: WindowCount;
  /** Bytes in all. */
  readonly bytes: number;
  /** Seconds since the epoch; what an expired token has used matters no more. */
  readonly expiresAt: number;
}

export interface UserUsage {
  /** Requests by the minute. */
  readonly requests: WindowCount;
  /** Bytes by the day. */
  readonly bytes: WindowCount;
}

/** What one isolate has seen of a token since it last reported. Negative bytes are promised ones that were not sent. */
export interface UsageDelta {
  readonly jti: string;
  readonly expiresAt: number;
  readonly requests: number;
  readonly bytes: number;
}

export const NO_COUNT: WindowCount = { window: 0, count: 0 };

/** The count in the window that `nowMs` falls into. */
export function countAt(counted: WindowCount, windowMs: number, nowMs: number): number {
  return counted.window === Math.floor(nowMs / windowMs) ? counted.count : 0;
}

/** Adds to a count; one of a past window is forgotten, and none falls below zero. */
export function addCount(counted: WindowCount, amount: number, windowMs: number, nowMs: number): WindowCount {
  const window = Math.floor(nowMs / windowMs);
  return { window, count: Math.max(0, countAt(counted, windowMs, nowMs) + amount) };
}

/** Whole seconds until the next window begins, at least 1: what Retry-After says. */
export function secondsLeft(windowMs: number, nowMs: number): number {
  return Math.max(1, Math.ceil((windowMs - (nowMs % windowMs)) / 1000));
}

/** A user's usage with a delta of one of the user's tokens added. */
export function addToUser(user: UserUsage, delta: UsageDelta, nowMs: number): UserUsage {
  return {
    requests: addCount(user.requests, delta.requests, MINUTE_MS, nowMs),
    bytes: addCount(user.bytes, delta.bytes, DAY_MS, nowMs),
  };
}

/** A token's usage with a delta added. */
export function addToToken(token: TokenUsage | undefined, delta: UsageDelta, nowMs: number): TokenUsage {
  return {
    requests: addCount(token?.requests ?? NO_COUNT, delta.requests, MINUTE_MS, nowMs),
    bytes: Math.max(0, (token?.bytes ?? 0) + delta.bytes),
    expiresAt: delta.expiresAt,
  };
}
