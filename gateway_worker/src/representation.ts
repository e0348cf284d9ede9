/** What to answer about an object that exists: status, header fields and body parts. Pure. */

import { contentTypeOf, representationHeaders } from "./headers";
import type { DescribedObject } from "./headers";
import { wholeSeconds } from "./http_date";
import { digestInName } from "./metadata";
import type { ObjectMetadata } from "./origin/interface";
import { evaluatePreconditions, ifRangeHolds } from "./preconditions";
import { Problem } from "./problem";
import { contentRange, decideRange } from "./range";
import type { ByteRange } from "./range";

/** A range of the object, after the framing that goes before it (multipart only). */
export interface BodyPart {
  readonly framing: Uint8Array | null;
  readonly range: ByteRange;
}

export interface Plan {
  readonly status: 200 | 206 | 304;
  readonly headers: Headers;
  readonly parts: readonly BodyPart[];
  /** Bytes after the last part (multipart only). */
  readonly closing: Uint8Array | null;
  /** Bytes of the whole body, as Content-Length promises; 0 where no body is sent. */
  readonly bodyLength: number;
  /** The range that a plain 206 carries. */
  readonly singleRange: ByteRange | null;
}

/** What of a representation an answer depends on; `size` in bytes. */
export interface Representation extends DescribedObject {
  readonly size: number;
}

/** The plan for an object of the store. @throws as `planRepresentation` */
export function planResponse(request: Request, key: string, metadata: ObjectMetadata, requestId: string): Plan {
  const sha256 = metadata.sha256 ?? digestInName(key);
  const etag = sha256 === null ? metadata.originEtag : `"${sha256}"`;
  const lastModifiedMs = wholeSeconds(metadata.lastModifiedMs);
  return planRepresentation(request, { key, sha256, etag, lastModifiedMs, size: metadata.size }, requestId);
}

/**
 * Decides on GET or HEAD: preconditions, If-Range, Range, in this order (RFC 9110 section 13.2.2).
 *
 * @throws Problem `precondition_failed` or `range_not_satisfiable`
 */
export function planRepresentation(request: Request, selected: Representation, requestId: string): Plan {
  const { key, size, ...validators } = selected;
  const headers = representationHeaders(requestId, selected);

  switch (evaluatePreconditions(request.headers, validators)) {
    case "precondition_failed":
      throw new Problem("precondition_failed", "The object is not the version that the request names.", {
        ETag: validators.etag,
      });
    case "not_modified":
      return { status: 304, headers, parts: [], closing: null, bodyLength: 0, singleRange: null };
    case "proceed":
  }

  headers.set("Content-Type", contentTypeOf(key));
  // Range has a meaning for GET alone (RFC 9110 section 14.2).
  const rangeCounts = request.method === "GET" && ifRangeHolds(request.headers.get("If-Range"), validators);
  const decision = rangeCounts ? decideRange(request.headers.get("Range"), size) : { kind: "whole" as const };

  if (decision.kind === "unsatisfiable") {
    throw new Problem("range_not_satisfiable", `The object has ${size} bytes.`, {
      "Accept-Ranges": "bytes",
      "Content-Range": `bytes */${size}`,
    });
  }
  if (decision.kind === "whole") {
    headers.set("Content-Length", String(size));
    const parts =
      size === 0 || request.method === "HEAD" ? [] : [{ framing: null, range: { offset: 0, length: size } }];
    return { status: 200, headers, parts, closing: null, bodyLength: parts.length === 0 ? 0 : size, singleRange: null };
  }
  const [first, ...others] = decision.ranges;
  if (others.length === 0) {
    headers.set("Content-Range", contentRange(first, size));
    headers.set("Content-Length", String(first.length));
    const parts = [{ framing: null, range: first }];
    return { status: 206, headers, parts, closing: null, bodyLength: first.length, singleRange: first };
  }
  return multipartPlan(headers, decision.ranges, key, size, requestId);
}

/** multipart/byteranges, RFC 9110 section 14.6. The request's id is a boundary that occurs in no object by chance. */
function multipartPlan(
  headers: Headers,
  ranges: readonly ByteRange[],
  key: string,
  size: number,
  requestId: string,
): Plan {
  const utf8 = new TextEncoder();
  const parts = ranges.map((range, index) => ({
    framing: utf8.encode(
      `${index === 0 ? "" : "\r\n"}--${requestId}\r\n` +
        `Content-Type: ${contentTypeOf(key)}\r\nContent-Range: ${contentRange(range, size)}\r\n\r\n`,
    ),
    range,
  }));
  const closing = utf8.encode(`\r\n--${requestId}--\r\n`);
  const bodyLength = parts.reduce((sum, part) => sum + part.framing.length + part.range.length, closing.length);
  headers.set("Content-Type", `multipart/byteranges; boundary=${requestId}`);
  headers.set("Content-Length", String(bodyLength));
  return { status: 206, headers, parts, closing, bodyLength, singleRange: null };
}
