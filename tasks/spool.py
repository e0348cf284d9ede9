"""Frames of large files' chunks, compressed while the files were hashed.

A first release packs every chunk that it hashes. A chunk of a large file has a frame of its own, whose bytes do not
depend on where it will lie: made while the chunk is at hand, it spares reading and hashing the file a second time.
"""

from __future__ import annotations

import errno
import os
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from lading.frames import FrameCompressor

SPOOL_BYTES = 4 * 1024**3
"""What the spool takes of the disk at most, and FREE_SHARE of what is free: the rest is read again when it is packed.
The places of that many bytes also fit in memory."""

FREE_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Place:
    """Where a frame lies in the spool, in bytes."""

    offset: int
    length: int


class FrameSpool:
    """A file that takes frames from several threads; used as a context manager."""

    def __init__(self, path: Path, compressor: FrameCompressor, limit: int = SPOOL_BYTES) -> None:
        """`limit` in bytes."""
        self._compress = compressor
        self._limit = min(limit, int(shutil.disk_usage(path.parent).free * FREE_SHARE))
        self._places: dict[bytes, Place] = {}
        self._end = 0
        self._lock = threading.Lock()
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def add(self, digest: bytes, raw: memoryview) -> Place | None:
        """Compress the chunk `raw` of SHA-256 `digest` unless it is here already; None if there is no room for it."""
        with self._lock:
            known = self._places.get(digest)
            if known or self._end >= self._limit:
                return known
        frame = self._compress(raw)
        with self._lock:
            place = Place(self._end, len(frame))
            self._end += len(frame)
        try:
            self._write(frame, place.offset)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            self._limit = 0
            return None
        # Only now, so that nobody is ever given the place of a frame that could not be written.
        with self._lock:
            return self._places.setdefault(digest, place)

    def _write(self, frame: bytes, offset: int) -> None:
        with memoryview(frame) as view:
            written = 0
            while written < len(view):
                written += os.pwrite(self._descriptor, view[written:], offset + written)
