/** The keys that tokens may be signed with, by `kid`. The algorithm is a property of the key (RFC 8725 section 3.1). */

import { base64url, importJWK } from "jose";

export interface KeyringEntry {
  readonly kid: string;
  readonly algorithm: "EdDSA" | "HS256";
  readonly key: CryptoKey | Uint8Array;
}

export type Keyring = ReadonlyMap<string, KeyringEntry>;

/** HS256 needs a key of at least the hash's length (RFC 7518 section 3.2); jose accepts shorter ones. */
export const MIN_HMAC_KEY_BYTES = 32;

/**
 * Reads a JWK Set (RFC 7517): public Ed25519 keys with `alg: "EdDSA"`, or shared keys with `alg: "HS256"`.
 *
 * @throws Error that says which entry is wrong and why, without any of its key material.
 */
export async function loadKeyring(text: string): Promise<Keyring> {
  const keys = parsedKeys(text);
  const keyring = new Map<string, KeyringEntry>();
  for (const [index, jwk] of keys.entries()) {
    const entry = await loadEntry(jwk, index);
    if (keyring.has(entry.kid)) throw new Error(`kid '${entry.kid}' is there twice`);
    keyring.set(entry.kid, entry);
  }
  if (keyring.size === 0) throw new Error("it holds no key");
  return keyring;
}

function parsedKeys(text: string): unknown[] {
  let set: unknown;
  try {
    set = JSON.parse(text);
  } catch {
    throw new Error("it is not JSON");
  }
  const keys = isRecord(set) ? set["keys"] : undefined;
  if (!Array.isArray(keys)) throw new Error('it is no JWK Set: an object with an array "keys" is needed');
  return keys;
}

async function loadEntry(jwk: unknown, index: number): Promise<KeyringEntry> {
  if (!isRecord(jwk)) throw new Error(`entry ${index} is no JWK`);
  const { kid, kty, crv, alg, x, k, d } = jwk;
  if (typeof kid !== "string" || kid === "") throw new Error(`entry ${index} has no kid`);

  if (kty === "OKP" && crv === "Ed25519" && alg === "EdDSA" && typeof x === "string") {
    if (d !== undefined) throw new Error(`kid '${kid}' holds a private key: give the gateway public keys only`);
    return { kid, algorithm: alg, key: await importedEd25519(kid, x) };
  }
  if (kty === "oct" && alg === "HS256" && typeof k === "string") {
    const key = decodedSecret(kid, k);
    if (key.length < MIN_HMAC_KEY_BYTES) {
      throw new Error(`kid '${kid}' has ${key.length} bytes: HS256 needs ${MIN_HMAC_KEY_BYTES} or more`);
    }
    return { kid, algorithm: alg, key };
  }
  throw new Error(`kid '${kid}' is neither a public Ed25519 key with alg EdDSA nor an oct key with alg HS256`);
}

async function importedEd25519(kid: string, x: string): Promise<CryptoKey> {
  try {
    return (await importJWK({ kty: "OKP", crv: "Ed25519", x }, "EdDSA")) as CryptoKey;
  } catch {
    throw new Error(`kid '${kid}' is no Ed25519 public key`);
  }
}

function decodedSecret(kid: string, k: string): Uint8Array {
  try {
    return base64url.decode(k);
  } catch {
    throw new Error(`kid '${kid}' is not base64url`);
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
