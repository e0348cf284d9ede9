"""Patch packs: new content as differences to the old, for clients that hold the old bytes.

A patch is a zstd frame that was compressed with old bytes as its prefix. It gives a run of consecutive chunks of one
file, the *segment*, from a window of an earlier version of a file. Patches only speed an update up: every chunk is in a
shard as well, and its hash is checked whichever way it came.

A pack is a concatenation of such frames, in the folder of its release. Its index is a Parquet file:

file_id, seq         the file in the release's index, and the first chunk of the segment
chunks, length       how many chunks the segment has, and their bytes
base_path            the file of the parent release that the window is of
base_sha256          SHA-256 of that whole file, 32 bytes
base_offset, base_length   the window
frame_offset, frame_length  the patch in the pack
"""

from __future__ import annotations

import zstandard

from lading.errors import IntegrityError

SEGMENT_BYTES = 4 * 1024 * 1024
"""Raw size at which a segment is closed; with the largest chunk added, no segment is above twice that."""

MARGIN_BYTES = 2 * 1024 * 1024
"""How far the window reaches beyond the place that the segment is expected at, on both sides."""

WINDOW_LOG = 24
"""log2 of the zstd window: it must span the old window and the segment."""

MAX_SEGMENT_BYTES = 2 * SEGMENT_BYTES
MAX_BASE_BYTES = MAX_SEGMENT_BYTES + 2 * MARGIN_BYTES


def apply(base: bytes, patch: bytes, length: int) -> bytes:
    """The segment of `length` bytes that `patch` makes of the old bytes `base`. Raises IntegrityError.

    The result is not verified: the caller compares the hashes of its chunks.
    """
    prefix = zstandard.ZstdCompressionDict(base, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    decompressor = zstandard.ZstdDecompressor(dict_data=prefix, max_window_size=2**WINDOW_LOG)
    try:
        if zstandard.frame_content_size(patch) != length:
            raise IntegrityError("a patch is not of the promised size", "pull again")
        return decompressor.decompress(patch, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise IntegrityError(f"a patch does not fit the old bytes ({error})", "pull again") from error
