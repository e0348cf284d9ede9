/** From method and URL to what is asked for. Pure. */

import type { DenylistEntry } from "./admin";
import { fileAskedFor } from "./files/target";
import type { AskedFile } from "./files/target";
import { keyFromPath, keyFromQuery, nameFromPath } from "./key";
import { DENIED_KINDS } from "./limits/interface";
import { Problem } from "./problem";

const OBJECT_METHODS = "GET, HEAD, OPTIONS";
const HEALTH_METHODS = "GET, HEAD";
const ADMIN_METHODS = "GET, HEAD, PUT, DELETE";
const ADMIN_PATH = /^\/admin\/denylist\/([^/]+)\/(.*)$/;

export type Route =
  | { readonly kind: "health" }
  | { readonly kind: "preflight"; readonly allowedMethods: string }
  /** `key()` checks and decodes, so that a caller sees the method refused first. */
  | { readonly kind: "object"; readonly key: () => string; readonly token: () => string }
  | { readonly kind: "file"; readonly file: () => AskedFile; readonly token: () => string }
  | { readonly kind: "admin"; readonly entry: () => DenylistEntry; readonly token: () => string };

/** @throws Problem `not_found` or `method_not_allowed` */
export function routeOf(request: Request): Route {
  const { pathname, search } = rawTarget(request.url);
  if (pathname === "/healthz") {
    requireMethod(request.method, HEALTH_METHODS);
    return { kind: "health" };
  }
  const admin = ADMIN_PATH.exec(pathname);
  if (admin !== null) {
    requireMethod(request.method, ADMIN_METHODS);
    const [, kind = "", value = ""] = admin;
    return { kind: "admin", entry: () => entryOf(kind, value), token: () => tokenOf(request, search, false) };
  }
  const isDownload = pathname === "/download";
  const isFile = pathname.startsWith("/f/");
  if (!isDownload && !isFile && !pathname.startsWith("/d/")) {
    throw new Problem(
      "not_found",
      "There is no such route: objects are at /d/{key}, files at /f/{dataset}/{version}/{path}.",
    );
  }
  requireMethod(request.method, OBJECT_METHODS);
  if (request.method === "OPTIONS") return { kind: "preflight", allowedMethods: OBJECT_METHODS };
  if (isFile) {
    const file = () => fileAskedFor(pathname.slice("/f/".length));
    return { kind: "file", file, token: () => tokenOf(request, search, false) };
  }
  return {
    kind: "object",
    key: () => (isDownload ? keyFromQuery(onlyValue(search, "key")) : keyFromPath(pathname.slice("/d/".length))),
    token: () => tokenOf(request, search, isDownload),
  };
}

/**
 * Path and query as they were sent. `new URL()` would resolve dot segments, and `URL.searchParams` would turn bytes that are
 * not UTF-8 into U+FFFD: both silently into another key than the one that was asked for.
 */
function rawTarget(url: string): { pathname: string; search: string } {
  const [, pathname = "", search = ""] = /^[a-z]+:\/\/[^/?#]*([^?#]*)(\?[^#]*)?/i.exec(url) ?? [];
  return { pathname, search };
}

function entryOf(kind: string, value: string): DenylistEntry {
  const known = DENIED_KINDS.find((name) => name === kind);
  if (known === undefined) throw new Problem("bad_request", `Deny one of ${DENIED_KINDS.join(", ")}.`);
  return { kind: known, value: nameFromPath(value) };
}

function requireMethod(method: string, allowed: string): void {
  if (!allowed.split(", ").includes(method)) {
    throw new Problem("method_not_allowed", `Use one of ${allowed}.`, { Allow: allowed });
  }
}

/** The one value of a query parameter, still encoded; empty if it is not there. */
function onlyValue(search: string, name: string): string {
  const values = valuesOf(search, name);
  if (new Set(values).size > 1) throw new Problem("bad_request", `The parameter '${name}' is there more than once.`);
  return values[0] ?? "";
}

function valuesOf(search: string, name: string): string[] {
  return search
    .slice(1)
    .split("&")
    .filter((pair) => pair.startsWith(`${name}=`))
    .map((pair) => pair.slice(name.length + 1));
}

function tokenOf(request: Request, search: string, isDownload: boolean): string {
  const candidates = new Set([...valuesOf(search, "token"), bearerToken(request.headers.get("Authorization"))]);
  candidates.delete("");
  const [token, ...others] = candidates;
  if (others.length > 0) throw new Problem("bad_request", "The request carries several tokens that differ.");
  if (token === undefined) {
    if (isDownload) throw new Problem("bad_request", "The parameter 'token' is missing.");
    throw new Problem("token_missing", "Send a token as ?token= or as 'Authorization: Bearer'.", {
      // RFC 6750 section 3.
      "WWW-Authenticate": 'Bearer realm="lading"',
    });
  }
  return token;
}

/** The token of a Bearer field (RFC 6750 section 2.1); empty where there is none. Scheme names are case-insensitive. */
function bearerToken(field: string | null): string {
  return /^bearer +(\S+)$/i.exec(field?.trim() ?? "")?.[1] ?? "";
}
