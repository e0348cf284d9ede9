import { base64url, exportJWK, generateKeyPair } from "jose";
import { beforeAll, describe, expect, test } from "vitest";

import { readConfig } from "./config";

const oct = (bytes: number) => ({ kty: "oct", k: base64url.encode(new Uint8Array(bytes)), kid: "hs", alg: "HS256" });
const set = (...keys: object[]) => JSON.stringify({ keys });

let publicJwk: Record<string, unknown>;
let privateJwk: Record<string, unknown>;

beforeAll(async () => {
  const pair = (await generateKeyPair("EdDSA", { extractable: true })) as CryptoKeyPair;
  publicJwk = { ...(await exportJWK(pair.publicKey)), kid: "ed", alg: "EdDSA" };
  privateJwk = { ...(await exportJWK(pair.privateKey)), kid: "ed", alg: "EdDSA" };
});

describe("readConfig", () => {
  test("defaults apply where a variable is absent or empty", async () => {
    const config = await readConfig({ TOKEN_KEYRING: set(publicJwk, oct(32)), TOKEN_ISSUER: "" });
    expect(config).toMatchObject({
      tokenRules: { issuer: "lading", audience: "lading-gateway", maxLifetimeSeconds: 3600 },
      ipLogging: { kind: "prefix" },
      clientIpSource: "cf-connecting-ip",
      fileDecodeMaxBytes: 67_108_864,
    });
    expect([...config.keyring].map(([kid, entry]) => [kid, entry.algorithm])).toEqual([
      ["ed", "EdDSA"],
      ["hs", "HS256"],
    ]);
  });

  test.each([
    ["TOKEN_MAX_LIFETIME_S", { TOKEN_MAX_LIFETIME_S: "1h" }],
    ["TOKEN_MAX_LIFETIME_S", { TOKEN_MAX_LIFETIME_S: "0" }],
    ["FILE_DECODE_MAX_BYTES", { FILE_DECODE_MAX_BYTES: "64M" }],
    ["FILE_DECODE_MAX_BYTES", { FILE_DECODE_MAX_BYTES: "0" }],
    ["LOG_IP", { LOG_IP: "none" }],
    ["LOG_IP_HASH_KEY", { LOG_IP: "hash" }],
    ["LOG_IP_HASH_KEY", { LOG_IP: "hash", LOG_IP_HASH_KEY: "short" }],
    ["CLIENT_IP_SOURCE", { CLIENT_IP_SOURCE: "x-forwarded-for" }],
    ["TOKEN_KEYRING", { TOKEN_KEYRING: undefined }],
    ["TOKEN_KEYRING", { TOKEN_KEYRING: "{" }],
    ["TOKEN_KEYRING", { TOKEN_KEYRING: "[]" }],
    ["TOKEN_KEYRING", { TOKEN_KEYRING: set() }],
    ["TOKEN_KEYRING", { TOKEN_KEYRING: set(oct(31)) }],
    ["TOKEN_KEYRING", { TOKEN_KEYRING: set(oct(32), oct(32)) }],
    ["TOKEN_KEYRING", { TOKEN_KEYRING: set({ ...oct(32), kid: undefined }) }],
    ["TOKEN_KEYRING", { TOKEN_KEYRING: set({ ...oct(32), alg: "EdDSA" }) }],
    ["TOKEN_KEYRING", { TOKEN_KEYRING: set({ kty: "OKP", crv: "Ed25519", x: "AA", kid: "ed", alg: "EdDSA" }) }],
  ])("a wrong %s is named: %j", async (variable, env) => {
    const given = { TOKEN_KEYRING: set(publicJwk), ...env };
    await expect(readConfig(given as object)).rejects.toMatchObject({ name: "ConfigError", variable });
  });

  test("an Ed25519 key with another algorithm is refused", async () => {
    const env = { TOKEN_KEYRING: set({ ...publicJwk, alg: "HS256" }) };
    await expect(readConfig(env)).rejects.toMatchObject({ variable: "TOKEN_KEYRING" });
  });

  test("a private key is refused, and not shown", async () => {
    const error = await readConfig({ TOKEN_KEYRING: set(privateJwk) }).catch((e: Error) => e);
    expect(error).toMatchObject({ variable: "TOKEN_KEYRING", message: expect.stringContaining("private key") });
    expect((error as Error).message).not.toContain(privateJwk["d"]);
  });
});
