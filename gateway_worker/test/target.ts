/** A gateway as a test sees it: a socket, a store to fill, tokens that it accepts. */

import { once } from "node:events";
import { request as httpRequest } from "node:http";
import type { IncomingHttpHeaders } from "node:http";

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

export interface Target {
  readonly url: string;
  /** A plain HTTP request: nothing is decoded, nothing is normalized. */
  send(method: string, path: string, headers?: Record<string, string | string[]>): Promise<Answer>;
  /** Signs a token that holds for `ds/`, but for the claims given. */
  token(claims?: Record<string, unknown>): Promise<string>;
}

export async function send(
  port: number,
  method: string,
  path: string,
  headers: Record<string, string | string[]>,
): Promise<Answer> {
  const request = httpRequest({ host: "127.0.0.1", port, method, path, headers, agent: false });
  request.end();
  const [response] = await once(request, "response");
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk);
  return { status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks) };
}
