/** The denylist's admin route: who may use it, and what it answers. */

import type { DeniedKind, Denylist } from "./limits/interface";
import { Problem } from "./problem";
import { LEEWAY_SECONDS } from "./token";
import type { Grant } from "./token";

/** The `scp` that lets a token in. */
export const ADMIN_SCOPE = "admin:denylist";

export interface DenylistEntry {
  readonly kind: DeniedKind;
  readonly value: string;
}

export interface AdminAnswer {
  readonly status: 200 | 204;
  /** JSON, where there is something to say. */
  readonly body: string | null;
}

/** @throws Problem `key_not_allowed` */
export function requireAdmin(grant: Grant): void {
  if (!grant.scopes.includes(ADMIN_SCOPE)) {
    throw new Problem("key_not_allowed", `The token's scope does not cover '${ADMIN_SCOPE}'.`);
  }
}

/**
 * Denies (PUT), allows again (DELETE) or looks up (GET, HEAD) an entry. Doing the same twice is fine.
 *
 * @throws Problem `not_found` for a look-up of what is not denied
 */
export async function answerAdmin(
  method: string,
  { kind, value }: DenylistEntry,
  denylist: Denylist,
  maxLifetimeSeconds: number,
  nowMs: number,
): Promise<AdminAnswer> {
  switch (method) {
    case "PUT":
      // A token's id need not be denied longer than any token holds; users and keys stay until they are allowed again.
      await denylist.put(kind, value, kind === "jti" ? nowMs + (maxLifetimeSeconds + 2 * LEEWAY_SECONDS) * 1000 : null);
      return { status: 204, body: null };
    case "DELETE":
      await denylist.remove(kind, value);
      return { status: 204, body: null };
    default: {
      const denial = await denylist.find(kind, value);
      if (denial === null) throw new Problem("not_found", "This is not on the denylist.");
      const time = (ms: number | null) => (ms === null ? null : new Date(ms).toISOString());
      const { since, until } = denial;
      return { status: 200, body: `${JSON.stringify({ kind, value, since: time(since), until: time(until) })}\n` };
    }
  }
}
