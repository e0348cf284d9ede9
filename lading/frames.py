"""zstd frames and the seek table: the compressed layer of a shard.

A frame is one independent zstd frame with its content size and checksum. A seek table, as in the *zstd seekable
format* (contrib/seekable_format in the zstd repository), ends a shard: a skippable frame that lists the compressed
and the raw size of every frame before it.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterable

import zstandard

from lading.errors import IntegrityError

_SKIPPABLE_MAGIC = 0x184D2A5E
_SEEKABLE_MAGIC = 0x8F92EAB1
_HEADER = struct.Struct("<II")
_ENTRY = struct.Struct("<II")
_FOOTER = struct.Struct("<IBI")

SEEK_TABLE_FOOTER_BYTES = _FOOTER.size


class FrameCompressor:
    """Compresses frames on any thread; the bytes depend on the level and on the zstd version only."""

    def __init__(self, level: int) -> None:
        self._level = level
        self._local = threading.local()

    def __call__(self, raw: bytes | bytearray | memoryview) -> bytes:
        # A ZstdCompressor must not be shared between threads, and one-shot compress() with threads=0 is the only mode
        # whose output does not depend on the number of threads.
        compressor = getattr(self._local, "compressor", None)
        if compressor is None:
            compressor = self._local.compressor = zstandard.ZstdCompressor(
                level=self._level, write_checksum=True, write_content_size=True, threads=0
            )
        return compressor.compress(raw)


class FrameDecompressor:
    """Decompresses frames on any thread."""

    def __init__(self) -> None:
        self._local = threading.local()

    def __call__(self, frame: bytes | bytearray | memoryview, limit: int) -> bytes:
        """The raw bytes of exactly one frame, 1 to `limit` bytes. Raises IntegrityError."""
        decompressor = getattr(self._local, "decompressor", None)
        if decompressor is None:
            decompressor = self._local.decompressor = zstandard.ZstdDecompressor()
        try:
            # The size comes from the frame's own header: a hostile one must not make us allocate what it claims.
            size = zstandard.frame_content_size(frame)
            if size == 0:
                # No shard has an empty frame, and python-zstandard would give nothing without looking at the rest.
                raise IntegrityError("a frame claims to be empty", "pull again")
            if size > limit:
                raise IntegrityError(
                    f"a frame claims to hold more than {limit} bytes", "ask the publisher to look at it"
                )
            return decompressor.decompress(frame, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise IntegrityError(f"a frame cannot be decompressed ({error})", "pull again") from error


def seek_table(frames: Iterable[tuple[int, int]]) -> bytes:
    """The seek table for `frames`, given as (compressed, raw) sizes in bytes, in order."""
    entries = b"".join(_ENTRY.pack(compressed, raw) for compressed, raw in frames)
    count = len(entries) // _ENTRY.size
    footer = _FOOTER.pack(count, 0, _SEEKABLE_MAGIC)
    return _HEADER.pack(_SKIPPABLE_MAGIC, len(entries) + len(footer)) + entries + footer


def seek_table_length(footer: bytes) -> int:
    """Length in bytes of the whole seek table, from its last SEEK_TABLE_FOOTER_BYTES. Raises IntegrityError."""
    count: int
    count, descriptor, magic = _FOOTER.unpack(footer)
    if magic != _SEEKABLE_MAGIC or descriptor != 0:
        raise IntegrityError("the shard does not end in a seek table", "check that the file is complete")
    return _HEADER.size + count * _ENTRY.size + _FOOTER.size


def parse_seek_table(table: bytes) -> list[tuple[int, int]]:
    """The (compressed, raw) sizes of a seek table's frames. Raises IntegrityError if it is malformed."""
    if len(table) < _HEADER.size + _FOOTER.size or len(table) != seek_table_length(table[-_FOOTER.size :]):
        raise IntegrityError("the shard's seek table is malformed", "check that the file is complete")
    magic, length = _HEADER.unpack_from(table)
    if magic != _SKIPPABLE_MAGIC or length != len(table) - _HEADER.size:
        raise IntegrityError("the shard's seek table is malformed", "check that the file is complete")
    body = table[_HEADER.size : -_FOOTER.size]
    return [(compressed, raw) for compressed, raw in _ENTRY.iter_unpack(body)]
