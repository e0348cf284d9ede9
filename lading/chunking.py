"""Content-defined chunking: where large files are cut.

A file below WHOLE_FILE_BYTES is one chunk. A larger one is cut by FastCDC (Xia et al., "The Design of Fast
Content-Defined Chunking", 2020), so that an insertion moves no more than the cuts beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from typing import BinaryIO

from lading.parameters import Chunking

WHOLE_FILE_BYTES = 8 * 1024 * 1024
"""A file of this size or more is cut by content."""


def is_large(size: int) -> bool:
    """Whether a file of `size` bytes is cut into several chunks."""
    return size >= WHOLE_FILE_BYTES


SEGMENT_BYTES = 16 * 1024 * 1024
"""How much of a file is read at a time. Chunks are views of that: none is copied."""


class Cutter:
    """Cuts one file after the other, into buffers that it keeps; for one thread at a time."""

    def __init__(self, parameters: Chunking) -> None:
        import pyfastcdc

        self._cut = pyfastcdc.FastCDC(
            parameters.avg,
            min_size=parameters.min,
            max_size=parameters.max,
            normalized_chunking=parameters.normalization,  # type: ignore[arg-type]
            seed=parameters.seed,
        ).cut_buf
        size = max(SEGMENT_BYTES, 4 * parameters.max)
        self._buffers = (memoryview(bytearray(size)), memoryview(bytearray(size)))

    def segments(self, file: BinaryIO) -> Iterator[list[memoryview]]:
        """The chunks of an open file in order, those of one segment at a time.

        A segment is valid until the next but one is asked for: one may be worked on while the next is read. The file
        is read, not mapped: a mapped file that somebody truncates would kill the process (SIGBUS).
        """
        tail = memoryview(b"")
        for buffer in cycle(self._buffers):
            buffer[: len(tail)] = tail
            end = _fill(file, buffer, len(tail))
            if not end:
                return
            chunks = [chunk.data for chunk in self._cut(buffer[:end])]
            if end < len(buffer):
                yield chunks
                return
            # Where the last chunk ends is known only with what comes next: it is cut again from its beginning.
            tail = chunks.pop()
            yield chunks


def _fill(file: BinaryIO, buffer: memoryview, start: int) -> int:
    """Read until the buffer is full or the file ends; returns where the bytes end."""
    while start < len(buffer) and (count := file.readinto(buffer[start:])):  # type: ignore[attr-defined]
        start += count
    return start
