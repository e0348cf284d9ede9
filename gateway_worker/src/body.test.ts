import { expect, test } from "vitest";

import "./testing/platform";
import { FIRST_CHUNK_BYTES, openBody } from "./body";
import { OriginError } from "./origin/interface";
import type { ByteRange } from "./range";
import type { Plan } from "./representation";
import { SLICE_BYTES } from "./slices/interface";
import { originSource } from "./slices/source";

const STALL_MS = 1000;
const CLOSING = new TextEncoder().encode("end");

function planOf(...ranges: ByteRange[]): Plan {
  const isMultipart = ranges.length > 1;
  const parts = ranges.map((range) => ({ framing: isMultipart ? new TextEncoder().encode("--") : null, range }));
  const framing = isMultipart ? 2 * ranges.length + CLOSING.length : 0;
  const bodyLength = ranges.reduce((sum, { length }) => sum + length, framing);
  return {
    ...{ status: 206, headers: new Headers(), parts, bodyLength, singleRange: null },
    closing: isMultipart ? CLOSING : null,
  };
}

/** Slices whose bytes tell their position; notes what was opened. */
function slices(failsAt = Infinity) {
  const opened: ByteRange[] = [];
  const open = async (slice: ByteRange) => {
    opened.push(slice);
    if (slice.offset >= failsAt) throw new OriginError("down");
    const body = new Uint8Array(slice.length).fill(65 + Math.floor(slice.offset / SLICE_BYTES));
    return originSource(new Blob([body]).stream() as ReadableStream<Uint8Array>, slice.length, STALL_MS);
  };
  return { open, opened };
}

async function textOf(stream: ReadableStream<Uint8Array>): Promise<string> {
  let text = "";
  for await (const chunk of stream) text += new TextDecoder().decode(chunk);
  return text;
}

test("a small body is no stream, and counted whole", async () => {
  const { content, finished } = await openBody(planOf({ offset: 5, length: FIRST_CHUNK_BYTES }), slices().open);
  expect((content as Uint8Array).length).toBe(FIRST_CHUNK_BYTES);
  expect(await finished).toEqual({ bytesSent: FIRST_CHUNK_BYTES, completed: true, failure: null });
});

test("a body across slices is theirs in order", async () => {
  const plan = planOf({ offset: SLICE_BYTES - 100_000, length: 200_000 });
  const { content, finished } = await openBody(plan, slices().open);
  expect(await textOf(content as ReadableStream<Uint8Array>)).toBe("A".repeat(100_000) + "B".repeat(100_000));
  expect(await finished).toEqual({ bytesSent: 200_000, completed: true, failure: null });
});

test("several parts go out between their framing", async () => {
  const { content, finished } = await openBody(
    planOf({ offset: 0, length: 3 }, { offset: SLICE_BYTES, length: 2 }),
    slices().open,
  );
  expect(await textOf(content as ReadableStream<Uint8Array>)).toBe("--AAA--BBend");
  expect((await finished).bytesSent).toBe(12);
});

test("a failure before the first chunk is thrown, not answered", async () => {
  await expect(openBody(planOf({ offset: 0, length: 1 }), slices(0).open)).rejects.toThrow(OriginError);
});

test("a failure later breaks the body off, with what went out counted", async () => {
  const plan = planOf({ offset: SLICE_BYTES - 100_000, length: 200_000 });
  const { content, finished } = await openBody(plan, slices(SLICE_BYTES).open);
  await expect(textOf(content as ReadableStream<Uint8Array>)).rejects.toThrow("down");
  expect(await finished).toMatchObject({ bytesSent: 100_000, completed: false, failure: expect.any(OriginError) });
});

test("of a client that leaves, only chunks that it has taken count, and no further slice is opened", async () => {
  const { open, opened } = slices();
  const { content, finished } = await openBody(planOf({ offset: 0, length: 10 * SLICE_BYTES }), open);
  const reader = (content as ReadableStream<Uint8Array>).getReader();
  await reader.read();
  await reader.read();
  await reader.cancel();
  expect(await finished).toEqual({ bytesSent: FIRST_CHUNK_BYTES, completed: false, failure: null });
  expect(opened).toHaveLength(1);
});
