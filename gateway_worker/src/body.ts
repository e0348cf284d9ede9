/** Streams a body chunk by chunk, and counts what the platform has taken. */

import type { ByteRange } from "./range";
import type { BodyPart, Plan } from "./representation";
import { CHUNK_BYTES } from "./slices/chunks";
import { slicesOf } from "./slices/interface";
import type { SliceSource } from "./slices/interface";

/** How a transfer ended. */
export interface Transfer {
  /** Bytes of the chunks that the platform has passed on (see `openBody`). */
  readonly bytesSent: number;
  readonly completed: boolean;
  /** Why the gateway broke it off; null where it is complete, or the client left. */
  readonly failure: Error | null;
}

export interface OpenedBody {
  readonly content: ReadableStream<Uint8Array> | Uint8Array;
  readonly finished: Promise<Transfer>;
}

export type OpenSlice = (slice: ByteRange) => Promise<SliceSource>;

/**
 * The first chunk is awaited before anything is answered, so that a store that fails by then is a 502 and not a broken
 * 200. It is small, as are most ranges of an index: a body of one such chunk needs no stream.
 */
export const FIRST_CHUNK_BYTES = 64 * 1024;

/**
 * The next slice is opened when this much of the current one is left: the origin's latency is hidden, and a slow client
 * does not hold a connection to the origin that idles for minutes.
 */
const OPEN_AHEAD_BYTES = 4 * 1024 * 1024;

/**
 * Reads the first chunk and gives a body that reads on as the client takes it.
 *
 * The platform asks for a chunk when it has passed on the one before to the client's connection: a chunk counts as sent
 * then and no sooner. So a completed transfer is counted exactly. For a broken one the count is what the connection has
 * taken, less the part of one chunk: what still lay in the buffers of sockets and proxies counts as sent.
 *
 * @throws what `openSlice` throws for the first slice, and what its source throws for the first chunk
 */
export async function openBody(plan: Plan, openSlice: OpenSlice): Promise<OpenedBody> {
  const chunks = new BodyChunks(plan, openSlice);
  const first = await chunks.next(FIRST_CHUNK_BYTES);
  if (first === null) throw new RangeError("a body without parts cannot be opened");
  if (first.length === plan.bodyLength) {
    const finished = Promise.resolve({ bytesSent: first.length, completed: true, failure: null });
    return { content: first, finished };
  }

  let end: (transfer: Transfer) => void;
  const finished = new Promise<Transfer>((resolve) => (end = resolve));
  let bytesSent = 0;
  let passing = 0;
  let read: Uint8Array | null = first;
  let isCancelled = false;
  const content = new ReadableStream<Uint8Array>(
    {
      // A known length gives the response a Content-Length; a chunked body would lose it.
      expectedLength: plan.bodyLength,
      pull: async (controller) => {
        bytesSent += passing;
        passing = 0;
        try {
          const chunk = read ?? (await chunks.next(CHUNK_BYTES));
          read = null;
          if (isCancelled) return;
          if (chunk !== null) {
            passing = chunk.length;
            controller.enqueue(chunk);
            return;
          }
          if (bytesSent !== plan.bodyLength) throw new RangeError(`${plan.bodyLength} bytes were promised`);
          controller.close();
          end({ bytesSent, completed: true, failure: null });
        } catch (error) {
          if (isCancelled) return;
          chunks.cancel();
          controller.error(error);
          end({ bytesSent, completed: false, failure: error instanceof Error ? error : new Error(String(error)) });
        }
      },
      cancel: () => {
        isCancelled = true;
        chunks.cancel();
        end({ bytesSent, completed: false, failure: null });
      },
    },
    // Nothing is read that was not asked for.
    { highWaterMark: 0 },
  );
  return { content, finished };
}

/** A slice to send, after the framing that goes before it. */
interface Step {
  readonly framing: Uint8Array | null;
  readonly slice: ByteRange;
}

function* stepsOf(parts: readonly BodyPart[]): Generator<Step> {
  for (const { framing, range } of parts) {
    let before = framing;
    for (const slice of slicesOf(range)) {
      yield { framing: before, slice };
      before = null;
    }
  }
}

interface OpeningStep {
  framing: Uint8Array | null;
  readonly source: Promise<SliceSource>;
}

/** The bytes of a body in order: framing and slices, each slice opened a little before it is needed. */
class BodyChunks {
  readonly #steps: Generator<Step>;
  readonly #openSlice: OpenSlice;
  #closing: Uint8Array | null;
  #current: OpeningStep | null;
  #ahead: OpeningStep | null = null;
  /** The chunk that was given last, with where it is from. */
  #lent: { readonly source: SliceSource; readonly chunk: Uint8Array } | null = null;

  constructor(plan: Plan, openSlice: OpenSlice) {
    this.#steps = stepsOf(plan.parts);
    this.#openSlice = openSlice;
    this.#closing = plan.closing;
    this.#current = this.#openNext();
  }

  /**
   * The chunk after the one that was given last, which is taken by now and must not be read any more; null after the last.
   * Rejects when a slice cannot be opened, or its source breaks.
   */
  async next(maxBytes: number): Promise<Uint8Array | null> {
    if (this.#lent !== null) this.#lent.source.release(this.#lent.chunk);
    this.#lent = null;
    while (this.#current !== null) {
      const step = this.#current;
      const source = await step.source;
      if (step.framing !== null) {
        const { framing } = step;
        step.framing = null;
        return framing;
      }
      const chunk = await source.next(maxBytes);
      if (chunk !== null) {
        if (source.left <= OPEN_AHEAD_BYTES) this.#ahead ??= this.#openNext();
        this.#lent = { source, chunk };
        return chunk;
      }
      this.#current = this.#ahead ?? this.#openNext();
      this.#ahead = null;
    }
    const closing = this.#closing;
    this.#closing = null;
    return closing;
  }

  /** Nobody wants the rest. */
  cancel(): void {
    for (const step of [this.#current, this.#ahead]) {
      step?.source.then((source) => source.cancel()).catch(() => undefined);
    }
    this.#steps.return(undefined);
    this.#current = this.#ahead = this.#closing = null;
  }

  #openNext(): OpeningStep | null {
    const { value: step, done } = this.#steps.next();
    if (done === true) return null;
    const source = this.#openSlice(step.slice);
    // Its failure is handled when its turn comes; until then it must not count as unhandled.
    source.catch(() => undefined);
    return { framing: step.framing, source };
  }
}
