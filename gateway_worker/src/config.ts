/** Configuration: read and checked once per isolate, at the edge of the program; everything behind gets plain values. */

import { loadKeyring } from "./keyring";
import type { Keyring } from "./keyring";
import type { DenylistObject } from "./limits/denylist_object";
import type { LimiterRules } from "./limits/limiter";
import type { UserLedger } from "./limits/user_ledger";
import type { TokenRules } from "./token";

/** What the platform binds, see wrangler.jsonc. Strings may be absent or empty, whatever the type checker believes. */
export interface Env {
  readonly BUCKET?: R2Bucket;
  readonly LOGS?: R2Bucket;
  readonly EVENTS?: Queue;
  readonly USER_LEDGERS?: DurableObjectNamespace<UserLedger>;
  readonly DENYLIST?: DurableObjectNamespace<DenylistObject>;
  readonly TOKEN_KEYRING?: string;
  readonly TOKEN_ISSUER?: string;
  readonly TOKEN_AUDIENCE?: string;
  readonly TOKEN_MAX_LIFETIME_S?: string;
  readonly LOG_IP?: string;
  readonly LOG_IP_HASH_KEY?: string;
  readonly CLIENT_IP_SOURCE?: string;
  readonly LIMIT_USER_REQUESTS_PER_MINUTE?: string;
  readonly LIMIT_TOKEN_REQUESTS_PER_MINUTE?: string;
  readonly LIMIT_USER_BYTES_PER_DAY?: string;
  readonly LIMITER_FAIL?: string;
}

/** How the client's address enters the log: whole, its /24 or /48, a keyed hash. */
export type IpLogging =
  { readonly kind: "full" } | { readonly kind: "prefix" } | { readonly kind: "hash"; readonly key: string };

/** Request header that holds the client's address; null: the address is not known. */
export type ClientIpHeader = "CF-Connecting-IP" | "X-Real-IP" | null;

export interface Config {
  readonly keyring: Keyring;
  readonly tokenRules: TokenRules;
  readonly ipLogging: IpLogging;
  readonly clientIpHeader: ClientIpHeader;
  readonly limiterRules: LimiterRules;
}

/** A setting is missing or wrong. `variable` is its name; the message never holds a secret's value. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly variable: string;

  constructor(variable: string, why: string) {
    super(`${variable}: ${why}`);
    this.variable = variable;
  }
}

/** An unkeyed or short-keyed hash of an IPv4 address is undone by trying all of them. */
export const MIN_HASH_KEY_LENGTH = 32;

/** @throws ConfigError that names the first variable that is wrong */
export async function readConfig(env: Env): Promise<Config> {
  return {
    keyring: await readKeyring(env.TOKEN_KEYRING),
    tokenRules: {
      issuer: env.TOKEN_ISSUER || "lading",
      audience: env.TOKEN_AUDIENCE || "lading-gateway",
      maxLifetimeSeconds: readPositiveInteger("TOKEN_MAX_LIFETIME_S", env.TOKEN_MAX_LIFETIME_S || "3600"),
    },
    ipLogging: readIpLogging(env),
    clientIpHeader: readClientIpHeader(env.CLIENT_IP_SOURCE || "cf-connecting-ip"),
    limiterRules: readLimiterRules(env),
  };
}

/** @throws ConfigError when nothing is bound */
export function requireBinding<T>(name: keyof Env, what: string, binding: T | undefined): T {
  if (binding === undefined) throw new ConfigError(name, `no ${what} is bound to this name`);
  return binding;
}

async function readKeyring(text: string | undefined): Promise<Keyring> {
  if (!text) throw new ConfigError("TOKEN_KEYRING", "it is not set: a JWK Set with the issuer's keys is needed");
  try {
    return await loadKeyring(text);
  } catch (error) {
    throw new ConfigError("TOKEN_KEYRING", error instanceof Error ? error.message : String(error));
  }
}

function readLimiterRules(env: Env): LimiterRules {
  const onFailure = env.LIMITER_FAIL || "open";
  if (onFailure !== "open" && onFailure !== "closed") {
    throw new ConfigError("LIMITER_FAIL", `'${onFailure}' is none of open, closed`);
  }
  return {
    userRequestsPerMinute: readLimit("LIMIT_USER_REQUESTS_PER_MINUTE", env.LIMIT_USER_REQUESTS_PER_MINUTE, 120_000),
    tokenRequestsPerMinute: readLimit("LIMIT_TOKEN_REQUESTS_PER_MINUTE", env.LIMIT_TOKEN_REQUESTS_PER_MINUTE, 60_000),
    userBytesPerDay: readLimit("LIMIT_USER_BYTES_PER_DAY", env.LIMIT_USER_BYTES_PER_DAY, 10 * 1024 ** 4),
    onFailure,
  };
}

/** A limit, 0 for none. */
function readLimit(variable: string, text: string | undefined, otherwise: number): number {
  if (!text) return otherwise;
  if (!/^\d{1,15}$/.test(text)) throw new ConfigError(variable, `'${text}' is no whole number`);
  return Number(text);
}

function readPositiveInteger(variable: string, text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new ConfigError(variable, `'${text}' is no positive whole number`);
  return Number(text);
}

function readIpLogging(env: Env): IpLogging {
  const kind = env.LOG_IP || "prefix";
  if (kind === "full" || kind === "prefix") return { kind };
  if (kind !== "hash") throw new ConfigError("LOG_IP", `'${kind}' is none of full, prefix, hash`);
  const key = env.LOG_IP_HASH_KEY ?? "";
  if (key.length < MIN_HASH_KEY_LENGTH) {
    throw new ConfigError(
      "LOG_IP_HASH_KEY",
      `LOG_IP=hash needs a secret of ${MIN_HASH_KEY_LENGTH} characters or more here`,
    );
  }
  return { kind, key };
}

function readClientIpHeader(source: string): ClientIpHeader {
  switch (source) {
    case "cf-connecting-ip":
      return "CF-Connecting-IP";
    case "x-real-ip":
      return "X-Real-IP";
    case "none":
      return null;
    default:
      throw new ConfigError("CLIENT_IP_SOURCE", `'${source}' is none of cf-connecting-ip, x-real-ip, none`);
  }
}
