/** Object keys: decoded once, checked once, and compared only in decoded form ever after. */

import { Problem } from "./problem";

/** Longest key that R2 and S3 accept, in bytes of UTF-8. */
export const MAX_KEY_BYTES = 1024;

/** Longest path of a file, bytes of UTF-8: what Linux allows (PATH_MAX). */
export const MAX_FILE_PATH_BYTES = 4096;

// C0 controls with NUL, and DEL: no release key holds one, and they corrupt logs and headers.
const CONTROL_CHARACTER = /[\u0000-\u001f\u007f]/;

/**
 * Decodes and checks the key of `/d/{key}`, given as it stands in the request's path.
 *
 * @throws Problem `bad_request`, when the percent-encoding is broken or not UTF-8, or the key is no clean path.
 */
export function keyFromPath(encoded: string): string {
  return checkedKey(percentDecoded(encoded));
}

/** The same for a query parameter, where `+` stands for a space (WHATWG URL, application/x-www-form-urlencoded). */
export function keyFromQuery(encoded: string): string {
  return checkedKey(percentDecoded(encoded.replaceAll("+", " ")));
}

/** The name at the end of an admin route: one segment, decoded. @throws Problem `bad_request` */
export function nameFromPath(encoded: string): string {
  const name = percentDecoded(encoded);
  if (encoded === "" || encoded.includes("/") || CONTROL_CHARACTER.test(name)) {
    throw new Problem("bad_request", "The route must end in one name.");
  }
  return name;
}

/** The same for `{dataset}/{version}/{path}` of `/f/`: paths of files may be longer than keys. @throws Problem `bad_request` */
export function filePathFromPath(encoded: string): string {
  return checkedKey(percentDecoded(encoded), MAX_FILE_PATH_BYTES);
}

/** First segment of a key: the dataset that it belongs to. */
export function datasetOf(key: string): string {
  return key.slice(0, (key + "/").indexOf("/"));
}

/** Last segment of a key: the file name that a client would save it under. */
export function fileNameOf(key: string): string {
  return key.slice(key.lastIndexOf("/") + 1);
}

function percentDecoded(encoded: string): string {
  try {
    // Strict: throws on a broken escape and on bytes that are not UTF-8, overlong forms included.
    return decodeURIComponent(encoded);
  } catch {
    throw new Problem("bad_request", "The key is not valid percent-encoded UTF-8.");
  }
}

function checkedKey(key: string, maxBytes = MAX_KEY_BYTES): string {
  if (key === "") throw new Problem("bad_request", "The key is missing.");
  if (new TextEncoder().encode(key).length > maxBytes) {
    throw new Problem("bad_request", `The key is longer than ${maxBytes} bytes.`);
  }
  if (CONTROL_CHARACTER.test(key)) throw new Problem("bad_request", "The key holds a control character.");
  for (const segment of key.split("/")) {
    if (segment === "") {
      throw new Problem("bad_request", "The key must not begin or end with a slash, nor hold two in a row.");
    }
    if (segment === "." || segment === "..") {
      throw new Problem("bad_request", "The key must not hold the segments '.' and '..'.");
    }
  }
  return key;
}
