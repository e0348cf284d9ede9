/** Answers a request for one file of a release: finds it, chooses its form, and takes it out of its shards. */

import { openBody } from "../body";
import type { OpenedBody, OpenSlice } from "../body";
import { recordKey, recordRange } from "../events";
import type { RequestEvent } from "../events";
import { wholeSeconds } from "../http_date";
import { OriginChanged, OriginError } from "../origin/interface";
import type { ObjectMetadata, Origin } from "../origin/interface";
import { ifRangeHolds } from "../preconditions";
import { Problem } from "../problem";
import { decideRange } from "../range";
import type { ByteRange } from "../range";
import { planRepresentation } from "../representation";
import type { Plan, Representation } from "../representation";
import type { Answer, Effects, Gateway, Sources } from "../serve";
import { scopeAllows } from "../token";
import type { Grant } from "../token";
import { DecodeBudget } from "./budget";
import { codedContent, decodedContent, memoryOf } from "./content";
import type { OpenShard } from "./content";
import { FrameMemory } from "./frames";
import { LookupReader } from "./lookup";
import type { LookupObject, Span } from "./lookup";
import type { FileEntry } from "./lookup_format";
import { acceptEncodingOf, chooseCoding, parseAcceptEncoding } from "./negotiation";
import { PageReader } from "./pages";
import { LATEST, ReleaseReader, signatureKey } from "./releases";
import { logicalKey } from "./target";
import type { AskedFile } from "./target";

/** What an isolate remembers of releases and their lookups. */
export class FileReader {
  readonly releases: ReleaseReader;
  readonly lookups: LookupReader;
  readonly budget = new DecodeBudget();
  readonly frames = new FrameMemory();

  constructor(origin: Origin) {
    this.releases = new ReleaseReader(origin);
    this.lookups = new LookupReader(new PageReader(origin));
  }
}

export interface FileRequest {
  readonly request: Request;
  readonly asked: AskedFile;
  readonly grant: Grant;
  readonly gateway: Gateway;
  readonly event: RequestEvent;
  readonly sources: Sources;
  readonly charge: (bytes: number) => void;
  readonly effects: Effects;
}

/** What was remembered may be gone by now: then it is read anew, once. */
const MAX_ATTEMPTS = 2;

/** The form depends on it, whatever the status (RFC 9110 section 12.5.5). */
const VARY = { Vary: "Accept-Encoding" };

/**
 * @throws Problem `key_not_allowed`, `not_found`, `not_acceptable`, `precondition_failed`, `range_not_satisfiable`,
 *   `quota_exceeded`; OriginError
 */
export async function answerFile(file: FileRequest): Promise<Answer> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await answerOnce(file);
    } catch (error) {
      if (error instanceof Problem) throw new Problem(error.code, error.message, { ...error.headers, ...VARY });
      if (!(error instanceof OriginChanged) || attempt === MAX_ATTEMPTS) throw error;
      file.gateway.files.releases.forget(file.asked.dataset);
    }
  }
}

async function answerOnce(file: FileRequest): Promise<Answer> {
  const { request, gateway, event, sources, charge } = file;
  const { lookup, promotedMs } = await openRelease(file);
  requireScope(file.grant, lookup.key);
  const entry = await findFile(file, lookup);
  const described = {
    key: file.asked.path,
    lastModifiedMs: wholeSeconds(promotedMs ?? modifiedMs(entry, lookup.metadata)),
  };
  const identity = { ...described, sha256: entry.sha256, etag: `"${entry.sha256}"`, size: entry.size };
  const spans = await gateway.files.lookups.spans(lookup, entry, sources.origin);
  const coded = spans === null ? null : codedForm(described, entry, spans);
  const selected = select(request, identity, coded, gateway.config.fileDecodeMaxBytes);

  event.object_size = selected.size;
  const plan = withoutSeveralRanges(request, selected, event.id);
  plan.headers.set("Vary", VARY.Vary);
  if (selected === coded) plan.headers.set("Content-Encoding", "zstd");
  if (selected === identity) requireDecodable(plan, entry.size, gateway.config.fileDecodeMaxBytes);
  const content = await contentOf(file, lookup, entry, selected === coded ? spans : null, plan);
  charge(plan.bodyLength);
  if (plan.status === 304) event.code = "not_modified";
  event.bytes_expected = plan.bodyLength;
  if (plan.singleRange !== null) recordRange(event, plan.singleRange);
  return {
    status: plan.status,
    headers: plan.headers,
    body: content === null ? null : await opened(file, plan, content),
  };
}

/** The body, with the room that its decoding takes until it has ended. */
async function opened({ gateway, effects }: FileRequest, plan: Plan, content: Content): Promise<OpenedBody> {
  if (content.memory === 0) return openBody(plan, content.open);
  const release = await gateway.files.budget.reserve(content.memory, effects.sleep);
  try {
    const body = await openBody(plan, content.open);
    return { content: body.content, finished: body.finished.finally(release) };
  } catch (error) {
    release();
    throw error;
  }
}

interface Content {
  readonly open: OpenSlice;
  /** Bytes that it holds in memory at most, about; 0: it passes through. */
  readonly memory: number;
}

interface OpenedRelease {
  readonly lookup: LookupObject;
  /** Where the promoted release was asked for: when it was promoted, ms since the epoch. */
  readonly promotedMs: number | null;
}

/**
 * The release, if the token covers it: whoever may read its signature and its lookup by `/d/` may ask for its files, so
 * that this route shows nothing which `/d/` does not.
 */
async function openRelease(file: FileRequest): Promise<OpenedRelease> {
  const { asked, grant, gateway, event, sources, effects } = file;
  const { dataset } = asked;
  let { version } = asked;
  let promotedMs: number | null = null;
  if (version === LATEST) {
    // What is promoted is told only to who may read something of the dataset.
    if (!grant.scopes.some((scope) => scope.startsWith(`${dataset}/`))) throw notAllowed();
    const promotion = await gateway.files.releases.latest(dataset, sources.origin, effects.now());
    if (promotion === null) throw new Problem("not_found", "The dataset has no promoted release.");
    ({ version, promotedMs } = promotion);
    recordKey(event, logicalKey({ ...asked, version }));
  }
  requireScope(grant, signatureKey(dataset, version));
  const release = await gateway.files.releases.open(dataset, version, sources.origin, effects.now());
  if (release === null) throw new Problem("not_found", "There is no such release.");
  if (release.lookup === null) {
    throw new Problem(
      "not_found",
      "The release has no lookup, which older ones lack: use 'lading pull' or 'lading cat'.",
    );
  }
  return { lookup: release.lookup, promotedMs };
}

async function findFile({ asked, gateway, sources }: FileRequest, lookup: LookupObject): Promise<FileEntry> {
  const entry = await gateway.files.lookups.find(lookup, asked.path, sources.origin);
  switch (entry?.kind) {
    case undefined:
      throw new Problem("not_found", "The release has no file of this path.");
    case "folder":
      throw new Problem("not_found", "The path is that of a folder.");
    case "dangling":
      throw new Problem("not_found", "The path is that of a link which leads to no file of the release.");
    case "file":
      return entry;
  }
}

/**
 * A file's own time, where it can be: below `latest` the time of promotion stands for it, as a file that changed with the
 * promoted release may have kept its time, or have an older one after a way back.
 */
function modifiedMs({ mtime }: FileEntry, lookup: ObjectMetadata): number {
  // No field may tell a time in the future (RFC 9110 section 8.8.2.1).
  return Math.min(mtime * 1000, lookup.lastModifiedMs);
}

/** The stored frames. Their own digest is not known, and a digest of the file would be one of other bytes (RFC 9530). */
function codedForm(
  described: Pick<Representation, "key" | "lastModifiedMs">,
  { sha256 }: FileEntry,
  spans: readonly Span[],
): Representation {
  const size = spans.reduce((sum, span) => sum + span.length, 0);
  return { ...described, sha256: null, etag: `"${sha256}-zstd"`, size };
}

/**
 * Chooses the form. A range is one of the file's own bytes, as many clients send Accept-Encoding with any request; a range
 * of the frames is for who names them in If-Range.
 */
function select(
  request: Request,
  identity: Representation,
  coded: Representation | null,
  maxBytes: number,
): Representation {
  const ifRange = request.headers.get("If-Range");
  const accepted = parseAcceptEncoding(acceptEncodingOf(request));
  if (coded !== null && accepted.zstd > 0 && ifRange?.trim() === coded.etag) return coded;
  const decision = decideRange(request.headers.get("Range"), identity.size);
  const isOne = decision.kind === "unsatisfiable" || (decision.kind === "ranges" && decision.ranges.length === 1);
  const coding = chooseCoding({
    accepted,
    hasFrames: coded !== null,
    wantsRange: request.method === "GET" && isOne && ifRangeHolds(ifRange, identity),
    // HEAD decodes nothing, and ranges of a file of any size can be had: it tells the size.
    mayDecode: request.method === "HEAD" || identity.size <= maxBytes,
  });
  if (coding === "zstd" && coded !== null) return coded;
  if (coding === "identity") return identity;
  if (accepted.identity === 0) {
    throw new Problem(
      "not_acceptable",
      "The file can be had only without a content coding, which the request rules out.",
    );
  }
  throw notAcceptable(coded !== null, identity.size, maxBytes);
}

/** Several ranges answer as the whole file: each part would have to be decoded beside the others. */
function withoutSeveralRanges(request: Request, selected: Representation, requestId: string): Plan {
  const plan = planRepresentation(request, selected, requestId);
  if (plan.parts.length <= 1) return plan;
  const headers = new Headers(request.headers);
  headers.delete("Range");
  return planRepresentation(new Request(request.url, { method: request.method, headers }), selected, requestId);
}

function requireDecodable(plan: Plan, size: number, maxBytes: number): void {
  if (plan.bodyLength > maxBytes) throw notAcceptable(false, size, maxBytes);
}

function notAcceptable(hasFrames: boolean, size: number, maxBytes: number): Problem {
  const ways = hasFrames ? "accept zstd ('Accept-Encoding: zstd', 'curl --compressed'), ask for" : "ask for";
  return new Problem(
    "not_acceptable",
    `The file has ${size} bytes, and what the request accepts would have to be decoded here, which is done up to ` +
      `${maxBytes} bytes: ${ways} ranges up to that length, or use 'lading pull' or 'lading cat'.`,
  );
}

/** What the plan's ranges are read from; null where no byte is. @throws Problem `key_not_allowed` */
async function contentOf(
  file: FileRequest,
  lookup: LookupObject,
  entry: FileEntry,
  spans: readonly Span[] | null,
  plan: Plan,
): Promise<Content | null> {
  const { gateway, sources } = file;
  const range: ByteRange = plan.parts[0]?.range ?? { offset: 0, length: 0 };
  const pieces = spans === null ? await gateway.files.lookups.pieces(lookup, entry, range, sources.origin) : [];
  const shards = new Set([...(spans ?? []), ...pieces].map(({ shard }) => shard));
  for (const shard of shards) requireScope(file.grant, shardKey(file.asked.dataset, shard));
  if (range.length === 0) return null;
  const openShard = shardOpener(file);
  if (spans !== null) return { open: codedContent(spans, openShard), memory: 0 };
  const whole = range.length === entry.size ? entry.sha256 : null;
  const open = decodedContent(pieces, whole, entry.size, openShard, gateway.files.frames.of(file.asked.dataset));
  return { open, memory: memoryOf(pieces) };
}

const shardKey = (dataset: string, sha256: string) => `${dataset}/shards/${sha256}.tar.zst`;

function shardOpener({ asked, gateway, sources, effects }: FileRequest): OpenShard {
  return async (shard, slice) => {
    const key = shardKey(asked.dataset, shard);
    const metadata = await gateway.metadata.head(key, sources.origin, effects.now());
    if (metadata === null) throw new OriginError(`the release names a shard that is not there: ${key}`);
    if (slice.offset + slice.length > metadata.size)
      throw new OriginError(`the lookup points beyond the end of ${key}`);
    try {
      return await gateway.slices.open(key, metadata, slice, sources.origin, sources.cache, effects);
    } catch (error) {
      if (error instanceof OriginChanged) gateway.metadata.forget(key);
      throw error;
    }
  };
}

function requireScope(grant: Grant, key: string): void {
  if (!scopeAllows(grant.scopes, key)) throw notAllowed();
}

function notAllowed(): Problem {
  return new Problem(
    "key_not_allowed",
    "The token's scope does not cover this file: its release, and the shards it lies in.",
  );
}
