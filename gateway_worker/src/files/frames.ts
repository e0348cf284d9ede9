/** One piece of a file out of its frame: decoded natively, and checked before a byte of it is used. */

import { zstdDecompressSync } from "node:zlib";

import { OriginError } from "../origin/interface";
import type { Piece } from "./lookup";
import { hexOf } from "./lookup_format";

/** No frame of a shard is larger when it is decoded (lading/shard.py). */
export const MAX_RAW_FRAME_BYTES = 16 * 1024 * 1024;

/** Frames are about this large when they are decoded: the output grows by so much, and is rarely copied. */
const OUTPUT_STEP_BYTES = 2 * 1024 * 1024;

/** The stored bytes are not those that were released. */
export class DamagedFrame extends OriginError {}

/**
 * The piece's bytes. Frame and piece have checksums of their own: wrong bytes never get out.
 *
 * @throws DamagedFrame
 */
export async function pieceOf(frame: Uint8Array, piece: Piece): Promise<Uint8Array> {
  const place = `the frame at ${piece.frameOffset} of shard ${piece.shard}`;
  let raw: Uint8Array;
  try {
    raw = zstdDecompressSync(frame, { chunkSize: OUTPUT_STEP_BYTES, maxOutputLength: MAX_RAW_FRAME_BYTES });
  } catch (error) {
    throw new DamagedFrame(`${place} cannot be decoded: ${error instanceof Error ? error.message : String(error)}`);
  }
  const bytes = raw.subarray(piece.innerOffset, piece.innerOffset + piece.length);
  if (bytes.length !== piece.length) throw new DamagedFrame(`${place} holds ${raw.length} bytes, too few`);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  if (hexOf(digest) !== piece.sha256) throw new DamagedFrame(`${place} holds other bytes than were released`);
  return bytes;
}
