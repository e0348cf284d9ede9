/** Durable Object: the one list of revoked token ids, users and signing keys. Users' ledgers keep copies of it. */

import { DurableObject } from "cloudflare:workers";

import type { DeniedKind, Denial } from "./interface";

const DENIAL_PREFIX = "denied:";

export class DenylistObject extends DurableObject {
  readonly #denials = new Map<string, Denial>();
  /** Differs after each change and each restart. */
  #version: string = crypto.randomUUID();

  constructor(ctx: DurableObjectState, env: unknown) {
    super(ctx, env as never);
    void ctx.blockConcurrencyWhile(async () => {
      for (const [key, denial] of await ctx.storage.list<Denial>({ prefix: DENIAL_PREFIX })) {
        this.#denials.set(key.slice(DENIAL_PREFIX.length), denial);
      }
    });
  }

  async put(kind: DeniedKind, value: string, until: number | null): Promise<void> {
    await this.#forgetExpired();
    const name = `${kind}:${value}`;
    const denial = { kind, value, since: this.#denials.get(name)?.since ?? Date.now(), until };
    await this.ctx.storage.put(DENIAL_PREFIX + name, denial);
    this.#denials.set(name, denial);
    this.#version = crypto.randomUUID();
  }

  async remove(kind: DeniedKind, value: string): Promise<void> {
    const name = `${kind}:${value}`;
    await this.ctx.storage.delete(DENIAL_PREFIX + name);
    if (this.#denials.delete(name)) this.#version = crypto.randomUUID();
  }

  find(kind: DeniedKind, value: string): Denial | null {
    return this.#denials.get(`${kind}:${value}`) ?? null;
  }

  /** The whole list as `kind:value`, or null when it is still the version that the caller knows. */
  changedSince(version: string | null): { version: string; denied: string[] } | null {
    return version === this.#version ? null : { version: this.#version, denied: [...this.#denials.keys()] };
  }

  async #forgetExpired(): Promise<void> {
    for (const [name, { until }] of this.#denials) {
      if (until === null || until > Date.now()) continue;
      await this.ctx.storage.delete(DENIAL_PREFIX + name);
      this.#denials.delete(name);
    }
  }
}
