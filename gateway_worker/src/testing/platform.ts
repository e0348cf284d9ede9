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
