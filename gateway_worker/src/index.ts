/** The Worker: binds the platform (environment, clock, log, queue) to the gateway. */

import { readConfig, requireBinding } from "./config";
import type { Config, Env } from "./config";
import type { RequestEvent } from "./events";
import { Limiter } from "./limits/limiter";
import { objectDenylist, objectLedgers } from "./limits/objects";
import { writeLogs } from "./log_writer";
import { FileReader } from "./files/answer";
import { MetadataReader } from "./metadata";
import type { Origin } from "./origin/interface";
import { R2Origin } from "./origin/r2";
import { S3Origin } from "./origin/s3";
import { serve } from "./serve";
import type { Effects, Gateway } from "./serve";
import { CacheApiSlices } from "./slices/cache_api";
import { DiskSlices } from "./slices/disk";
import type { SliceCache } from "./slices/interface";
import { SliceReader } from "./slices/reader";
import { TokenVerifier } from "./token";

export { DenylistObject } from "./limits/denylist_object";
export { UserLedger } from "./limits/user_ledger";

/** An isolate has one environment, so that its gateway is built once; a configuration error is kept as well. */
const gateways = new WeakMap<Env, Promise<Gateway>>();

export default {
  async fetch(request, env, ctx) {
    return serve(request, () => gatewayOf(env), effectsOf(env, ctx));
  },

  async queue(batch, env) {
    await writeLogs(batch.messages, requireBinding("LOGS", "R2 bucket", env.LOGS));
  },
} satisfies ExportedHandler<Env>;

function gatewayOf(env: Env): Promise<Gateway> {
  let gateway = gateways.get(env);
  if (gateway === undefined) {
    gateway = buildGateway(env);
    gateways.set(env, gateway);
  }
  return gateway;
}

async function buildGateway(env: Env): Promise<Gateway> {
  const config = await readConfig(env);
  const origin = originOf(config, env);
  return {
    config,
    metadata: new MetadataReader(origin),
    slices: new SliceReader(origin, sliceCacheOf(config, env), config.originStallMs),
    files: new FileReader(origin),
    tokens: new TokenVerifier(config.keyring, config.tokenRules),
    limiter: new Limiter(
      config.limiterRules,
      objectLedgers(requireBinding("USER_LEDGERS", "Durable Object", env.USER_LEDGERS)),
    ),
    denylist: objectDenylist(requireBinding("DENYLIST", "Durable Object", env.DENYLIST)),
  };
}

function originOf({ origin }: Config, env: Env): Origin {
  return origin.kind === "s3" ? new S3Origin(origin) : new R2Origin(requireBinding("BUCKET", "R2 bucket", env.BUCKET));
}

function sliceCacheOf({ sliceCache }: Config, env: Env): SliceCache | null {
  switch (sliceCache) {
    case "api":
      return new CacheApiSlices(() => caches.open("lading-slices"));
    case "disk":
      return new DiskSlices(requireBinding("SLICES", "disk service", env.SLICES));
    case "off":
      return null;
  }
}

function effectsOf(env: Env, ctx: ExecutionContext): Effects {
  return {
    now: () => Date.now(),
    sleep: (ms) => new Promise((done) => setTimeout(done, ms)),
    newId: () => crypto.randomUUID(),
    defer: (work) => ctx.waitUntil(work),
    emit: (event) => emit(event, env.EVENTS),
    report: (message) => console.error(message),
  };
}

/** To the log and, where one is bound, to the queue. A failing queue must not fail a download. */
async function emit(event: RequestEvent, queue: Queue | undefined): Promise<void> {
  console.log(JSON.stringify(event));
  try {
    await queue?.send(event);
  } catch (error) {
    console.error(`event ${event.id} was not queued: ${error instanceof Error ? error.message : String(error)}`);
  }
}
