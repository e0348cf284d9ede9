/** Durable Object: the books of one user. */

import { DurableObject } from "cloudflare:workers";

import type { DenylistObject } from "./denylist_object";
import type { DeniedKind, Standing, TokenIdentity } from "./interface";
import { addToToken, addToUser, countAt, DAY_MS, NO_COUNT } from "./usage";
import type { TokenUsage, UsageDelta, UserUsage } from "./usage";

/** The denylist is asked for changes in the background after this long, */
const DENYLIST_FRESH_MS = 2000;
/** and before anything is answered after this long. With an isolate's lease it stays below the 10 s promised. */
const DENYLIST_STALE_MS = 5000;

/** How often what has expired is thrown away. */
const CLEAN_UP_MS = 10 * 60_000;
/** A token is remembered beyond its expiry for the clocks' leeway and transfers that end late. */
const REMEMBER_EXPIRED_S = 3600;

const USER = "user";
const TOKEN_PREFIX = "token:";

export interface LedgerEnv {
  readonly DENYLIST: DurableObjectNamespace<DenylistObject>;
}

export class UserLedger extends DurableObject<LedgerEnv> {
  #user: UserUsage = { requests: NO_COUNT, bytes: NO_COUNT };
  readonly #tokens = new Map<string, TokenUsage>();
  #sequence = Date.now();
  #hasAlarm = false;

  #denied = new Set<string>();
  #deniedVersion: string | null = null;
  #deniedAt = -Infinity;
  #asking: Promise<void> | null = null;

  constructor(ctx: DurableObjectState, env: LedgerEnv) {
    super(ctx, env);
    void ctx.blockConcurrencyWhile(async () => {
      this.#user = (await ctx.storage.get<UserUsage>(USER)) ?? this.#user;
      for (const [key, usage] of await ctx.storage.list<TokenUsage>({ prefix: TOKEN_PREFIX })) {
        this.#tokens.set(key.slice(TOKEN_PREFIX.length), usage);
      }
      this.#hasAlarm = (await ctx.storage.getAlarm()) !== null;
    });
  }

  async report(asked: TokenIdentity, deltas: readonly UsageDelta[]): Promise<Standing> {
    const nowMs = Date.now();
    const changed: Record<string, UserUsage | TokenUsage> = {};
    for (const delta of deltas) {
      this.#user = changed[USER] = addToUser(this.#user, delta, nowMs);
      const usage = addToToken(this.#tokens.get(delta.jti), delta, nowMs);
      this.#tokens.set(delta.jti, usage);
      changed[TOKEN_PREFIX + delta.jti] = usage;
    }
    if (deltas.length > 0) {
      // A caller waits neither for the disk nor for its replicas: what a crash would lose are the last counts.
      await this.ctx.storage.put(changed, { allowUnconfirmed: true });
      if (!this.#hasAlarm) await this.ctx.storage.setAlarm(nowMs + CLEAN_UP_MS, { allowUnconfirmed: true });
      this.#hasAlarm = true;
    }
    await this.#freshDenylist(nowMs);
    this.#sequence += 1;
    return {
      sequence: this.#sequence,
      user: this.#user,
      token: this.#tokens.get(asked.jti) ?? { requests: NO_COUNT, bytes: 0, expiresAt: asked.expiresAt },
      denied: this.#deniedKind(asked),
    };
  }

  override async alarm(): Promise<void> {
    const nowMs = Date.now();
    for (const [jti, { expiresAt }] of this.#tokens) {
      if (expiresAt + REMEMBER_EXPIRED_S > nowMs / 1000) continue;
      this.#tokens.delete(jti);
      await this.ctx.storage.delete(TOKEN_PREFIX + jti);
    }
    if (this.#tokens.size === 0 && countAt(this.#user.bytes, DAY_MS, nowMs) === 0) {
      // Nothing is left that a request could be judged by: the object ends to exist.
      await this.ctx.storage.deleteAll();
      this.#hasAlarm = false;
    } else {
      await this.ctx.storage.setAlarm(nowMs + CLEAN_UP_MS);
    }
  }

  #deniedKind({ jti, sub, kid }: TokenIdentity): DeniedKind | null {
    if (this.#denied.has(`jti:${jti}`)) return "jti";
    if (this.#denied.has(`sub:${sub}`)) return "sub";
    return this.#denied.has(`kid:${kid}`) ? "kid" : null;
  }

  async #freshDenylist(nowMs: number): Promise<void> {
    const age = nowMs - this.#deniedAt;
    if (age < DENYLIST_FRESH_MS) return;
    this.#asking ??= this.#askDenylist().finally(() => (this.#asking = null));
    if (age >= DENYLIST_STALE_MS) return this.#asking;
    // A failure in the background shows when the copy is too old to go by.
    this.#asking.catch(() => undefined);
  }

  async #askDenylist(): Promise<void> {
    const askedAt = Date.now();
    const denylist = this.env.DENYLIST.get(this.env.DENYLIST.idFromName("denylist"));
    const changed = await denylist.changedSince(this.#deniedVersion);
    if (changed !== null) {
      this.#denied = new Set(changed.denied);
      this.#deniedVersion = changed.version;
    }
    this.#deniedAt = askedAt;
  }
}
