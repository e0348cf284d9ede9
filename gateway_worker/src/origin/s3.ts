/** Origin over a private S3 endpoint: path-style URLs, signature version 4, a key that needs to read only. */

import { AwsClient } from "aws4fetch";

import type { ByteRange } from "../range";
import { remember } from "../remember";
import { OriginChanged, OriginError, SHA256_HEX } from "./interface";
import type { ObjectMetadata, Origin, OriginUse } from "./interface";

export interface S3Settings {
  readonly endpoint: string;
  readonly bucket: string;
  readonly region: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** The answer's header must be there within this time, ms. */
  readonly answerTimeoutMs: number;
}

/** Nothing was handed out yet, so that asking again is safe; more often would hide an outage. */
const MAX_ATTEMPTS = 2;
const RETRY_DELAY_MS = 200;
const RETRIED_STATUS: ReadonlySet<number> = new Set([429, 500, 502, 503, 504]);

/**
 * A signature is used again for the same object for so long, ms: stores take one for 15 minutes, and signing costs more than
 * all the rest of a small request. It covers method and object alone; the fields that a request adds are not secret.
 */
const SIGNATURE_MS = 60_000;
const MAX_SIGNATURES = 2000;

interface Signature {
  readonly url: string;
  readonly headers: Headers;
  readonly until: number;
}

export class S3Origin implements Origin {
  readonly #settings: S3Settings;
  readonly #client: AwsClient;
  readonly #signatures = new Map<string, Signature>();

  constructor(settings: S3Settings) {
    this.#settings = settings;
    const { accessKeyId, secretAccessKey, region } = settings;
    this.#client = new AwsClient({ accessKeyId, secretAccessKey, region, service: "s3" });
  }

  async head(key: string, use: OriginUse): Promise<ObjectMetadata | null> {
    const { status, headers } = await this.#send("HEAD", key, {}, use);
    if (status === 404) return null;
    if (status !== 200) throw new OriginError(`HEAD answered ${status}`);
    const [length, etag, modified] = [headers.get("Content-Length"), headers.get("ETag"), headers.get("Last-Modified")];
    const lastModifiedMs = Date.parse(modified ?? "");
    if (!/^\d+$/.test(length ?? "") || etag === null || Number.isNaN(lastModifiedMs)) {
      throw new OriginError("HEAD answered without Content-Length, ETag or Last-Modified");
    }
    requireIdentity(headers);
    const recorded = headers.get("x-amz-meta-sha256") ?? "";
    return {
      size: Number(length),
      originEtag: etag,
      lastModifiedMs,
      sha256: SHA256_HEX.test(recorded) ? recorded : null,
    };
  }

  async read(
    key: string,
    metadata: ObjectMetadata,
    range: ByteRange,
    use: OriginUse,
  ): Promise<ReadableStream<Uint8Array>> {
    const last = range.offset + range.length - 1;
    const conditions = { Range: `bytes=${range.offset}-${last}`, "If-Match": metadata.originEtag };
    const response = await this.#send("GET", key, conditions, use);
    try {
      checkPart(response, metadata, `bytes ${range.offset}-${last}/${metadata.size}`, range.length);
    } catch (error) {
      await response.body?.cancel();
      throw error;
    }
    use.bytes += range.length;
    return response.body!;
  }

  /** Sends, and once more after a failure that a second try may mend. @throws OriginError */
  async #send(method: string, key: string, headers: Record<string, string>, use: OriginUse): Promise<Response> {
    for (let attempt = 1; ; attempt += 1) {
      const isLast = attempt === MAX_ATTEMPTS;
      use.requests += 1;
      try {
        const response = await this.#sendOnce(method, key, headers);
        use.status = response.status;
        if (isLast || !RETRIED_STATUS.has(response.status)) return response;
        await response.body?.cancel();
      } catch (error) {
        use.status = null;
        if (isLast)
          throw new OriginError(`${method} failed: ${error instanceof Error ? error.message : String(error)}`);
      }
      await new Promise((done) => setTimeout(done, RETRY_DELAY_MS));
    }
  }

  async #sendOnce(method: string, key: string, headers: Record<string, string>): Promise<Response> {
    const { answerTimeoutMs } = this.#settings;
    const { url, headers: signed } = await this.#signature(method, key);
    const fields = new Headers(signed);
    fields.set("Accept-Encoding", "identity");
    for (const [name, value] of Object.entries(headers)) fields.set(name, value);
    const timeout = new AbortController();
    const timer = setTimeout(() => timeout.abort(new Error("timed out")), answerTimeoutMs);
    try {
      return await fetch(url, { method, headers: fields, signal: timeout.signal, redirect: "manual" });
    } finally {
      clearTimeout(timer);
    }
  }

  async #signature(method: string, key: string): Promise<Signature> {
    const name = `${method} ${key}`;
    const known = this.#signatures.get(name);
    if (known !== undefined && Date.now() < known.until) return known;
    const { endpoint, bucket } = this.#settings;
    const path = key.split("/").map(encodeURIComponent).join("/");
    const until = Date.now() + SIGNATURE_MS;
    const { url, headers } = await this.#client.sign(`${endpoint}/${bucket}/${path}`, { method });
    const signature = { url, headers, until };
    remember(this.#signatures, name, signature, MAX_SIGNATURES);
    return signature;
  }
}

/** An answer that is not exactly the part that was asked for must never reach a client. */
function checkPart(response: Response, { originEtag }: ObjectMetadata, contentRange: string, length: number): void {
  const { status, headers } = response;
  if (status === 412 || status === 404 || status === 416) {
    throw new OriginChanged(`the object changed since its metadata was read: GET answered ${status}`);
  }
  if (status !== 206) throw new OriginError(`GET of a range answered ${status}`);
  if (headers.get("ETag") !== originEtag) throw new OriginChanged("GET answered with another ETag");
  if (headers.get("Content-Range") !== contentRange) {
    throw new OriginError(`GET answered with Content-Range ${headers.get("Content-Range")}, not ${contentRange}`);
  }
  // With a length, workerd itself fails a body that ends too early; without one a short body would pass as whole.
  if (headers.get("Content-Length") !== String(length)) throw new OriginError("GET answered with another length");
  requireIdentity(headers);
}

/** workerd would decode the body, and length and digest would be those of other bytes. */
function requireIdentity(headers: Headers): void {
  const coding = headers.get("Content-Encoding");
  if (coding !== null && coding !== "identity") throw new OriginError(`the object is stored with coding ${coding}`);
}
