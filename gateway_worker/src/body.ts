/** Streams a body slice by slice: no JavaScript runs per network chunk. */

import { OriginError } from "./origin/interface";
import type { ByteRange } from "./range";
import type { BodyPart, Plan } from "./representation";
import { slicesOf } from "./slices/interface";
import type { SliceSource } from "./slices/interface";

/** How a transfer ended. */
export interface Transfer {
  /** Bytes of completed slices (see `pump`). */
  readonly bytesSent: number;
  readonly completed: boolean;
  /** The origin's error, where a later slice could not be opened. */
  readonly originError: OriginError | null;
}

export interface OpenedBody {
  readonly stream: ReadableStream<Uint8Array>;
  readonly finished: Promise<Transfer>;
}

export type OpenSlice = (slice: ByteRange) => Promise<SliceSource>;

interface Step {
  readonly framing: Uint8Array | null;
  readonly slice: ByteRange;
}

/**
 * Opens the first slice, so that a failing origin is still a 502 and not a broken 200, and starts to send.
 *
 * @throws what `openSlice` throws for the first slice
 */
export async function openBody(plan: Plan, openSlice: OpenSlice): Promise<OpenedBody> {
  const steps = stepsOf(plan.parts);
  const first = nextStep(steps, openSlice);
  if (first === null) throw new RangeError("a body without parts cannot be opened");
  await first.source;
  // A known length gives the response a Content-Length; a chunked body would lose it.
  const { readable, writable } = new FixedLengthStream(plan.bodyLength);
  return { stream: readable, finished: pump(first, steps, openSlice, plan.closing, writable) };
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

interface OpeningStep extends Step {
  readonly source: Promise<SliceSource>;
}

function nextStep(steps: Generator<Step>, openSlice: OpenSlice): OpeningStep | null {
  const { value: step, done } = steps.next();
  if (done === true) return null;
  const source = openSlice(step.slice);
  // Its failure is handled when its turn comes; until then it must not count as unhandled.
  source.catch(() => undefined);
  return { ...step, source };
}

/**
 * Sends all slices; while one is sent the next is being opened, so that the origin's latency is hidden.
 *
 * A native pipe does not tell how far it came: what is counted are the slices that it finished. That is exact for a
 * completed transfer. For a broken one it leaves out the slice that broke, and it counts what lay in buffers between here
 * and the client. A pipe's error does not tell the two sides apart either: workerd says "Network connection lost" for both.
 */
async function pump(
  first: OpeningStep,
  steps: Generator<Step>,
  openSlice: OpenSlice,
  closing: Uint8Array | null,
  writable: WritableStream<Uint8Array>,
): Promise<Transfer> {
  let bytesSent = 0;
  let current: OpeningStep | null = first;
  let next: OpeningStep | null = null;
  try {
    for (; current !== null; current = next) {
      next = nextStep(steps, openSlice);
      if (current.framing !== null) bytesSent += await writeBytes(writable, current.framing);
      const source = await current.source;
      await source.pipeTo(writable);
      bytesSent += current.slice.length;
    }
    if (closing !== null) bytesSent += await writeBytes(writable, closing);
    // Rejects when the sources gave less than was promised.
    await writable.close();
    return { bytesSent, completed: true, originError: null };
  } catch (error) {
    next?.source.then((source) => source.cancel()).catch(() => undefined);
    await writable.abort(error).catch(() => undefined);
    return { bytesSent, completed: false, originError: error instanceof OriginError ? error : null };
  }
}

async function writeBytes(writable: WritableStream<Uint8Array>, bytes: Uint8Array): Promise<number> {
  const writer = writable.getWriter();
  await writer.write(bytes);
  writer.releaseLock();
  return bytes.length;
}
