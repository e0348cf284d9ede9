/** Two ways for bytes to reach a client: by a native pipe, or on their way into the cache as well. */

import type { SliceSource } from "./interface";

/** Bytes that a copy moves at once: few turns of JavaScript for a slice, little memory for a stream. */
const COPY_BYTES = 512 * 1024;

/** A stream as it is: no JavaScript runs while it flows. */
export function plainSource(stream: ReadableStream<Uint8Array>): SliceSource {
  return {
    pipeTo: (sink) => stream.pipeTo(sink, { preventClose: true }),
    cancel: () => stream.cancel(),
  };
}

/**
 * A stream from the cache. Its bytes are counted: a slice that is shorter than its headers say breaks this transfer off
 * before a byte of the next one follows, and `drop` sees to it that the next transfer reads the origin.
 */
export function cachedSource(
  stream: ReadableStream<Uint8Array>,
  length: number,
  drop: () => Promise<void>,
): SliceSource {
  return {
    pipeTo: async (sink) => {
      const client = sink.getWriter();
      try {
        const copied = await copyTo(stream, client);
        if (copied === length) return;
        await drop().catch(() => undefined);
        throw new Error(`a cached slice has ${copied} bytes instead of ${length}`);
      } finally {
        client.releaseLock();
      }
    },
    cancel: () => stream.cancel(),
  };
}

/** Copies a stream in large pieces; returns how many bytes there were. */
async function copyTo(
  stream: ReadableStream<Uint8Array>,
  client: WritableStreamDefaultWriter<Uint8Array>,
): Promise<number> {
  const reader = stream.getReader({ mode: "byob" });
  let buffer = new ArrayBuffer(COPY_BYTES);
  let copied = 0;
  try {
    for (;;) {
      const { value, done } = await reader.readAtLeast(COPY_BYTES, new Uint8Array(buffer, 0, COPY_BYTES));
      if (value !== undefined && value.length > 0) {
        await client.write(value);
        copied += value.length;
        buffer = value.buffer as ArrayBuffer;
      }
      if (done) return copied;
    }
  } catch (error) {
    await reader.cancel(error).catch(() => undefined);
    throw error;
  }
}

/**
 * A stream that is stored while it is sent. `tee()` would keep in memory what the slower side has not taken yet, a whole
 * slice for each transfer; here both sides wait for each other. A store that fails does not disturb the client. A client
 * that leaves does not end the storing: it may come back for the rest, and some caches keep what an aborted `put` had got
 * as if it were complete.
 *
 * @param store takes the stream of the bytes, and stores all or nothing
 */
export function storedSource(
  stream: ReadableStream<Uint8Array>,
  length: number,
  store: (bytes: ReadableStream<Uint8Array>) => Promise<void>,
): SliceSource {
  return {
    pipeTo: async (sink) => {
      const copy = new FixedLengthStream(length);
      const stored = store(copy.readable).catch(() => undefined);
      const [client, cache] = [sink.getWriter(), copy.writable.getWriter()];
      try {
        const lost = await copyToBoth(stream, client, cache);
        await cache.close().catch(() => undefined);
        await stored;
        if (lost !== null) throw lost.reason;
      } catch (error) {
        await cache.abort(error).catch(() => undefined);
        throw error;
      } finally {
        client.releaseLock();
      }
    },
    cancel: () => stream.cancel(),
  };
}

/** Copies until the stream ends or nobody takes it any more. Returns why the client was lost, null if it was not. */
async function copyToBoth(
  stream: ReadableStream<Uint8Array>,
  client: WritableStreamDefaultWriter<Uint8Array>,
  cache: WritableStreamDefaultWriter<Uint8Array>,
): Promise<{ reason: unknown } | null> {
  const reader = stream.getReader({ mode: "byob" });
  let buffer = new ArrayBuffer(COPY_BYTES);
  let isStoring = true;
  let lost: { reason: unknown } | null = null;
  try {
    for (;;) {
      const { value, done } = await reader.readAtLeast(COPY_BYTES, new Uint8Array(buffer, 0, COPY_BYTES));
      if (value !== undefined && value.length > 0) {
        const storing = isStoring ? cache.write(value).catch(() => (isStoring = false)) : null;
        if (lost === null) await client.write(value).catch((reason: unknown) => (lost = { reason }));
        await storing;
        if (lost !== null && !isStoring) throw (lost as { reason: unknown }).reason;
        buffer = value.buffer as ArrayBuffer;
      }
      if (done) return lost;
    }
  } catch (error) {
    await reader.cancel(error).catch(() => undefined);
    throw error;
  }
}
