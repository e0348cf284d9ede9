/** The request event: one JSON object per request, the source of every figure about cost, abuse and use. */

import { loggedPrefix, parseAddress } from "./address";
import type { DenylistEntry } from "./admin";
import type { IpLogging } from "./config";
import { datasetOf } from "./key";
import type { ProblemCode } from "./problem";
import type { OriginUse } from "./origin/interface";
import type { ByteRange } from "./range";
import type { CacheUse } from "./slices/reader";
import type { Grant } from "./token";

/** `aborted`: the client went away before it had all; `completed` is false. */
export type EventCode = ProblemCode | "ok" | "not_modified" | "aborted";

/** Fields as in the design, section 6; times in ms, sizes in bytes, `ts` in UTC. Null: not known, or not applicable. */
export interface RequestEvent {
  v: 1;
  type: "request";
  id: string;
  ts: string;
  method: string;
  dataset: string | null;
  key: string | null;
  status: number;
  code: EventCode;
  range_start: number | null;
  range_end: number | null;
  object_size: number | null;
  bytes_expected: number;
  bytes_sent: number;
  completed: boolean;
  cache: "hit" | "miss" | "partial" | "bypass";
  origin_requests: number;
  origin_bytes: number;
  origin_status: number | null;
  ttfb_ms: number;
  duration_ms: number;
  jti: string | null;
  sub: string | null;
  prj: string | null;
  kid: string | null;
  ip: string | null;
  country: string | null;
  colo: string | null;
  asn: number | null;
  user_agent: string | null;
}

/** A log line must stay below the platform's 16,384 characters, whatever a client sends. */
const MAX_USER_AGENT_LENGTH = 256;

/** Anything with the form of a JWS, wherever a client may have put it by mistake. */
const TOKEN_LIKE = /\beyJ[\w-]+\.[\w-]+\.[\w-]*/g;

/** An event with what is known when a request arrives; it is completed while the request is served. */
export function beginEvent(request: Request, id: string, nowMs: number): RequestEvent {
  const cf = request.cf as IncomingRequestCfProperties | undefined;
  return {
    v: 1,
    type: "request",
    id,
    ts: new Date(nowMs).toISOString(),
    method: request.method,
    dataset: null,
    key: null,
    status: 0,
    code: "ok",
    range_start: null,
    range_end: null,
    object_size: null,
    bytes_expected: 0,
    bytes_sent: 0,
    completed: false,
    cache: "bypass",
    origin_requests: 0,
    origin_bytes: 0,
    origin_status: null,
    ttfb_ms: 0,
    duration_ms: 0,
    jti: null,
    sub: null,
    prj: null,
    kid: null,
    ip: null,
    country: cf?.country ?? null,
    colo: cf?.colo ?? null,
    asn: cf?.asn ?? null,
    user_agent: withoutTokens(request.headers.get("User-Agent")?.slice(0, MAX_USER_AGENT_LENGTH) ?? null),
  };
}

export function recordKey(event: RequestEvent, key: string): void {
  event.key = withoutTokens(key);
  event.dataset = withoutTokens(datasetOf(key));
}

/** For the admin route the key is the route itself: the event is the audit trail of revocations. */
export function recordAdmin(event: RequestEvent, { kind, value }: DenylistEntry): void {
  event.key = withoutTokens(`admin/denylist/${kind}/${value}`);
}

export function recordGrant(event: RequestEvent, grant: Grant): void {
  event.jti = grant.jti;
  event.sub = grant.sub;
  event.prj = grant.project;
  event.kid = grant.kid;
}

/** What an answer has cost at the store, and what the cache gave. */
export function recordSources(event: RequestEvent, origin: OriginUse, cache: CacheUse): void {
  event.origin_requests = origin.requests;
  event.origin_bytes = origin.bytes;
  event.origin_status = origin.status;
  if (cache.hits + cache.misses === 0) return;
  event.cache = cache.misses === 0 ? "hit" : cache.hits === 0 ? "miss" : "partial";
}

/** Inclusive positions, as in Content-Range. */
export function recordRange(event: RequestEvent, range: ByteRange): void {
  event.range_start = range.offset;
  event.range_end = range.offset + range.length - 1;
}

/** The client's address in the form that may be logged; null where there is none or it is no address. */
export async function loggedAddress(clientAddress: string | null, logging: IpLogging): Promise<string | null> {
  const address = clientAddress === null ? null : parseAddress(clientAddress);
  if (clientAddress === null || address === null) return null;
  switch (logging.kind) {
    case "full":
      return clientAddress;
    case "prefix":
      return loggedPrefix(address);
    case "hash":
      return keyedHash(logging.key, `${address.bits}:${address.value}`);
  }
}

function withoutTokens<T extends string | null>(text: T): T {
  return (text === null ? null : text.replaceAll(TOKEN_LIKE, "[token]")) as T;
}

/** HMAC-SHA-256, its first 128 bits in hex: enough to tell clients apart. */
async function keyedHash(key: string, text: string): Promise<string> {
  const utf8 = new TextEncoder();
  const hmac = { name: "HMAC", hash: "SHA-256" };
  const hmacKey = await crypto.subtle.importKey("raw", utf8.encode(key), hmac, false, ["sign"]);
  const digest = new Uint8Array(await crypto.subtle.sign("HMAC", hmacKey, utf8.encode(text)));
  return [...digest.subarray(0, 16)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
