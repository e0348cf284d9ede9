/** Origin over an R2 binding. */

import type { ByteRange } from "../range";
import { OriginChanged, OriginError, SHA256_HEX } from "./interface";
import type { ObjectMetadata, Origin, OriginUse } from "./interface";

export class R2Origin implements Origin {
  readonly #bucket: R2Bucket;

  constructor(bucket: R2Bucket) {
    this.#bucket = bucket;
  }

  async head(key: string, use: OriginUse): Promise<ObjectMetadata | null> {
    use.requests += 1;
    const object = await failingAsOriginError(this.#bucket.head(key));
    // The binding speaks no HTTP; these are the codes that its answers mean.
    use.status = object === null ? 404 : 200;
    if (object === null) return null;
    const recorded = object.customMetadata?.["sha256"];
    return {
      size: object.size,
      originEtag: object.httpEtag,
      lastModifiedMs: object.uploaded.getTime(),
      sha256: recorded !== undefined && SHA256_HEX.test(recorded) ? recorded : null,
    };
  }

  async read(
    key: string,
    metadata: ObjectMetadata,
    range: ByteRange,
    use: OriginUse,
  ): Promise<ReadableStream<Uint8Array>> {
    use.requests += 1;
    const object = await failingAsOriginError(
      this.#bucket.get(key, {
        range: { offset: range.offset, length: range.length },
        // R2 wants the tag bare here, and answers without a body when it no longer matches.
        onlyIf: { etagMatches: metadata.originEtag.slice(1, -1) },
      }),
    );
    if (object === null || !("body" in object)) {
      use.status = object === null ? 404 : 412;
      throw new OriginChanged("the object changed since its metadata was read");
    }
    use.status = 206;
    use.bytes += range.length;
    return object.body;
  }
}

async function failingAsOriginError<T>(call: Promise<T>): Promise<T> {
  try {
    return await call;
  } catch (error) {
    throw new OriginError(`R2: ${error instanceof Error ? error.message : String(error)}`);
  }
}
