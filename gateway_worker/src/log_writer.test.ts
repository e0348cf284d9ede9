import { expect, test } from "vitest";

import { logFiles } from "./log_writer";

const message = (body: unknown) => ({ body, timestamp: new Date("2026-02-02T00:00:00Z") });

test("events are filed by their own hour, in UTC", async () => {
  const files = await logFiles([
    message({ id: "1", ts: "2026-01-31T23:59:59.999Z" }),
    message({ id: "2", ts: "2026-02-01T00:00:00.000Z" }),
    message({ id: "3", ts: "2026-01-31T23:00:00.000Z" }),
  ]);
  expect(files.map(({ key, lines }) => [key.replace(/[0-9a-f]{32}/, "ID"), lines.split("\n").length - 1])).toEqual([
    ["logs/gateway/dt=2026-01-31/hh=23/ID.ndjson.gz", 2],
    ["logs/gateway/dt=2026-02-01/hh=00/ID.ndjson.gz", 1],
  ]);
});

test("an event without a time is filed by the time it was sent, not lost", async () => {
  const [file] = await logFiles([message({ ts: "soon" })]);
  expect(file?.key).toContain("dt=2026-02-02/hh=00/");
});

test("a batch that comes twice has the same files", async () => {
  const batch = [message({ id: "1", ts: "2026-01-31T23:59:59.999Z" })];
  expect(await logFiles(batch)).toEqual(await logFiles(batch));
});
