/** One request through the gateway, with an origin and effects that misbehave on purpose. */

import { beforeEach, describe, expect, test } from "vitest";

import "./testing/platform";

import { ConfigError } from "./config";
import type { RequestEvent } from "./events";
import { FileReader } from "./files/answer";
import type { Denylist, Ledgers } from "./limits/interface";
import { Limiter } from "./limits/limiter";
import { NO_COUNT } from "./limits/usage";
import { MetadataReader } from "./metadata";
import { OriginChanged, OriginError } from "./origin/interface";
import type { ObjectMetadata, Origin } from "./origin/interface";
import { serve } from "./serve";
import type { Effects, Gateway } from "./serve";
import { SLICE_BYTES } from "./slices/interface";
import { SliceReader } from "./slices/reader";
import type { TokenVerifier } from "./token";

const SIZE = 2 * SLICE_BYTES;
const STALL_MS = 100;
const metadata: ObjectMetadata = { size: SIZE, originEtag: '"v1"', lastModifiedMs: 0, sha256: null };
const grant = {
  kid: "k",
  jti: "j",
  sub: "s",
  project: null,
  scopes: ["ds/"],
  boundTo: null,
  maxBytes: null,
  expiresAt: 0,
};
const usage = { requests: NO_COUNT, bytes: NO_COUNT };
const ledgers: Ledgers = {
  report: async () => ({ sequence: 1, user: usage, token: { ...usage, bytes: 0, expiresAt: 0 }, denied: null }),
};
const limiterRules = {
  userRequestsPerMinute: 0,
  tokenRequestsPerMinute: 0,
  userBytesPerDay: 0,
  onFailure: "open",
} as const;
const denylist: Denylist = { put: async () => undefined, remove: async () => undefined, find: async () => null };

let events: RequestEvent[];
let reports: string[];
let deferred: Promise<unknown>[];

beforeEach(() => {
  [events, reports, deferred] = [[], [], []];
});

const bytes = (length: number) => new Blob([new Uint8Array(length)]).stream() as ReadableStream<Uint8Array>;
const good: Origin = {
  head: async (_key, use) => {
    use.requests += 1;
    return metadata;
  },
  read: async (_key, _metadata, range, use) => {
    use.requests += 1;
    use.bytes += range.length;
    return bytes(range.length);
  },
};

const effects: Effects = {
  now: () => 0,
  sleep: async () => undefined,
  newId: () => "id",
  defer: (work) => void deferred.push(work),
  emit: async (event) => void events.push(event),
  report: (message) => void reports.push(message),
};

/** Sends a request, reads the body as far as it comes, and gives the answer with its one event. */
async function answerOf(origin: Partial<Origin>, load?: () => Promise<Gateway>) {
  const gateway: Gateway = {
    config: {
      keyring: new Map(),
      tokenRules: { issuer: "", audience: "", maxLifetimeSeconds: 1 },
      ipLogging: { kind: "full" },
      clientIpSource: "none",
      limiterRules,
      origin: { kind: "r2" },
      sliceCache: "off",
      originStallMs: STALL_MS,
      fileDecodeMaxBytes: SIZE,
    },
    metadata: new MetadataReader({ ...good, ...origin }),
    slices: new SliceReader({ ...good, ...origin }, null, STALL_MS),
    files: new FileReader({ ...good, ...origin }),
    tokens: { verify: async () => grant } as unknown as TokenVerifier,
    limiter: new Limiter(limiterRules, ledgers),
    denylist,
  };
  const request = new Request("http://g/d/ds/x?token=t");
  const response = await serve(request, load ?? (async () => gateway), effects);
  const body = await bodyOf(response).catch(() => null);
  await Promise.all(deferred);
  expect(events).toHaveLength(1);
  return { response, body, event: events[0] };
}

/** A chunk's memory goes when the next one is asked for, as on the platform. */
async function bodyOf(response: Response): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of response.body ?? []) chunks.push(chunk.slice());
  return new Uint8Array(await new Blob(chunks).arrayBuffer());
}

describe("serve", () => {
  test("a body goes out slice by slice, and is counted", async () => {
    const { response, body, event } = await answerOf({});
    expect([response.status, body?.byteLength]).toEqual([200, SIZE]);
    expect(event).toMatchObject({ bytes_sent: SIZE, completed: true, origin_requests: 3, origin_bytes: SIZE });
  });

  test("an origin that fails before the body is a 502, and only the log learns why", async () => {
    const read = async () => Promise.reject(new OriginError("bucket secret-name is down"));
    const { response, body, event } = await answerOf({ read });
    expect(response.status).toBe(502);
    expect(new TextDecoder().decode(body ?? undefined)).not.toContain("secret-name");
    expect(reports.join()).toContain("secret-name");
    expect(event).toMatchObject({ code: "origin_error", status: 502, completed: true });
  });

  test("an origin that fails at a later slice breaks the body off, and the event says how far it came", async () => {
    const read: Origin["read"] = async (_key, _metadata, range) => {
      if (range.offset > 0) throw new OriginError("down");
      return bytes(range.length);
    };
    const { response, body, event } = await answerOf({ read });
    expect([response.status, body]).toEqual([200, null]);
    expect(event).toMatchObject({
      code: "origin_error",
      bytes_sent: SLICE_BYTES,
      bytes_expected: SIZE,
      completed: false,
    });
  });

  test("an object that is replaced between metadata and read is asked for once more", async () => {
    let version = 0;
    const head: Origin["head"] = async () => ({ ...metadata, originEtag: `"v${(version += 1)}"` });
    const read: Origin["read"] = async (_key, current, range) => {
      if (current.originEtag === '"v1"') throw new OriginChanged("changed");
      return bytes(range.length);
    };
    const { response } = await answerOf({ head, read });
    expect([response.status, response.headers.get("ETag")]).toEqual([200, '"v2"']);
  });

  test("an object that changes all the time is a 502, not an endless loop", async () => {
    const { response } = await answerOf({ read: async () => Promise.reject(new OriginChanged("changed")) });
    expect(response.status).toBe(502);
  });

  test("a wrong setting is a 500 that names the variable", async () => {
    const load = async () => Promise.reject(new ConfigError("LOG_IP", "'x' is none of full, prefix, hash"));
    const { response, event } = await answerOf({}, load);
    expect([response.status, event?.code]).toEqual([500, "misconfigured"]);
    expect(reports).toEqual(["configuration error in LOG_IP: 'x' is none of full, prefix, hash"]);
  });

  test("an unforeseen error shows nothing of itself to the client", async () => {
    const { body, event } = await answerOf({ head: async () => Promise.reject(new TypeError("inner detail")) });
    expect(event).toMatchObject({ status: 500, code: "internal_error" });
    expect(new TextDecoder().decode(body ?? undefined)).not.toContain("inner detail");
  });
});
