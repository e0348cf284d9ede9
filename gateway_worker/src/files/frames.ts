/** Frames of shards, decoded natively, and the pieces of files in them, checked before a byte is used. */

import { zstdDecompressSync } from "node:zlib";

import { OriginError } from "../origin/interface";
import type { Piece } from "./lookup";
import { hexOf } from "./lookup_format";

/** No frame of a shard is larger when it is decoded (lading/shard.py). */
export const MAX_RAW_FRAME_BYTES = 16 * 1024 * 1024;

/** Frames are about this large when they are decoded: the output grows by so much. */
const OUTPUT_STEP_BYTES = 1024 * 1024;

/** Decoded frames that one isolate remembers, bytes. */
const MAX_REMEMBERED_BYTES = 16 * 1024 * 1024;

/** Frames that small files share are below this, bytes; larger ones hold one file. */
const MAX_SHARED_FRAME_BYTES = 4 * 1024 * 1024;

/** The stored bytes are not those that were released. */
export class DamagedFrame extends OriginError {}

/** @throws DamagedFrame */
export function decodedFrame(frame: Uint8Array, piece: Piece): Uint8Array {
  try {
    return zstdDecompressSync(frame, { chunkSize: OUTPUT_STEP_BYTES, maxOutputLength: MAX_RAW_FRAME_BYTES });
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new DamagedFrame(`${placeOf(piece)} cannot be decoded: ${why}`);
  }
}

/** A piece in its decoded frame: wrong bytes never get out. @throws DamagedFrame */
export async function pieceIn(raw: Uint8Array, piece: Piece): Promise<Uint8Array> {
  const bytes = raw.subarray(piece.innerOffset, piece.innerOffset + piece.length);
  if (bytes.length !== piece.length) throw new DamagedFrame(`${placeOf(piece)} holds ${raw.length} bytes, too few`);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  if (hexOf(digest) !== piece.sha256) {
    throw new DamagedFrame(`${placeOf(piece)} holds other bytes than were released`);
  }
  return bytes;
}

const placeOf = ({ frameOffset, shard }: Piece) => `the frame at ${frameOffset} of shard ${shard}`;

/** Decoded frames of one dataset that are at hand. */
export interface KnownFrames {
  get(piece: Piece): Uint8Array | null;
  put(piece: Piece, raw: Uint8Array): void;
}

/**
 * The frames of small files that were decoded last: who reads such files one after the other finds many of them in one
 * frame. A shard is named by its content, so that what is remembered stays true. It is remembered by dataset all the same:
 * the lookup of one must not give what lies in another.
 */
export class FrameMemory {
  readonly #frames = new Map<string, Uint8Array>();
  #bytes = 0;

  of(dataset: string): KnownFrames {
    const nameOf = ({ frameOffset, shard }: Piece) => `${frameOffset} ${shard} ${dataset}`;
    return {
      get: (piece) => this.#get(nameOf(piece)),
      put: (piece, raw) => {
        if (piece.innerOffset > 0 && raw.length <= MAX_SHARED_FRAME_BYTES) this.#put(nameOf(piece), raw);
      },
    };
  }

  #get(name: string): Uint8Array | null {
    const raw = this.#frames.get(name);
    if (raw === undefined) return null;
    this.#frames.delete(name);
    this.#frames.set(name, raw);
    return raw;
  }

  #put(name: string, raw: Uint8Array): void {
    if (this.#frames.has(name)) return;
    this.#frames.set(name, raw);
    this.#bytes += raw.length;
    for (const [oldest, { length }] of this.#frames) {
      if (this.#bytes <= MAX_REMEMBERED_BYTES) break;
      this.#frames.delete(oldest);
      this.#bytes -= length;
    }
  }
}
