/** Serves one request: decides, answers, and hands over the event when the body has ended or broken off. */

import { answerAdmin, requireAdmin } from "./admin";
import type { DenylistEntry } from "./admin";
import { openBody } from "./body";
import type { OpenedBody } from "./body";
import { clientAddress } from "./client_address";
import { ConfigError } from "./config";
import type { Config } from "./config";
import { beginEvent, loggedAddress, recordAdmin, recordGrant, recordKey, recordRange, recordSources } from "./events";
import type { RequestEvent } from "./events";
import { commonHeaders, preflightHeaders, PROBLEM_CONTENT_TYPE } from "./headers";
import { answerFile } from "./files/answer";
import type { FileReader } from "./files/answer";
import { logicalKey } from "./files/target";
import type { Denylist } from "./limits/interface";
import type { Admission, Limiter, LimiterEffects } from "./limits/limiter";
import type { MetadataReader } from "./metadata";
import { OriginChanged, OriginError } from "./origin/interface";
import type { ObjectMetadata, OriginUse } from "./origin/interface";
import { Problem } from "./problem";
import { planResponse } from "./representation";
import type { Plan } from "./representation";
import { routeOf } from "./routes";
import type { CacheUse, SliceReader } from "./slices/reader";
import { addressAllowed, ExpiredToken, scopeAllows } from "./token";
import type { Grant, TokenVerifier } from "./token";

/** What an isolate holds for all its requests. */
export interface Gateway {
  readonly config: Config;
  readonly metadata: MetadataReader;
  readonly slices: SliceReader;
  readonly files: FileReader;
  readonly tokens: TokenVerifier;
  readonly limiter: Limiter;
  readonly denylist: Denylist;
}

/** What a request does to the world beside its answer. */
export interface Effects extends LimiterEffects {
  /** ms since the epoch. */
  now(): number;
  newId(): string;
  /** Keeps the isolate alive until `work` is done. */
  defer(work: Promise<unknown>): void;
  emit(event: RequestEvent): Promise<void>;
}

/** A pinned read that misses is repeated with fresh metadata once: `latest.json` may be replaced at any moment. */
const MAX_ATTEMPTS = 2;

/** Serves one request. `load` gives the gateway or throws ConfigError. */
export async function serve(request: Request, load: () => Promise<Gateway>, effects: Effects): Promise<Response> {
  const startedAt = effects.now();
  const event = beginEvent(request, effects.newId(), startedAt);
  let answer: Answer;
  let admission: Admission | null = null;
  let isHealthCheck = false;
  const sources: Sources = { origin: { requests: 0, bytes: 0, status: null }, cache: { hits: 0, misses: 0 } };
  try {
    const route = routeOf(request);
    isHealthCheck = route.kind === "health";
    const gateway = await load();
    event.ip = await loggedAddress(clientAddress(request, gateway.config.clientIpSource), gateway.config.ipLogging);
    switch (route.kind) {
      case "health":
        answer = healthAnswer(event.id);
        break;
      case "preflight":
        answer = { status: 204, headers: preflightHeaders(event.id, route.allowedMethods), body: null };
        break;
      case "object": {
        const key = route.key();
        recordKey(event, key);
        const grant = await verified(route.token(), gateway, event, startedAt);
        requireAddress(request, grant, gateway.config);
        requireScope(key, grant);
        admission = await gateway.limiter.admit(grant, startedAt, effects);
        const admitted = admission;
        const charge = (bytes: number) => admitted.charge(bytes, startedAt);
        answer = await objectAnswer(request, key, gateway, event, sources, charge, effects);
        break;
      }
      case "file": {
        const asked = route.file();
        recordKey(event, logicalKey(asked));
        const grant = await verified(route.token(), gateway, event, startedAt);
        requireAddress(request, grant, gateway.config);
        admission = await gateway.limiter.admit(grant, startedAt, effects);
        const admitted = admission;
        const charge = (bytes: number) => admitted.charge(bytes, startedAt);
        answer = await answerFile({ request, asked, grant, gateway, event, sources, charge, effects });
        break;
      }
      case "admin": {
        const entry = route.entry();
        recordAdmin(event, entry);
        const grant = await verified(route.token(), gateway, event, startedAt);
        requireAddress(request, grant, gateway.config);
        requireAdmin(grant);
        admission = await gateway.limiter.admit(grant, startedAt, effects);
        answer = await adminAnswer(request.method, entry, gateway, event, startedAt);
      }
    }
  } catch (error) {
    answer = problemAnswer(asProblem(error, event.id, effects), event);
  }

  recordSources(event, sources.origin, sources.cache);
  event.status = answer.status;
  event.ttfb_ms = effects.now() - startedAt;
  if (answer.body === null || typeof answer.body === "string") {
    const bytes = new TextEncoder().encode(answer.body ?? "");
    if (answer.body !== null) answer.headers.set("Content-Length", String(bytes.length));
    const sendsBody = answer.body !== null && request.method !== "HEAD";
    event.bytes_expected = event.bytes_sent = sendsBody ? bytes.length : 0;
    event.completed = true;
    event.duration_ms = event.ttfb_ms;
    if (!isHealthCheck) effects.defer(effects.emit(event));
    if (admission !== null) effects.defer(admission.settle(0, effects.now()));
    return new Response(sendsBody ? bytes : null, { status: answer.status, headers: answer.headers });
  }
  effects.defer(finish(answer.body, event, sources, admission, startedAt, effects));
  const { status, headers } = answer;
  // What has a content coding has it already: workerd would code it itself.
  return new Response(answer.body.content, {
    ...{ status, headers },
    ...(headers.has("Content-Encoding") ? { encodeBody: "manual" } : {}),
  });
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: string | OpenedBody | null;
}

/** Where the bytes of one answer come from, counted while it is made. */
export interface Sources {
  readonly origin: OriginUse;
  readonly cache: CacheUse;
}

async function finish(
  body: OpenedBody,
  event: RequestEvent,
  sources: Sources,
  admission: Admission | null,
  startedAt: number,
  effects: Effects,
): Promise<void> {
  const transfer = await body.finished;
  recordSources(event, sources.origin, sources.cache);
  event.bytes_sent = transfer.bytesSent;
  event.completed = transfer.completed;
  if (transfer.failure !== null) {
    event.code = transfer.failure instanceof OriginError ? "origin_error" : "internal_error";
    effects.report(`request ${event.id}: ${transfer.failure.message}`);
  } else if (!transfer.completed) event.code = "aborted";
  event.duration_ms = effects.now() - startedAt;
  await effects.emit(event);
  await admission?.settle(transfer.bytesSent, effects.now());
}

async function verified(token: string, gateway: Gateway, event: RequestEvent, nowMs: number): Promise<Grant> {
  try {
    const grant = await gateway.tokens.verify(token, nowMs);
    recordGrant(event, grant);
    return grant;
  } catch (error) {
    if (error instanceof ExpiredToken && error.grant !== null) recordGrant(event, error.grant);
    throw error;
  }
}

function requireAddress(request: Request, grant: Grant, config: Config): void {
  if (!addressAllowed(grant.boundTo, clientAddress(request, config.clientIpSource))) {
    throw new Problem("ip_not_allowed", "The token may be used from the address only that it was issued for.");
  }
}

function requireScope(key: string, grant: Grant): void {
  if (!scopeAllows(grant.scopes, key)) {
    throw new Problem("key_not_allowed", "The token's scope does not cover this key.");
  }
}

async function objectAnswer(
  request: Request,
  key: string,
  gateway: Gateway,
  event: RequestEvent,
  sources: Sources,
  charge: (bytes: number) => void,
  effects: Effects,
): Promise<Answer> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const metadata = await gateway.metadata.head(key, sources.origin, effects.now());
      if (metadata === null) throw new Problem("not_found", "There is no object of this key.");
      event.object_size = metadata.size;
      const plan = planResponse(request, key, metadata, event.id);
      charge(plan.bodyLength);
      if (plan.status === 304) event.code = "not_modified";
      event.bytes_expected = plan.bodyLength;
      if (plan.singleRange !== null) recordRange(event, plan.singleRange);
      return { status: plan.status, headers: plan.headers, body: await bodyOf(plan, key, metadata) };
    } catch (error) {
      if (!(error instanceof OriginChanged)) throw error;
      gateway.metadata.forget(key);
      if (attempt === MAX_ATTEMPTS) throw error;
    }
  }

  async function bodyOf(plan: Plan, key: string, metadata: ObjectMetadata): Promise<OpenedBody | null> {
    if (plan.parts.length === 0) return null;
    return openBody(plan, (slice) => gateway.slices.open(key, metadata, slice, sources.origin, sources.cache, effects));
  }
}

async function adminAnswer(
  method: string,
  entry: DenylistEntry,
  gateway: Gateway,
  event: RequestEvent,
  nowMs: number,
): Promise<Answer> {
  const { maxLifetimeSeconds } = gateway.config.tokenRules;
  const { status, body } = await answerAdmin(method, entry, gateway.denylist, maxLifetimeSeconds, nowMs);
  // At once where the change was made; elsewhere within the lease.
  if (status === 204) gateway.limiter.endLeases();
  const headers = commonHeaders(event.id);
  if (body !== null) headers.set("Content-Type", "application/json");
  return { status, headers, body };
}

function healthAnswer(requestId: string): Answer {
  const headers = commonHeaders(requestId);
  // Not application/json, which `wrangler dev` would compress; draft-inadarei-api-health-check.
  headers.set("Content-Type", "application/health+json");
  return { status: 200, headers, body: '{"status":"pass"}\n' };
}

function problemAnswer(problem: Problem, event: RequestEvent): Answer {
  event.code = problem.code;
  const headers = commonHeaders(event.id);
  headers.set("Content-Type", PROBLEM_CONTENT_TYPE);
  for (const [name, value] of Object.entries(problem.headers)) headers.set(name, value);
  return { status: problem.status, headers, body: problem.body(event.id) };
}

/** What the client is told about an error; what only the operator may know goes to the log. */
function asProblem(error: unknown, requestId: string, effects: Effects): Problem {
  if (error instanceof Problem) return error;
  if (error instanceof ConfigError) {
    effects.report(`configuration error in ${error.message}`);
    return new Problem("misconfigured", `The operator must correct the setting ${error.variable}.`);
  }
  effects.report(`request ${requestId}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
  if (error instanceof OriginError) {
    return new Problem("origin_error", "The object store did not answer as it should; try again.");
  }
  return new Problem("internal_error", "The gateway failed; try again, and tell the operator the request_id.");
}
