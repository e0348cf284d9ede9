/** Runs one case over a real socket and says what is wrong with the answer. */

import { zstdDecompressSync } from "node:zlib";

import type { Stack } from "../test/stack";
import type { Answer, Target } from "../test/target";
import type { Case, Span } from "./cases";
import { LATEST_KEY, OBJECTS, RELEASE, RELEASED, sha256Of } from "./objects";

const SECOND_MS = 1000;

/** Puts every object of the table into the store behind a gateway. */
export async function fillStore(target: Pick<Stack, "put">): Promise<void> {
  for (const [key, { bytes, recordsDigest }] of Object.entries(OBJECTS)) {
    await target.put(key, bytes, recordsDigest ? { "x-amz-meta-sha256": sha256Of(bytes) } : {});
  }
  for (const [key, bytes] of RELEASE.objects) await target.put(key, Buffer.from(bytes));
  await target.put(LATEST_KEY, Buffer.from('{"manifest_sha256":"","version":"v1"}\n'));
}

/** Gives one line for each expectation that does not hold. */
export async function mismatches(testCase: Case, target: Target): Promise<string[]> {
  const answer = await ask(testCase, target);
  const { expect } = testCase;
  const wrong: string[] = [];
  const statuses = typeof expect.status === "number" ? [expect.status] : expect.status;
  if (!statuses.includes(answer.status)) {
    wrong.push(`status is ${answer.status}, not ${statuses.join(" or ")}: ${answer.body.subarray(0, 300)}`);
  }
  for (const [name, value] of Object.entries(expect.headers ?? {})) {
    const found = answer.headers[name.toLowerCase()] ?? null;
    const holds = value instanceof RegExp ? found !== null && value.test(String(found)) : found === value;
    if (!holds) wrong.push(`${name} is ${found}, not ${value}`);
  }
  if (answer.status >= 400 && testCase.method !== "HEAD") wrong.push(...problemMismatches(answer, expect.code));
  if (expect.body !== undefined) wrong.push(...bodyMismatches(answer, expect.body, objectOf(testCase)));
  if (expect.frames !== undefined) {
    const frames = RELEASE.coded.get(testCase.file ?? "") ?? [];
    wrong.push(...bodyMismatches(answer, expect.frames, Buffer.concat(frames)));
    const decoded = Buffer.concat(frames.map((frame) => zstdDecompressSync(frame)));
    if (!decoded.equals(objectOf(testCase))) wrong.push("the frames are not the file");
  }
  // RFC 9110 section 15: an answer without a body has none whatever its length field says.
  const length = answer.headers["content-length"];
  if (length !== undefined && testCase.method !== "HEAD" && answer.status !== 304) {
    if (Number(length) !== answer.body.length)
      wrong.push(`Content-Length is ${length}, the body ${answer.body.length}`);
  }
  return wrong;
}

async function ask(testCase: Case, target: Target): Promise<Answer> {
  const { method = "GET", key, file, token } = testCase;
  const good = await goodToken(target);
  const path = testCase.target?.replaceAll("{token}", good) ?? pathOf(testCase);
  const headers: Record<string, string> = {};
  if (typeof token === "string") headers["Authorization"] = `Bearer ${token}`;
  else if (token !== null && (key !== undefined || file !== undefined || token !== undefined)) {
    headers["Authorization"] =
      `Bearer ${token === undefined ? good : await target.token({ scp: ["conf/"], ...token })}`;
  }
  Object.assign(headers, await withValidators(testCase, good, target));
  return target.send(method, path, headers);
}

const goodTokens = new WeakMap<Target, Promise<string>>();

function goodToken(target: Target): Promise<string> {
  const token = goodTokens.get(target) ?? target.token({ scp: ["conf/"] });
  goodTokens.set(target, token);
  return token;
}

function pathOf({ key, file }: Pick<Case, "key" | "file">): string {
  const path = file === undefined ? `d/${key ?? ""}` : `f/conf/v1/${file}`;
  return `/${path.split("/").map(encodeURIComponent).join("/")}`;
}

async function withValidators(testCase: Case, token: string, target: Target): Promise<Record<string, string>> {
  const { key, file, headers = {} } = testCase;
  const isPlain = !Object.values(headers).some((value) => value.includes("{"));
  if (isPlain || (key === undefined && file === undefined)) return { ...headers };
  const coding = headers["Accept-Encoding"];
  const { headers: shown } = await target.send("HEAD", pathOf(testCase), {
    Authorization: `Bearer ${token}`,
    ...(coding === undefined ? {} : { "Accept-Encoding": coding }),
  });
  const at = (seconds: number) =>
    new Date(Date.parse(String(shown["last-modified"])) + seconds * SECOND_MS).toUTCString();
  const values = { "{etag}": String(shown["etag"]), "{date}": at(0), "{date-1}": at(-1), "{date+1}": at(1) };
  return Object.fromEntries(
    Object.entries(headers).map(([name, text]) => [
      name,
      Object.entries(values).reduce((filled, [placeholder, value]) => filled.replaceAll(placeholder, value), text),
    ]),
  );
}

function objectOf(testCase: Case): Buffer {
  if (testCase.file !== undefined) {
    const released = Object.entries(RELEASED).find(([path]) => path === testCase.file)?.[1].content;
    return Buffer.isBuffer(released) ? released : Buffer.alloc(0);
  }
  return OBJECTS[testCase.key ?? ""]?.bytes ?? Buffer.alloc(0);
}

function problemMismatches(answer: Answer, code: string | undefined): string[] {
  const wrong: string[] = [];
  if (answer.headers["content-type"] !== "application/problem+json") wrong.push("it is no problem document");
  const document = JSON.parse(answer.body.toString());
  if (code !== undefined && document.code !== code) wrong.push(`code is ${document.code}, not ${code}`);
  if (document.status !== answer.status)
    wrong.push(`the document says ${document.status}, the answer ${answer.status}`);
  if (document.request_id !== answer.headers["x-request-id"]) wrong.push("request_id differs from X-Request-Id");
  return wrong;
}

function bodyMismatches(answer: Answer, body: "whole" | "nothing" | Span | readonly Span[], object: Buffer): string[] {
  if (body === "nothing") return answer.body.length === 0 ? [] : [`the body has ${answer.body.length} bytes, not 0`];
  if (body === "whole") return answer.body.equals(object) ? [] : ["the body is not the object"];
  if (isSpan(body)) return answer.body.equals(cut(object, body)) ? [] : ["the body is not the range"];
  return multipartMismatches(answer, body, object);
}

function isSpan(body: Span | readonly Span[]): body is Span {
  return typeof body[0] === "number";
}

const cut = (object: Buffer, [first, last]: Span) => object.subarray(first, last + 1);

/** Reads multipart/byteranges strictly: RFC 2046 section 5.1.1, RFC 9110 section 14.6. */
function multipartMismatches(answer: Answer, spans: readonly Span[], object: Buffer): string[] {
  const boundary = /boundary=(\S+)$/.exec(String(answer.headers["content-type"]))?.[1];
  if (boundary === undefined) return ["there is no boundary"];
  const expected = Buffer.concat([
    ...spans.flatMap((span, index) => {
      const type = /\.zst$/.test(keyNameOf(object)) ? "application/zstd" : "application/octet-stream";
      const head =
        `${index === 0 ? "" : "\r\n"}--${boundary}\r\nContent-Type: ${type}\r\n` +
        `Content-Range: bytes ${span[0]}-${span[1]}/${object.length}\r\n\r\n`;
      return [Buffer.from(head), cut(object, span)];
    }),
    Buffer.from(`\r\n--${boundary}--\r\n`),
  ]);
  return answer.body.equals(expected) ? [] : ["the multipart body is not the parts that were asked for, in order"];
}

function keyNameOf(object: Buffer): string {
  return Object.entries(OBJECTS).find(([, { bytes }]) => bytes === object)?.[0] ?? "";
}
