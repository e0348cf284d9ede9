/**
 * What a client may rely on, as data: a request and the answer that must come. Nothing here knows how the gateway
 * works, so that the same table judges every way to run it.
 *
 * In a request's fields, `{etag}`, `{date}`, `{date-1}` and `{date+1}` stand for the validators that a plain HEAD of the
 * object showed, the latter two a second earlier and later.
 */

import { OBJECTS, SHARD_KEY } from "../objects";

/** First and last byte, as in Content-Range. */
export type Span = readonly [first: number, last: number];

export interface Expected {
  /** One of several where the platform in front may settle a matter before the gateway sees it. */
  readonly status: number | readonly number[];
  /** `code` of the problem document. */
  readonly code?: string;
  /** A field's exact value, a pattern, or null: the field is absent. */
  readonly headers?: Readonly<Record<string, string | RegExp | null>>;
  /** The body: the whole object, a part of it, parts in this order as multipart/byteranges, or nothing. */
  readonly body?: "whole" | "nothing" | Span | readonly Span[];
  /** The body: the stored zstd frames of a file, all of them or a part. */
  readonly frames?: "whole" | Span;
}

export interface Case {
  readonly name: string;
  readonly method?: string;
  /** The object asked for at `/d/`; its path is percent-encoded by the runner. */
  readonly key?: string;
  /** Or the file of the release `conf` `v1` that is asked for at `/f/`. */
  readonly file?: string;
  /** Or the request's target, literally; `{token}` stands for a good token. */
  readonly target?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Claims that differ from a good token's; null: no token; text: this instead of a token. */
  readonly token?: Readonly<Record<string, unknown>> | string | null;
  readonly expect: Expected;
}

export interface Rule {
  readonly rule: string;
  /** Where it comes from. */
  readonly source: string;
  readonly cases: readonly Case[];
}

export const MIB = 1024 * 1024;
/** The object that most cases ask for, its length in bytes, and the length of the shard. */
export const TEXT = "conf/text.txt";
export const N = OBJECTS[TEXT]!.bytes.length;
export const S = OBJECTS[SHARD_KEY]!.bytes.length;

export const refusedTarget = (
  name: string,
  target: string,
  status: number | readonly number[],
  code?: string,
): Case => ({
  name,
  target,
  expect: code === undefined ? { status } : { status, code },
});
