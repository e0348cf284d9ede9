/** Ledgers and denylist over Durable Objects: one object for each user, and one for the list. */

import type { DenylistObject } from "./denylist_object";
import type { Denylist, Ledgers } from "./interface";
import type { UserLedger } from "./user_ledger";

export function objectLedgers(namespace: DurableObjectNamespace<UserLedger>): Ledgers {
  return {
    report: (asked, deltas) => namespace.get(namespace.idFromName(asked.sub)).report(asked, deltas),
  };
}

export function objectDenylist(namespace: DurableObjectNamespace<DenylistObject>): Denylist {
  const list = () => namespace.get(namespace.idFromName("denylist"));
  return {
    put: (kind, value, until) => list().put(kind, value, until),
    remove: (kind, value) => list().remove(kind, value),
    find: (kind, value) => list().find(kind, value),
  };
}
