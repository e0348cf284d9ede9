/** What workerd has and Node has not, for unit tests on plain Node. */

if (!("readAtLeast" in ReadableStreamBYOBReader.prototype)) {
  Object.assign(ReadableStreamBYOBReader.prototype, {
    // The standard's form of workerd's own extension.
    readAtLeast(
      this: { read(view: ArrayBufferView, options: { min: number }): unknown },
      min: number,
      view: Uint8Array,
    ) {
      return this.read(view, { min });
    },
  });
}

/** Passes on exactly as many bytes as it was made for, one chunk at a time, and fails otherwise. */
class ExactStream extends TransformStream<Uint8Array, Uint8Array> {
  constructor(length: number) {
    let left = length;
    super(
      {
        transform: (chunk, controller) => {
          left -= chunk.length;
          if (left < 0) throw new TypeError("more bytes than promised");
          controller.enqueue(chunk.slice());
        },
        flush: () => {
          if (left > 0) throw new TypeError("fewer bytes than promised");
        },
      },
      { highWaterMark: 0 },
      { highWaterMark: 0 },
    );
  }
}

Object.assign(globalThis, { FixedLengthStream: ExactStream });
