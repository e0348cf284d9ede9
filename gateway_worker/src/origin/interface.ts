/** Where objects come from. The gateway knows nothing else about a store. */

import type { ByteRange } from "../range";

export interface ObjectMetadata {
  /** Bytes. */
  readonly size: number;
  /** The store's own entity tag, with its quotes: pins the reads, and is the ETag where no digest is known. */
  readonly originEtag: string;
  /** ms since the epoch. */
  readonly lastModifiedMs: number;
  /** SHA-256 of the bytes in hex, where the uploader recorded one. */
  readonly sha256: string | null;
}

/** What one answer has cost at the store; counted up while it is made. */
export interface OriginUse {
  requests: number;
  /** Bytes asked for and granted. */
  bytes: number;
  /** The store's last answer in terms of HTTP; null while there is none. */
  status: number | null;
}

export const SHA256_HEX = /^[0-9a-f]{64}$/;

export interface Origin {
  /** @throws OriginError when the store fails. Null: there is no such object. */
  head(key: string, use: OriginUse): Promise<ObjectMetadata | null>;

  /**
   * Opens a stream of exactly `range.length` bytes of the version that `metadata` describes.
   *
   * @throws OriginChanged when the object is another one by now, OriginError when the store fails.
   */
  read(key: string, metadata: ObjectMetadata, range: ByteRange, use: OriginUse): Promise<ReadableStream<Uint8Array>>;
}

/** The store failed. The message is for the log, not for the client. */
export class OriginError extends Error {
  override readonly name = "OriginError";
}

/** The object was replaced or deleted after its metadata had been read. */
export class OriginChanged extends OriginError {}
