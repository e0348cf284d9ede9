import { base64url, exportJWK, generateKeyPair, SignJWT } from "jose";
import type { JWTPayload } from "jose";
import { beforeAll, describe, expect, test } from "vitest";

import { loadKeyring } from "./keyring";
import type { Keyring } from "./keyring";
import { addressAllowed, scopeAllows, TokenVerifier, verifyToken } from "./token";

const NOW_S = 1_800_000_000;
const NOW_MS = NOW_S * 1000;
const RULES = { issuer: "lading", audience: "lading-gateway", maxLifetimeSeconds: 3600 };
const SECRET = new Uint8Array(32).fill(7);
const CLAIMS = {
  iss: "lading",
  aud: "lading-gateway",
  sub: "ann",
  jti: "t1",
  iat: NOW_S,
  exp: NOW_S + 300,
  scp: ["ds/"],
};

let pair: CryptoKeyPair;
let publicX: string;
let keyring: Keyring;

beforeAll(async () => {
  pair = (await generateKeyPair("EdDSA", { extractable: true })) as CryptoKeyPair;
  const jwk = await exportJWK(pair.publicKey);
  publicX = jwk.x ?? "";
  keyring = await loadKeyring(
    JSON.stringify({
      keys: [
        { ...jwk, kid: "ed", alg: "EdDSA" },
        { kty: "oct", k: base64url.encode(SECRET), kid: "hs", alg: "HS256" },
      ],
    }),
  );
});

type Header = { alg?: string; kid?: string; typ?: string };

function sign(claims: JWTPayload | Record<string, unknown>, header: Header = {}, key?: CryptoKey | Uint8Array) {
  const { alg = "EdDSA", kid = "ed", typ = "dl+jwt" } = header;
  return new SignJWT(claims as JWTPayload).setProtectedHeader({ alg, kid, typ }).sign(key ?? pair.privateKey);
}
const verify = (token: string, nowMs = NOW_MS) => verifyToken(token, keyring, RULES, nowMs);
const invalid = expect.objectContaining({ code: "token_invalid" });
const without = (claim: keyof typeof CLAIMS) => Object.fromEntries(Object.entries(CLAIMS).filter(([k]) => k !== claim));

describe("verifyToken", () => {
  test("an EdDSA token gives its grant", async () => {
    const token = await sign({ ...CLAIMS, prj: "p1", ip: "192.0.2.0/24" });
    expect(await verify(token)).toMatchObject({
      kid: "ed",
      jti: "t1",
      sub: "ann",
      project: "p1",
      scopes: ["ds/"],
      boundTo: { prefix: 24 },
      expiresAt: NOW_S + 300,
    });
  });

  test("an HS256 token holds for an HS256 key", async () => {
    expect(await verify(await sign(CLAIMS, { alg: "HS256", kid: "hs" }, SECRET))).toMatchObject({ kid: "hs" });
  });

  test("algorithm confusion: HS256 signed with the public Ed25519 key is refused", async () => {
    const token = await sign(CLAIMS, { alg: "HS256", kid: "ed" }, base64url.decode(publicX));
    await expect(verify(token)).rejects.toEqual(invalid);
  });

  test("alg none is refused", async () => {
    const part = (value: object) => base64url.encode(JSON.stringify(value));
    const token = `${part({ alg: "none", kid: "ed", typ: "dl+jwt" })}.${part(CLAIMS)}.`;
    await expect(verify(token)).rejects.toEqual(invalid);
  });

  test("a signature of another key is refused", async () => {
    const other = (await generateKeyPair("EdDSA")) as CryptoKeyPair;
    await expect(verify(await sign(CLAIMS, {}, other.privateKey))).rejects.toEqual(invalid);
  });

  test("changed claims are refused", async () => {
    const [header, , signature] = (await sign(CLAIMS)).split(".");
    const payload = base64url.encode(JSON.stringify({ ...CLAIMS, scp: ["other/"] }));
    await expect(verify(`${header}.${payload}.${signature}`)).rejects.toEqual(invalid);
  });

  test.each([
    ["an unknown kid", { kid: "nope" }],
    ["another typ", { typ: "JWT" }],
  ])("%s is refused", async (_name, header) => {
    await expect(verify(await sign(CLAIMS, header))).rejects.toEqual(invalid);
  });

  test.each(["iss", "aud", "sub", "jti", "iat", "exp", "scp"] as const)(
    "a token without %s is refused",
    async (claim) => {
      await expect(verify(await sign(without(claim)))).rejects.toEqual(invalid);
    },
  );

  test.each([
    ["another issuer", { iss: "evil" }],
    ["another audience", { aud: "other" }],
    ["an empty jti", { jti: "" }],
    ["a scope that is a string", { scp: "ds/" }],
    ["an empty scope", { scp: [""] }],
    ["an ip that is none", { ip: "everywhere" }],
    ["a lifetime above the limit", { exp: NOW_S + 3601 }],
    ["an issue in the future", { iat: NOW_S + 11 }],
    ["a start in the future", { nbf: NOW_S + 11 }],
  ])("%s is refused", async (_name, change) => {
    await expect(verify(await sign({ ...CLAIMS, ...change }))).rejects.toEqual(invalid);
  });

  test("expiry has a leeway of 10 s", async () => {
    const token = await sign(CLAIMS);
    await expect(verify(token, NOW_MS + 309_000)).resolves.toBeDefined();
    await expect(verify(token, NOW_MS + 311_000)).rejects.toMatchObject({
      code: "token_expired",
      grant: { jti: "t1", sub: "ann" },
    });
  });

  test.each(["", "x", "a.b.c", "eyJ.eyJ.x", "x".repeat(10_000)])("garbage is refused: %.20s", async (token) => {
    await expect(verify(token)).rejects.toEqual(invalid);
  });

  test("no error message holds the token", async () => {
    const token = `${await sign(CLAIMS, { kid: "nope" })}`;
    const error = await verify(token).catch((e: Error) => e);
    expect(String((error as Error).message)).not.toContain(token.slice(0, 10));
  });
});

describe("TokenVerifier", () => {
  test("a remembered token expires like any other", async () => {
    const verifier = new TokenVerifier(keyring, RULES);
    const token = await sign(CLAIMS);
    const first = await verifier.verify(token, NOW_MS);
    expect(await verifier.verify(token, NOW_MS + 1000)).toBe(first);
    await expect(verifier.verify(token, NOW_MS + 311_000)).rejects.toMatchObject({ code: "token_expired" });
  });

  test("the memory is bounded: the oldest token is forgotten", async () => {
    const verifier = new TokenVerifier(keyring, RULES);
    const oldest = await verifier.verify(await sign(CLAIMS, { alg: "HS256", kid: "hs" }, SECRET), NOW_MS);
    for (let i = 0; i < 1000; i += 1) {
      await verifier.verify(await sign({ ...CLAIMS, jti: `j${i}` }, { alg: "HS256", kid: "hs" }, SECRET), NOW_MS);
    }
    const again = await verifier.verify(await sign(CLAIMS, { alg: "HS256", kid: "hs" }, SECRET), NOW_MS);
    expect(again).toEqual(oldest);
    expect(again).not.toBe(oldest);
  });
});

describe("scopeAllows", () => {
  test.each([
    [["ds/"], "ds/x", true],
    [["ds/"], "ds2/x", false],
    [["ds/"], "ds", false],
    [["ds"], "ds/x", false],
    [["ds/latest.json"], "ds/latest.json", true],
    [["ds/latest.json"], "ds/latest.json.bak", false],
    [["ds/releases/1/"], "ds/releases/10/x", false],
    [["a/", "b/c"], "b/c", true],
    [["/"], "ds/x", false],
    [[], "ds/x", false],
  ])("%j, %s: %s", (scopes, key, allowed) => {
    expect(scopeAllows(scopes, key)).toBe(allowed);
  });
});

test("a bound token needs a known address", () => {
  const boundTo = { base: { bits: 32 as const, value: 0n }, prefix: 0 };
  expect(addressAllowed(null, null)).toBe(true);
  expect(addressAllowed(boundTo, null)).toBe(false);
  expect(addressAllowed(boundTo, "no address")).toBe(false);
  expect(addressAllowed(boundTo, "192.0.2.1")).toBe(true);
});
