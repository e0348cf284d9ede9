/** An S3 endpoint that misbehaves on purpose, and holds objects larger than any disk of a test. */

import { once } from "node:events";
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export const ETAG = '"v1"';
const MODIFIED = "Thu, 01 Jan 2026 00:00:00 GMT";
const CHUNK = 65_536;

/** How a GET is answered; a name says what is wrong with it. */
export type Fault =
  | "none"
  | "dies in the middle"
  | "stalls in the middle"
  | "stalls before the answer"
  | "sends less than it says"
  | "sends another ETag"
  | "changes between slices"
  | "sends the whole for a range"
  | "sends another range"
  | "sends no length"
  | "fails once"
  | "fails always"
  | "refuses the key";

export interface FakeStore {
  readonly url: string;
  /** What GETs of this key will do; sizes in bytes. */
  add(key: string, size: number, fault: Fault): void;
  gets(key: string): number;
  stop(): Promise<void>;
}

/** The byte at an offset of every object: differs between neighbouring slices, and beyond 2^32. */
export const byteAt = (offset: number) => (offset + Math.floor(offset / 251) + Math.floor(offset / 2 ** 23)) % 256;

export function bytesAt(offset: number, length: number): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  for (let i = 0; i < length; i += 1) bytes[i] = byteAt(offset + i);
  return bytes;
}

export async function startFakeStore(): Promise<FakeStore> {
  const objects = new Map<string, { size: number; fault: Fault }>();
  const gets = new Map<string, number>();
  const server = createServer((request, response) => void answer(request, response)).listen(0, "127.0.0.1");
  await once(server, "listening");

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.on("error", () => undefined);
    // Each wait for room in the socket adds some.
    response.setMaxListeners(0);
    const key = decodeURIComponent((request.url ?? "").replace(/^\/bucket\//, ""));
    const object = objects.get(key);
    if (object === undefined) return void response.writeHead(404).end();
    const { size, fault } = object;
    const headers = { ETag: ETAG, "Last-Modified": MODIFIED };
    if (request.method === "HEAD") return void response.writeHead(200, { ...headers, "Content-Length": size }).end();

    const count = (gets.get(key) ?? 0) + 1;
    gets.set(key, count);
    const [, first = 0, last = 0] = (/^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "") ?? []).map(Number);
    const length = last - first + 1;
    const part = { ...headers, "Content-Length": length, "Content-Range": `bytes ${first}-${last}/${size}` };
    const send = (status: number, fields: object, bytes: number) => {
      response.writeHead(status, { ...fields });
      return sendBytes(response, first, bytes);
    };
    switch (fault) {
      case "none":
        return void (await send(206, part, length), response.end());
      case "dies in the middle":
        await send(206, part, Math.floor(length / 2));
        return void response.destroy();
      case "stalls in the middle":
        return send(206, part, Math.floor(length / 2));
      case "stalls before the answer":
        return;
      case "sends less than it says":
        await send(206, part, length - 1);
        return void response.socket?.end();
      case "sends another ETag":
        return void (await send(206, { ...part, ETag: '"v2"' }, length), response.end());
      case "changes between slices":
        if (first > 0) return void response.writeHead(412).end();
        return void (await send(206, part, length), response.end());
      case "sends the whole for a range":
        return void (await send(200, { ...headers, "Content-Length": size }, size), response.end());
      case "sends another range":
        return void (
          await send(206, { ...part, "Content-Range": `bytes 0-${length - 1}/${size}` }, length),
          response.end()
        );
      case "sends no length":
        return void (await send(206, { ...headers, "Content-Range": part["Content-Range"] }, length), response.end());
      case "fails once":
        if (count === 1) return void response.writeHead(503).end();
        return void (await send(206, part, length), response.end());
      case "fails always":
        return void response.writeHead(500).end("internal secret of the store");
      case "refuses the key":
        return void response.writeHead(403).end("internal secret of the store");
    }
  }

  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    add: (key, size, fault) => void objects.set(key, { size, fault }),
    gets: (key) => gets.get(key) ?? 0,
    stop: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

async function sendBytes(response: ServerResponse, first: number, length: number): Promise<void> {
  for (let sent = 0; sent < length && !response.destroyed; sent += CHUNK) {
    const chunk = bytesAt(first + sent, Math.min(CHUNK, length - sent));
    if (!response.write(chunk)) await Promise.race([once(response, "drain"), once(response, "close")]);
  }
}
