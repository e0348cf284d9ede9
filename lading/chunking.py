"""Content-defined chunking: where large files are cut.

A file below WHOLE_FILE_BYTES is one chunk. A larger one is cut by FastCDC (Xia et al., "The Design of Fast
Content-Defined Chunking", 2020), so that an insertion moves no more than the cuts beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from lading.manifest import Chunking

WHOLE_FILE_BYTES = 8 * 1024 * 1024
"""A file of this size or more is cut by content."""


def is_large(size: int) -> bool:
    """Whether a file of `size` bytes is cut into several chunks."""
    return size >= WHOLE_FILE_BYTES


def cut(file: BinaryIO, parameters: Chunking) -> Iterator[memoryview]:
    """Yield the chunks of an open file in order, as views that are valid until the next one is asked for.

    It reads the file instead of mapping it: a mapped file that somebody truncates would kill the process (SIGBUS).
    """
    import pyfastcdc

    chunker = pyfastcdc.FastCDC(
        parameters.avg,
        min_size=parameters.min,
        max_size=parameters.max,
        normalized_chunking=parameters.normalization,  # type: ignore[arg-type]
        seed=parameters.seed,
    )
    for chunk in chunker.cut_stream(file):
        yield chunk.data
