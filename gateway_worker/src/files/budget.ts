/** Bounds the memory of answers that are decoded at the same time in one isolate. */

import { Problem } from "../problem";

/** Half of what a Worker has in all (128 MB). */
export const DECODE_BUDGET_BYTES = 64 * 1024 * 1024;

/** An answer waits this long for others to end: clients that read slowly keep what they hold. */
const MAX_WAIT_MS = 10_000;

const RETRY_AFTER_S = 2;

interface Waiting {
  readonly bytes: number;
  readonly start: () => void;
}

export class DecodeBudget {
  readonly #total: number;
  #free: number;
  readonly #queue: Waiting[] = [];

  constructor(bytes: number = DECODE_BUDGET_BYTES) {
    this.#total = this.#free = bytes;
  }

  /**
   * Waits until there is room for an answer that holds up to `bytes`, in the order of arrival. What is larger than all room
   * waits for all of it.
   *
   * @returns how to give the room back; a second call does nothing
   * @throws Problem `rate_limited` when there is none in time
   */
  async reserve(bytes: number, sleep: (ms: number) => Promise<void>): Promise<() => void> {
    const wanted = Math.min(bytes, this.#total);
    if (this.#queue.length > 0 || wanted > this.#free) {
      let waiting!: Waiting;
      const started = new Promise<"started">((resolve) => {
        waiting = { bytes: wanted, start: () => resolve("started") };
        this.#queue.push(waiting);
      });
      const outcome = await Promise.race([started, sleep(MAX_WAIT_MS).then(() => "timeout" as const)]);
      const place = this.#queue.indexOf(waiting);
      // It may have been started at the very moment.
      if (outcome === "timeout" && place >= 0) {
        this.#queue.splice(place, 1);
        this.#startWaiting();
        throw new Problem("rate_limited", "Too many files are being decoded here at this moment.", {
          "Retry-After": String(RETRY_AFTER_S),
        });
      }
    } else {
      this.#free -= wanted;
    }
    let isHeld = true;
    return () => {
      if (isHeld) this.#free += wanted;
      isHeld = false;
      this.#startWaiting();
    };
  }

  #startWaiting(): void {
    for (let [first] = this.#queue; first !== undefined && first.bytes <= this.#free; [first] = this.#queue) {
      this.#queue.shift();
      this.#free -= first.bytes;
      first.start();
    }
  }
}
