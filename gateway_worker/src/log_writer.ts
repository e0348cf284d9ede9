/** Queue consumer: writes request events as gzipped NDJSON objects, Hive-partitioned by the hour of each event. */

export interface QueuedEvent {
  readonly body: unknown;
  /** When the message was sent. */
  readonly timestamp: Date;
}

export interface LogFile {
  readonly key: string;
  readonly lines: string;
}

/** Writes a batch. It rejects when a write fails: the queue then delivers the whole batch again. */
export async function writeLogs(messages: readonly QueuedEvent[], bucket: R2Bucket): Promise<void> {
  for (const { key, lines } of await logFiles(messages)) {
    await bucket.put(key, await gzipped(lines), {
      // A binary type and no Content-Encoding: no store or proxy may unpack it on the way.
      httpMetadata: { contentType: "application/gzip" },
    });
  }
}

/**
 * One file for each hour that events of the batch fall into. Its name is a digest of its content, so that a batch that
 * is delivered twice overwrites its files instead of doubling them. Pure but for the digest.
 */
export async function logFiles(messages: readonly QueuedEvent[]): Promise<LogFile[]> {
  const byPartition = new Map<string, string[]>();
  for (const message of messages) {
    const partition = partitionOf(timeOf(message));
    const lines = byPartition.get(partition) ?? [];
    lines.push(`${JSON.stringify(message.body)}\n`);
    byPartition.set(partition, lines);
  }
  return Promise.all(
    [...byPartition].map(async ([partition, partitionLines]) => {
      const lines = partitionLines.join("");
      return { key: `logs/gateway/${partition}/${await digestOf(lines)}.ndjson.gz`, lines };
    }),
  );
}

/** The event's own time; the message's where the event has none, so that no line is lost. */
function timeOf({ body, timestamp }: QueuedEvent): Date {
  const ts = typeof body === "object" && body !== null && "ts" in body ? body.ts : null;
  const time = new Date(typeof ts === "string" ? ts : NaN);
  return Number.isNaN(time.getTime()) ? timestamp : time;
}

/** `dt=2026-01-31/hh=09`, UTC. */
function partitionOf(time: Date): string {
  const iso = time.toISOString();
  return `dt=${iso.slice(0, 10)}/hh=${iso.slice(11, 13)}`;
}

/** SHA-256, its first 128 bits in hex. */
async function digestOf(text: string): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
  return [...digest.subarray(0, 16)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** A whole buffer: R2 takes streams of known length only, and a batch of 100 events is some 100 kB. */
async function gzipped(text: string): Promise<ArrayBuffer> {
  return new Response(new Blob([text]).stream().pipeThrough(new CompressionStream("gzip"))).arrayBuffer();
}
