/** The limiter against books in memory: what is let through, what is asked, what is reported. */

import { beforeEach, describe, expect, test } from "vitest";

import type { Grant } from "../token";
import type { DeniedKind, Ledgers } from "./interface";
import { FLUSH_MS, LEASE_MS, Limiter } from "./limiter";
import type { LimiterEffects, LimiterRules } from "./limiter";
import { addToToken, addToUser, NO_COUNT } from "./usage";
import type { TokenUsage, UserUsage } from "./usage";

const grant = (claims: Partial<Grant> = {}): Grant => ({
  ...{ kid: "k", jti: "j", sub: "ann", project: null, scopes: [], boundTo: null, maxBytes: null, expiresAt: 300 },
  ...claims,
});

/** Books shared by all isolates of a test. */
class Books implements Ledgers {
  questions = 0;
  denied: DeniedKind | null = null;
  isDown = false;
  readonly users = new Map<string, UserUsage>();
  readonly tokens = new Map<string, TokenUsage>();

  constructor(readonly clock: { ms: number }) {}

  report: Ledgers["report"] = async (asked, deltas) => {
    this.questions += 1;
    if (this.isDown) throw new Error("ledger is down");
    let user = this.users.get(asked.sub) ?? { requests: NO_COUNT, bytes: NO_COUNT };
    for (const delta of deltas) {
      user = addToUser(user, delta, this.clock.ms);
      this.tokens.set(delta.jti, addToToken(this.tokens.get(delta.jti), delta, this.clock.ms));
    }
    this.users.set(asked.sub, user);
    const token = this.tokens.get(asked.jti) ?? { requests: NO_COUNT, bytes: 0, expiresAt: asked.expiresAt };
    return { sequence: this.questions, user, token, denied: this.denied };
  };
}

const RULES: LimiterRules = {
  userRequestsPerMinute: 0,
  tokenRequestsPerMinute: 0,
  userBytesPerDay: 0,
  onFailure: "open",
};

let clock: { ms: number };
let books: Books;
let reports: string[];
let effects: LimiterEffects;

beforeEach(() => {
  clock = { ms: 1_000_000 * 60_000 };
  books = new Books(clock);
  reports = [];
  effects = {
    // A timeout is never reached here; a flush is due as soon as the other work is done.
    sleep: (ms) => (ms === FLUSH_MS ? new Promise((done) => setTimeout(done)) : new Promise(() => undefined)),
    report: (message) => void reports.push(message),
  };
});

const limiterOf = (rules: Partial<LimiterRules>) => new Limiter({ ...RULES, ...rules }, books);
const admit = (limiter: Limiter, claims: Partial<Grant> = {}) => limiter.admit(grant(claims), clock.ms, effects);
const code = (name: string) => expect.objectContaining({ code: name });

/** A whole request of `bytes` bytes. */
async function request(limiter: Limiter, bytes: number, claims: Partial<Grant> = {}): Promise<void> {
  const admission = await admit(limiter, claims);
  admission.charge(bytes, clock.ms);
  await admission.settle(bytes, clock.ms);
}

describe("asking", () => {
  test("a client that was just seen costs no question", async () => {
    const limiter = limiterOf({});
    for (let i = 0; i < 100; i += 1) await admit(limiter);
    expect(books.questions).toBe(1);
  });

  test("when a lease runs out, one of many parallel requests asks", async () => {
    const limiter = limiterOf({});
    await admit(limiter);
    clock.ms += LEASE_MS;
    await Promise.all(Array.from({ length: 16 }, () => admit(limiter)));
    expect(books.questions).toBe(2);
  });

  test("what was used is reported without a further request", async () => {
    await request(limiterOf({}), 50);
    expect(books.tokens.get("j")).toMatchObject({ bytes: 50, requests: { count: 1 } });
  });
});

describe("revocation", () => {
  test("it counts when the lease is over, and at once where it was made", async () => {
    const limiter = limiterOf({});
    await admit(limiter);
    books.denied = "sub";
    await admit(limiter);
    limiter.endLeases();
    await expect(admit(limiter)).rejects.toEqual(code("token_revoked"));
    books.denied = null;
    clock.ms += LEASE_MS;
    await admit(limiter);
  });

  test("a token that is known to be revoked stays so while the ledger is down", async () => {
    const limiter = limiterOf({ onFailure: "open" });
    books.denied = "jti";
    await expect(admit(limiter)).rejects.toEqual(code("token_revoked"));
    books.isDown = true;
    clock.ms += LEASE_MS;
    await expect(admit(limiter)).rejects.toEqual(code("token_revoked"));
  });
});

describe("requests", () => {
  test("of a token, by the minute", async () => {
    const limiter = limiterOf({ tokenRequestsPerMinute: 3 });
    for (let i = 0; i < 3; i += 1) await admit(limiter);
    clock.ms += 1000;
    await expect(admit(limiter)).rejects.toMatchObject({ code: "rate_limited", headers: { "Retry-After": "59" } });
    await admit(limiter, { jti: "another" });
    clock.ms += 59_000;
    await admit(limiter);
  });

  test("of a user, over all tokens", async () => {
    const limiter = limiterOf({ userRequestsPerMinute: 3 });
    for (const jti of ["a", "b", "c"]) await admit(limiter, { jti });
    await expect(admit(limiter, { jti: "d" })).rejects.toEqual(code("rate_limited"));
    await admit(limiter, { jti: "a", sub: "bob" });
  });

  test("are seen by other isolates after a report", async () => {
    const [one, other] = [limiterOf({ tokenRequestsPerMinute: 3 }), limiterOf({ tokenRequestsPerMinute: 3 })];
    for (let i = 0; i < 3; i += 1) await request(one, 0);
    clock.ms += LEASE_MS;
    await expect(admit(other)).rejects.toEqual(code("rate_limited"));
  });
});

describe("bytes", () => {
  test("of a token in all; what is promised in parallel counts", async () => {
    const limiter = limiterOf({});
    const [first, second] = [await admit(limiter, { maxBytes: 100 }), await admit(limiter, { maxBytes: 100 })];
    first.charge(60, clock.ms);
    expect(() => second.charge(60, clock.ms)).toThrow(code("quota_exceeded"));
    second.charge(40, clock.ms);
    await first.settle(60, clock.ms);
    clock.ms += LEASE_MS;
    const third = await admit(limiter, { maxBytes: 100 });
    third.charge(0, clock.ms);
    expect(() => third.charge(1, clock.ms)).toThrow(code("quota_exceeded"));
  });

  test("that were promised but not sent are given back", async () => {
    const limiter = limiterOf({});
    const broken = await admit(limiter, { maxBytes: 100 });
    broken.charge(100, clock.ms);
    await broken.settle(30, clock.ms);
    clock.ms += LEASE_MS;
    const next = await admit(limiter, { maxBytes: 100 });
    expect(() => next.charge(71, clock.ms)).toThrow(code("quota_exceeded"));
    next.charge(70, clock.ms);
  });

  test("of a user by the day, with the time until midnight", async () => {
    const limiter = limiterOf({ userBytesPerDay: 100 });
    await request(limiter, 100, { jti: "a" });
    const next = await admit(limiter, { jti: "b" });
    expect(() => next.charge(1, clock.ms)).toThrow(
      expect.objectContaining({ code: "quota_exceeded", headers: { "Retry-After": expect.stringMatching(/^\d+$/) } }),
    );
    clock.ms += 24 * 60 * 60_000;
    (await admit(limiter, { jti: "b" })).charge(100, clock.ms);
  });
});

describe("a ledger that fails", () => {
  beforeEach(() => {
    books.isDown = true;
  });

  test("open: requests pass, one question in a lease, and nothing that was used is lost", async () => {
    const limiter = limiterOf({ onFailure: "open" });
    await request(limiter, 50);
    await admit(limiter);
    expect(reports[0]).toContain("ledger is down");
    books.isDown = false;
    clock.ms += LEASE_MS;
    await admit(limiter);
    expect(books.tokens.get("j")).toMatchObject({ bytes: 50, requests: { count: 2 } });
  });

  test("closed: requests are refused until it is back", async () => {
    const limiter = limiterOf({ onFailure: "closed" });
    await expect(admit(limiter)).rejects.toMatchObject({
      code: "limiter_unavailable",
      headers: { "Retry-After": "3" },
    });
    books.isDown = false;
    await admit(limiter);
  });
});
