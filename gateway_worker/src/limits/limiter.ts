/**
 * Limits and revocation as one isolate sees them. It asks a user's ledger about a token, goes by the answer for a lease
 * of a few seconds, and reports what was used meanwhile with the next question: a client that was just seen costs no call.
 *
 * Isolates do not see each other within a lease. So a limit is exact where one isolate serves a user, and elsewhere
 * exceeded by no more than what the others hand out in one lease.
 */

import { Problem } from "../problem";
import type { Grant } from "../token";
import type { DeniedKind, Ledgers } from "./interface";
import { addToToken, countAt, DAY_MS, MINUTE_MS, NO_COUNT, secondsLeft } from "./usage";
import type { TokenUsage, UsageDelta, UserUsage } from "./usage";

/** 0: no limit. */
export interface LimiterRules {
  readonly userRequestsPerMinute: number;
  readonly tokenRequestsPerMinute: number;
  readonly userBytesPerDay: number;
  /** What to do while the ledgers cannot be reached. */
  readonly onFailure: "open" | "closed";
}

export interface LimiterEffects {
  sleep(ms: number): Promise<void>;
  report(message: string): void;
}

/** How long an answer of the ledger counts. With what the ledger itself remembers, a revocation stays below 10 s. */
export const LEASE_MS = 2000;

/** While one request renews a lease that ran out, the others go by the old one for this long. */
const RENEWAL_GRACE_MS = 1000;

/** What was used is reported after this long at the latest, also when no further request comes. */
export const FLUSH_MS = 2000;

/** A ledger that takes longer counts as failed. */
const REPORT_TIMEOUT_MS = 3000;

/** Users whose state one isolate keeps; the one that was seen longest ago goes first. */
const MAX_USERS = 2000;
/** Tokens of one user, likewise. */
const MAX_TOKENS_PER_USER = 100;

/** Seconds after which a refused client may try again while the ledgers cannot be reached. */
const UNAVAILABLE_RETRY_S = 3;

interface Use {
  requests: number;
  bytes: number;
}

interface TokenState {
  readonly grant: Grant;
  sequence: number;
  /** As of the last answer. */
  usage: TokenUsage;
  denied: DeniedKind | null;
  leaseEndsAt: number;
  /** Not reported yet. */
  pending: Use;
  /** Not contained in `usage` yet: pending, or on its way. */
  readonly unsettled: Use;
}

interface UserState {
  sequence: number;
  usage: UserUsage;
  readonly unsettled: Use;
  readonly tokens: Map<string, TokenState>;
  flushAt: number;
}

/** One admitted request. */
export interface Admission {
  /**
   * Sets aside the bytes that the body will have; a second call replaces the first.
   *
   * @throws Problem `quota_exceeded`
   */
  charge(bytes: number, nowMs: number): void;
  /** Corrects the charge to what was sent, and resolves when it is reported. */
  settle(bytesSent: number, nowMs: number): Promise<void>;
}

export class Limiter {
  readonly #rules: LimiterRules;
  readonly #ledgers: Ledgers;
  readonly #users = new Map<string, UserState>();

  constructor(rules: LimiterRules, ledgers: Ledgers) {
    this.#rules = rules;
    this.#ledgers = ledgers;
  }

  /** @throws Problem `token_revoked`, `rate_limited`, or `limiter_unavailable` where failure means closed */
  async admit(grant: Grant, nowMs: number, effects: LimiterEffects): Promise<Admission> {
    const user = touched(this.#users, grant.sub, MAX_USERS, newUser);
    const token = touched(user.tokens, `${grant.kid} ${grant.jti}`, MAX_TOKENS_PER_USER, () => newToken(grant));
    if (nowMs >= token.leaseEndsAt) await this.#renew(user, token, nowMs, effects);

    if (token.denied !== null) throw new Problem("token_revoked", "The token was revoked: ask the issuer for access.");
    const { userRequestsPerMinute, tokenRequestsPerMinute } = this.#rules;
    const ofUser = countAt(user.usage.requests, MINUTE_MS, nowMs) + user.unsettled.requests;
    const ofToken = countAt(token.usage.requests, MINUTE_MS, nowMs) + token.unsettled.requests;
    if (exceeds(ofUser + 1, userRequestsPerMinute) || exceeds(ofToken + 1, tokenRequestsPerMinute)) {
      throw new Problem("rate_limited", "There were too many requests within this minute.", {
        "Retry-After": String(secondsLeft(MINUTE_MS, nowMs)),
      });
    }
    use(user, token, { requests: 1, bytes: 0 });

    let charged = 0;
    return {
      charge: (bytes, atMs) => {
        this.#checkQuota(user, token, bytes - charged, atMs);
        use(user, token, { requests: 0, bytes: bytes - charged });
        charged = bytes;
      },
      settle: async (bytesSent, atMs) => {
        use(user, token, { requests: 0, bytes: bytesSent - charged });
        charged = bytesSent;
        await this.#flush(user, token, atMs, effects);
      },
    };
  }

  /** Lets every lease end, so that the next request of each token asks anew. */
  endLeases(): void {
    for (const user of this.#users.values()) {
      for (const token of user.tokens.values()) token.leaseEndsAt = -RENEWAL_GRACE_MS;
    }
  }

  #checkQuota(user: UserState, token: TokenState, bytes: number, nowMs: number): void {
    if (bytes <= 0) return;
    const ofDay = countAt(user.usage.bytes, DAY_MS, nowMs) + user.unsettled.bytes + bytes;
    if (exceeds(ofDay, this.#rules.userBytesPerDay)) {
      throw new Problem("quota_exceeded", "The user's bytes of this day (UTC) do not suffice for this answer.", {
        "Retry-After": String(secondsLeft(DAY_MS, nowMs)),
      });
    }
    const { maxBytes, expiresAt } = token.grant;
    if (maxBytes !== null && token.usage.bytes + token.unsettled.bytes + bytes > maxBytes) {
      // This token's bytes never come back: the client needs another one, at the latest when it expires.
      throw new Problem(
        "quota_exceeded",
        "The bytes that the token allows do not suffice: ask the issuer for another.",
        {
          "Retry-After": String(Math.max(1, expiresAt - Math.floor(nowMs / 1000))),
        },
      );
    }
  }

  async #renew(user: UserState, token: TokenState, nowMs: number, effects: LimiterEffects): Promise<void> {
    const isKnown = nowMs < token.leaseEndsAt + RENEWAL_GRACE_MS;
    // Others that come meanwhile go by what is known: the sixteen ranges of one client need one question, not sixteen.
    if (isKnown) token.leaseEndsAt = nowMs + RENEWAL_GRACE_MS;
    try {
      await this.#report(user, token, nowMs, effects);
    } catch (error) {
      effects.report(`limiter: ${error instanceof Error ? error.message : String(error)}`);
      if (this.#rules.onFailure === "closed") {
        token.leaseEndsAt = -RENEWAL_GRACE_MS;
        throw new Problem("limiter_unavailable", "Limits cannot be checked at the moment; try again.", {
          "Retry-After": String(UNAVAILABLE_RETRY_S),
        });
      }
      // Not each request shall wait for a ledger that is down.
      token.leaseEndsAt = nowMs + LEASE_MS;
    }
  }

  /** Reports all that is pending of a user, and asks about one token. Rejects when the ledger fails. */
  async #report(user: UserState, asked: TokenState, nowMs: number, effects: LimiterEffects): Promise<void> {
    const taken = [...user.tokens.values()]
      .filter(({ pending }) => pending.requests !== 0 || pending.bytes !== 0)
      .map((token) => {
        const { pending } = token;
        token.pending = { requests: 0, bytes: 0 };
        return { token, pending };
      });
    const deltas = taken.map(({ token, pending }) => deltaOf(token.grant, pending));
    try {
      const { jti, sub, kid, expiresAt } = asked.grant;
      const standing = await withTimeout(this.#ledgers.report({ jti, sub, kid, expiresAt }, deltas), effects.sleep);
      for (const { token, pending } of taken) {
        settleUse(user.unsettled, pending);
        settleUse(token.unsettled, pending);
        // Known now as well, where the answer is about another token.
        if (token !== asked) token.usage = addToToken(token.usage, deltaOf(token.grant, pending), nowMs);
      }
      // Answers may overtake each other: an older one knows less.
      if (standing.sequence > user.sequence) {
        user.sequence = standing.sequence;
        user.usage = standing.user;
      }
      if (standing.sequence > asked.sequence) {
        asked.sequence = standing.sequence;
        asked.usage = standing.token;
        asked.denied = standing.denied;
      }
      asked.leaseEndsAt = nowMs + LEASE_MS;
    } catch (error) {
      for (const { token, pending } of taken) {
        token.pending.requests += pending.requests;
        token.pending.bytes += pending.bytes;
      }
      throw error;
    }
  }

  /** Reports after a while what no further request has reported. One waiting request does it for all of a user. */
  async #flush(user: UserState, token: TokenState, nowMs: number, effects: LimiterEffects): Promise<void> {
    // A waiting request may be cancelled by the platform: when its time is over, another one takes its place.
    if (nowMs < user.flushAt + FLUSH_MS) return;
    user.flushAt = nowMs + FLUSH_MS;
    await effects.sleep(FLUSH_MS);
    const isPending = [...user.tokens.values()].some(({ pending }) => pending.requests !== 0 || pending.bytes !== 0);
    user.flushAt = -FLUSH_MS;
    if (!isPending) return;
    try {
      await this.#report(user, token, nowMs + FLUSH_MS, effects);
    } catch (error) {
      effects.report(`limiter: ${error instanceof Error ? error.message : String(error)}; it is reported later`);
    }
  }
}

const exceeds = (count: number, limit: number) => limit !== 0 && count > limit;

function newUser(): UserState {
  return {
    sequence: 0,
    usage: { requests: NO_COUNT, bytes: NO_COUNT },
    unsettled: { requests: 0, bytes: 0 },
    tokens: new Map(),
    flushAt: -FLUSH_MS,
  };
}

function newToken(grant: Grant): TokenState {
  return {
    grant,
    sequence: 0,
    usage: { requests: NO_COUNT, bytes: 0, expiresAt: grant.expiresAt },
    denied: null,
    leaseEndsAt: -RENEWAL_GRACE_MS,
    pending: { requests: 0, bytes: 0 },
    unsettled: { requests: 0, bytes: 0 },
  };
}

function deltaOf({ jti, expiresAt }: Grant, { requests, bytes }: Use): UsageDelta {
  return { jti, expiresAt, requests, bytes };
}

function use(user: UserState, token: TokenState, { requests, bytes }: Use): void {
  for (const counted of [user.unsettled, token.unsettled, token.pending]) {
    counted.requests += requests;
    counted.bytes += bytes;
  }
}

function settleUse(unsettled: Use, reported: Use): void {
  unsettled.requests -= reported.requests;
  unsettled.bytes -= reported.bytes;
}

/** Gets or makes an entry and puts it last; a Map iterates in the order of insertion, so the first is the least used. */
function touched<V>(map: Map<string, V>, key: string, limit: number, make: () => V): V {
  const value = map.get(key) ?? make();
  map.delete(key);
  map.set(key, value);
  if (map.size > limit) {
    for (const oldest of map.keys()) {
      map.delete(oldest);
      break;
    }
  }
  return value;
}

async function withTimeout<T>(work: Promise<T>, sleep: LimiterEffects["sleep"]): Promise<T> {
  const timeout = sleep(REPORT_TIMEOUT_MS).then(() => {
    throw new Error(`the ledger did not answer within ${REPORT_TIMEOUT_MS} ms`);
  });
  timeout.catch(() => undefined);
  work.catch(() => undefined);
  return Promise.race([work, timeout]);
}
