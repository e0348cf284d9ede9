/** The client's address, from where the operator says that it is to be had. */

import type { ClientIpSource } from "./config";

/** Null: not known. */
export function clientAddress(request: Request, source: ClientIpSource): string | null {
  switch (source) {
    case "cf-connecting-ip":
      return request.headers.get("CF-Connecting-IP");
    case "x-real-ip":
      return request.headers.get("X-Real-IP");
    case "socket":
      return addressOfPeer((request.cf as { clientIp?: string } | undefined)?.clientIp);
    case "none":
      return null;
  }
}

/** Plain workerd tells the peer with its port: `192.0.2.1:5000`, `[2001:db8::1]:5000`. */
function addressOfPeer(peer: string | undefined): string | null {
  return /^\[?([0-9a-f.:]+?)\]?:\d+$/i.exec(peer ?? "")?.[1] ?? null;
}
