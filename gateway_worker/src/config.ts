/** Configuration: read and checked once per isolate, at the edge of the program; everything behind gets plain values. */

import type { S3Settings } from "./origin/s3";
import type { DiskService } from "./slices/disk";
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
  readonly SLICES?: DiskService;
  readonly EVENTS?: Queue;
  readonly USER_LEDGERS?: DurableObjectNamespace<UserLedger>;
  readonly DENYLIST?: DurableObjectNamespace<DenylistObject>;
  readonly ORIGIN?: string;
  readonly S3_ENDPOINT?: string;
  readonly S3_BUCKET?: string;
  readonly S3_REGION?: string;
  readonly S3_ACCESS_KEY_ID?: string;
  readonly S3_SECRET_ACCESS_KEY?: string;
  readonly ORIGIN_ANSWER_TIMEOUT_S?: string;
  readonly ORIGIN_STALL_TIMEOUT_S?: string;
  readonly SLICE_CACHE?: string;
  readonly FILE_DECODE_MAX_BYTES?: string;
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

/** Where the client's address comes from: a header of who is in front, the connection itself (plain workerd), nowhere. */
export type ClientIpSource = "cf-connecting-ip" | "x-real-ip" | "socket" | "none";

export type OriginSettings = { readonly kind: "r2" } | ({ readonly kind: "s3" } & S3Settings);

/** Where slices are kept: the platform's Cache API, the disk of a self-hosted gateway, nowhere. */
export type SliceCacheKind = "api" | "disk" | "off";

export interface Config {
  readonly keyring: Keyring;
  readonly tokenRules: TokenRules;
  readonly ipLogging: IpLogging;
  readonly clientIpSource: ClientIpSource;
  readonly limiterRules: LimiterRules;
  readonly origin: OriginSettings;
  readonly sliceCache: SliceCacheKind;
  /** A store or cache that gives nothing for this long, in the middle of a body, counts as broken, ms. */
  readonly originStallMs: number;
  /** An answer about a file is decoded here up to this length, bytes. */
  readonly fileDecodeMaxBytes: number;
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

/** 64 MiB, decoded and hashed in less than a second of CPU; a few megabytes of it are in memory at a time. */
const DEFAULT_FILE_DECODE_MAX_BYTES = 64 * 1024 * 1024;

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
    clientIpSource: readClientIpSource(env.CLIENT_IP_SOURCE || "cf-connecting-ip"),
    limiterRules: readLimiterRules(env),
    origin: readOrigin(env),
    // Only self-hosting binds a disk.
    sliceCache: readSliceCache(env.SLICE_CACHE || (env.SLICES === undefined ? "api" : "disk")),
    originStallMs: readSeconds("ORIGIN_STALL_TIMEOUT_S", env.ORIGIN_STALL_TIMEOUT_S, 30),
    fileDecodeMaxBytes: readPositiveInteger(
      "FILE_DECODE_MAX_BYTES",
      env.FILE_DECODE_MAX_BYTES || String(DEFAULT_FILE_DECODE_MAX_BYTES),
    ),
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

function readOrigin(env: Env): OriginSettings {
  const kind = env.ORIGIN || "r2";
  if (kind === "r2") return { kind };
  if (kind !== "s3") throw new ConfigError("ORIGIN", `'${kind}' is none of r2, s3`);
  const needed = (name: "S3_ENDPOINT" | "S3_BUCKET" | "S3_ACCESS_KEY_ID" | "S3_SECRET_ACCESS_KEY") => {
    const value = env[name];
    if (!value) throw new ConfigError(name, "ORIGIN=s3 needs it");
    return value;
  };
  const endpoint = needed("S3_ENDPOINT").replace(/\/+$/, "");
  if (!/^https?:\/\/[^/]/.test(endpoint)) throw new ConfigError("S3_ENDPOINT", "it is no http or https URL");
  return {
    kind,
    endpoint,
    bucket: needed("S3_BUCKET"),
    region: env.S3_REGION || "auto",
    accessKeyId: needed("S3_ACCESS_KEY_ID"),
    secretAccessKey: needed("S3_SECRET_ACCESS_KEY"),
    answerTimeoutMs: readSeconds("ORIGIN_ANSWER_TIMEOUT_S", env.ORIGIN_ANSWER_TIMEOUT_S, 10),
  };
}

function readSliceCache(kind: string): SliceCacheKind {
  if (kind === "api" || kind === "disk" || kind === "off") return kind;
  throw new ConfigError("SLICE_CACHE", `'${kind}' is none of api, disk, off`);
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

/** Seconds, given in ms. */
function readSeconds(variable: string, text: string | undefined, otherwise: number): number {
  return readPositiveInteger(variable, text || String(otherwise)) * 1000;
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

function readClientIpSource(source: string): ClientIpSource {
  if (source === "cf-connecting-ip" || source === "x-real-ip" || source === "socket" || source === "none")
    return source;
  throw new ConfigError("CLIENT_IP_SOURCE", `'${source}' is none of cf-connecting-ip, x-real-ip, socket, none`);
}
