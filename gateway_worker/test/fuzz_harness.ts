/**
 * The gateway's decisions without a gateway: one JSON question a line on stdin, one JSON answer a line on stdout. A fuzzer in
 * another language asks a hundred thousand in seconds, and compares with rules of its own.
 */

import { createInterface } from "node:readline";

import { keyFromPath } from "../src/key";
import { Problem } from "../src/problem";
import { planResponse } from "../src/representation";

interface Question {
  readonly method: "GET" | "HEAD";
  /** Percent-encoded, as in a path. */
  readonly key: string;
  readonly headers: Record<string, string>;
  readonly size: number;
  readonly etag: string;
  readonly lastModifiedMs: number;
}

function answer({ method, key, headers, size, etag, lastModifiedMs }: Question): object {
  try {
    const decoded = keyFromPath(key);
    const request = new Request("http://gateway.example/", { method, headers });
    const metadata = { size, originEtag: etag, lastModifiedMs, sha256: null };
    const plan = planResponse(request as never, decoded, metadata, "id");
    const ranges = plan.status === 206 ? plan.parts.map(({ range }) => [range.offset, range.length]) : null;
    return { status: plan.status, key: decoded, ranges };
  } catch (error) {
    if (error instanceof Problem) return { status: error.status, key: null, ranges: null };
    throw error;
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(answer(JSON.parse(line)))}\n`);
}
