/** A gateway as the local stack runs it: `wrangler dev` with a generated configuration that lies elsewhere. */

import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

import { AwsClient } from "aws4fetch";
import { exportJWK, generateKeyPair, SignJWT } from "jose";

import { send } from "./target";
import type { Target } from "./target";

export const PACKAGE_DIR = resolve(import.meta.dirname, "..");
const WRANGLER = join(PACKAGE_DIR, "node_modules/wrangler/bin/wrangler.js");
const READY_TIMEOUT_MS = 45_000;
const TOKEN_LIFETIME_S = 300;
const S3_CREDENTIALS = { accessKeyId: "integration-test", secretAccessKey: "integration-test-secret" };

export interface Stack extends Target {
  /** Stores an object where the gateway finds it. */
  put(key: string, bytes: Buffer, headers?: Record<string, string>): Promise<void>;
  readonly s3: AwsClient;
  /** URL of an object on the local S3 endpoint. */
  s3Url(bucket: string, key: string): string;
  /** All that the gateway has printed so far. */
  output(): string;
  /** Ends it and starts it again on the state that it left. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

/** `vars` replace or add to the variables of wrangler.jsonc; undefined takes one away. */
export async function startStack(vars: Record<string, string | undefined> = {}): Promise<Stack> {
  const home = await mkdtemp(join(tmpdir(), "lading-gateway-"));
  const { keyring, token } = await newIssuer();
  const configPath = join(home, "wrangler.json");
  await writeFile(configPath, JSON.stringify(await generatedConfig({ TOKEN_KEYRING: keyring, ...vars })));

  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  let output = "";
  const spawnGateway = () => {
    const started = spawn(
      process.execPath,
      [
        ...[WRANGLER, "dev", "--config", configPath, "--persist-to", join(home, "state")],
        ...["--ip", "127.0.0.1", "--port", String(port), "--inspector-port", "0", "--local-protocol", "http"],
        "--show-interactive-dev-session=false",
      ],
      {
        cwd: home,
        // Its own process group: wrangler has children, and they all end together.
        detached: true,
        stdio: ["ignore", "pipe", "pipe"],
        env: { ...process.env, WRANGLER_SEND_METRICS: "false", CLOUDFLARE_CF_FETCH_ENABLED: "false", NO_COLOR: "1" },
      },
    );
    const collect = (text: string) => (output += text);
    started.stdout.setEncoding("utf8").on("data", collect);
    started.stderr.setEncoding("utf8").on("data", collect);
    return started;
  };
  let child = spawnGateway();

  const stack: Stack = {
    url,
    s3: new AwsClient({ ...S3_CREDENTIALS, region: "auto", service: "s3" }),
    s3Url: (bucket, key) => `${url}/cdn-cgi/local/r2/s3/${bucket}/${key.split("/").map(encodeURIComponent).join("/")}`,
    send: (method, path, headers = {}) => send(port, method, path, headers),
    put: async (key, bytes, headers = {}) => {
      const response = await stack.s3.fetch(stack.s3Url("lading", key), {
        method: "PUT",
        body: new Uint8Array(bytes),
        headers,
      });
      if (!response.ok) throw new Error(`PUT ${key}: ${response.status}`);
    },
    token,
    output: () => output,
    restart: async () => {
      await stopGroup(child);
      child = spawnGateway();
      await untilReady(stack, child);
    },
    stop: async () => {
      await stopGroup(child);
      await rm(home, { recursive: true, force: true });
    },
  };
  try {
    await untilReady(stack, child);
  } catch (error) {
    await stack.stop();
    throw error;
  }
  return stack;
}

/** A signing key of its own, and tokens by it. */
export async function newIssuer(): Promise<{ keyring: string; token: Target["token"] }> {
  const { publicKey, privateKey } = await generateKeyPair("EdDSA");
  const jwk = { ...(await exportJWK(publicKey)), kid: "k1", alg: "EdDSA" };
  return {
    keyring: JSON.stringify({ keys: [jwk] }),
    token: (claims = {}) =>
      new SignJWT({ ...defaultClaims(), ...claims })
        .setProtectedHeader({ alg: "EdDSA", kid: "k1", typ: "dl+jwt" })
        .sign(privateKey),
  };
}

function defaultClaims() {
  const nowS = Math.floor(Date.now() / 1000);
  return {
    ...{ iss: "lading", aud: "lading-gateway", sub: "ann", jti: randomUUID(), prj: "p1", scp: ["ds/"] },
    ...{ iat: nowS, exp: nowS + TOKEN_LIFETIME_S },
  };
}

/** Settings of a gateway whose S3 origin is the local R2 of a stack. */
export function s3Settings(stack: Stack): Record<string, string> {
  return {
    ORIGIN: "s3",
    S3_ENDPOINT: `${stack.url}/cdn-cgi/local/r2/s3`,
    S3_BUCKET: "lading",
    S3_REGION: "auto",
    S3_ACCESS_KEY_ID: S3_CREDENTIALS.accessKeyId,
    S3_SECRET_ACCESS_KEY: S3_CREDENTIALS.secretAccessKey,
  };
}

/** The committed configuration, made independent of its place, with S3 access to both buckets. */
async function generatedConfig(vars: Record<string, string | undefined>): Promise<Record<string, unknown>> {
  const text = await readFile(join(PACKAGE_DIR, "wrangler.jsonc"), "utf8");
  const config = JSON.parse(text.replaceAll(/^\s*\/\/.*$/gm, ""));
  delete config.$schema;
  config.main = join(PACKAGE_DIR, config.main);
  for (const bucket of config.r2_buckets) bucket.local_dev = { experimental_s3_credentials: S3_CREDENTIALS };
  for (const consumer of config.queues.consumers) consumer.max_batch_timeout = 1;
  config.vars = { ...config.vars, ...vars };
  return config;
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

export async function untilReady(stack: Pick<Stack, "send" | "output">, child: ChildProcess): Promise<void> {
  const deadline = Date.now() + READY_TIMEOUT_MS;
  while (Date.now() < deadline) {
    if (child.exitCode !== null) throw new Error(`the gateway ended:\n${stack.output()}`);
    const answer = await stack.send("GET", "/healthz").catch(() => null);
    // A misconfigured gateway is up as well, and some tests want one.
    if (answer !== null) return;
    await sleep(100);
  }
  throw new Error(`the gateway is not ready:\n${stack.output()}`);
}

async function stopGroup(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null) return;
  const ended = once(child, "exit");
  process.kill(-child.pid, "SIGTERM");
  await ended;
}

export const sleep = (ms: number) => new Promise((done) => setTimeout(done, ms));

/** Asks again and again until `probe` gives something. */
export async function eventually<T>(
  probe: () => Promise<T | undefined> | T | undefined,
  timeoutMs = 15_000,
  everyMs = 100,
): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const found = await probe();
    if (found !== undefined) return found;
    if (Date.now() > deadline) throw new Error("it did not happen in time");
    await sleep(everyMs);
  }
}
