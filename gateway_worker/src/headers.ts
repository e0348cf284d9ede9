/** Response header fields. They are made here and nowhere else: nothing that an origin sends passes through. */

import { formatHttpDate } from "./http_date";
import { fileNameOf } from "./key";

/** Request fields that a page of another site may send (Fetch standard, CORS). */
const CORS_REQUEST_FIELDS =
  "Authorization, Range, If-Range, If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since";

/** Response fields that a page of another site may read. */
const CORS_RESPONSE_FIELDS =
  "Accept-Ranges, Content-Disposition, Content-Length, Content-Range, ETag, Last-Modified, Repr-Digest, X-Request-Id";

/** Seconds that a browser may remember a preflight. */
const CORS_MAX_AGE_SECONDS = 86_400;

/**
 * Content types by the end of the name. Cloudflare's edge and `wrangler dev` compress JSON, text and *missing* types on
 * the fly, 206 included, and then drop Content-Length. A type that neither of them touches keeps bytes, length and
 * digest what the manifest says: so JSON is octet-stream here, as every file of a release is a download.
 */
const CONTENT_TYPES: readonly (readonly [suffix: string, type: string])[] = [
  [".zst", "application/zstd"],
  [".parquet", "application/vnd.apache.parquet"],
];
const DEFAULT_CONTENT_TYPE = "application/octet-stream";

export const PROBLEM_CONTENT_TYPE = "application/problem+json";

/** Characters that RFC 8187 allows unescaped in `filename*`, of those that encodeURIComponent leaves. */
const NOT_ATTR_CHARS = /['()*]/g;

/** Fields of every response. */
export function commonHeaders(requestId: string): Headers {
  return new Headers({
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": CORS_RESPONSE_FIELDS,
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Request-Id": requestId,
  });
}

/** Fields of the answer to OPTIONS: a CORS preflight, or a question for the methods. */
export function preflightHeaders(requestId: string, allowedMethods: string): Headers {
  const headers = commonHeaders(requestId);
  headers.set("Allow", allowedMethods);
  headers.set("Access-Control-Allow-Methods", allowedMethods);
  headers.set("Access-Control-Allow-Headers", CORS_REQUEST_FIELDS);
  headers.set("Access-Control-Max-Age", String(CORS_MAX_AGE_SECONDS));
  return headers;
}

export interface DescribedObject {
  readonly key: string;
  readonly etag: string;
  /** ms since the epoch, whole seconds. */
  readonly lastModifiedMs: number;
  /** SHA-256 in hex, where known. */
  readonly sha256: string | null;
}

/** Fields that describe the selected representation, on 200, 206 and 304 alike (RFC 9110 section 15.4.5). */
export function representationHeaders(requestId: string, object: DescribedObject): Headers {
  const headers = commonHeaders(requestId);
  headers.set("Accept-Ranges", "bytes");
  // private: the answer depends on the token. no-transform: the bytes are hashed by the client.
  headers.set("Cache-Control", "private, no-transform");
  headers.set("Content-Disposition", contentDisposition(fileNameOf(object.key)));
  headers.set("ETag", object.etag);
  headers.set("Last-Modified", formatHttpDate(object.lastModifiedMs));
  // The digest of the whole representation, whatever part is sent (RFC 9530 section 3).
  if (object.sha256 !== null) headers.set("Repr-Digest", `sha-256=:${base64FromHex(object.sha256)}:`);
  return headers;
}

export function contentTypeOf(key: string): string {
  return CONTENT_TYPES.find(([suffix]) => key.endsWith(suffix))?.[1] ?? DEFAULT_CONTENT_TYPE;
}

/** RFC 6266: a plain form for all, and where the name is more than plain ASCII an exact form for those who read it. */
export function contentDisposition(fileName: string): string {
  const plain = fileName.replace(/[^\u0020-\u007e]|["\\%]/g, "_");
  if (plain === fileName) return `attachment; filename="${plain}"`;
  // A lone surrogate cannot occur: the key was decoded from UTF-8.
  const exact = encodeURIComponent(fileName).replace(
    NOT_ATTR_CHARS,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
  return `attachment; filename="${plain}"; filename*=UTF-8''${exact}`;
}

function base64FromHex(hex: string): string {
  const bytes = hex.match(/../g) ?? [];
  return btoa(bytes.map((byte) => String.fromCharCode(parseInt(byte, 16))).join(""));
}
