"""Shards: tar members laid out in zstd frames.

Small files are grouped, header + data + padding, into frames of about FRAME_BYTES. A large file's header ends one
frame, then comes one frame per chunk with payload only, and its padding begins the next frame. Two zero blocks end the
tar and a seek table ends the shard. So `zstd -dc shard | tar x` restores it, and each chunk lies in exactly one frame.

The writer compresses on a pool of threads and writes in order: the same members and parameters give the same bytes
whatever the number of threads.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO

from lading.frames import FrameCompressor, seek_table
from lading.tarheader import header

FRAME_BYTES = 1024 * 1024
"""Raw size at which a frame of small files is closed."""

END_OF_TAR = bytes(2 * tarfile.BLOCKSIZE)
CHUNK_MEMBER_PREFIX = ".lading/chunks/"
"""Where a delta shard keeps the new chunks of a file that it does not hold whole."""

MAX_FRAME_BYTES = 16 * 1024 * 1024
"""No frame is larger when decompressed: a reader may refuse one that claims to be."""


@dataclass(frozen=True, slots=True)
class Member:
    """One tar entry: a file, a link to an earlier file, a symbolic link or an empty directory.

    `size` in bytes, `mtime` in whole seconds since the epoch, `mode` permission bits.
    """

    path: str
    kind: bytes
    size: int
    mode: int
    mtime: int
    target: str = ""

    def header(self) -> bytes:
        """The tar header (PAX)."""
        return header(self.path, self.kind, self.size, self.mode, self.mtime, self.target)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a chunk lies: frame `frame_offset`, `frame_length` bytes in the shard, `inner_offset` in the raw frame."""

    chunk_sha256: bytes
    length: int
    frame_offset: int
    frame_length: int
    inner_offset: int


@dataclass(frozen=True, slots=True)
class FinishedShard:
    """A shard that is complete: SHA-256 of its bytes (hex), its size and the raw size of its tar, in bytes."""

    sha256: str
    size: int
    raw_size: int
    frames: int


def padding(size: int) -> bytes:
    """Zero bytes that fill a file of `size` bytes up to a whole number of tar blocks."""
    return bytes(-size % tarfile.BLOCKSIZE)


@dataclass(frozen=True, slots=True)
class RawChunk:
    """A chunk that is to be compressed: its SHA-256 and its bytes."""

    sha256: bytes
    data: bytes


@dataclass(frozen=True, slots=True)
class FramedChunk:
    """A chunk that was compressed before, by the same compressor: its SHA-256, raw length in bytes, and frame."""

    sha256: bytes
    length: int
    frame: bytes


class ChunkChangedError(Exception):
    """A chunk that was added does not have its SHA-256 (`digest`): its file changed since it was hashed."""

    def __init__(self, digest: bytes) -> None:
        super().__init__(digest.hex())
        self.digest = digest


class ShardWriter:
    """Writes one shard to a binary file; used as a context manager, which waits for the threads on the way out.

    Members are added in order; placements are known after `finish`. Every chunk is hashed as it is packed: a wrong one
    raises ChunkChangedError from a later call, `finish` at the latest.
    """

    def __init__(self, file: BinaryIO, compressor: FrameCompressor, pool: Executor, pending_frames: int) -> None:
        """`pending_frames` bounds how many frames wait in memory, each up to MAX_FRAME_BYTES raw."""
        self._file = file
        self._compress = compressor
        self._pool = pool
        self._limit = pending_frames
        self._digest = hashlib.sha256()
        self._buffer = bytearray()
        self._chunks: list[tuple[bytes, int, int]] = []
        self._pending: deque[tuple[Future[bytes], int, list[tuple[bytes, int, int]]]] = deque()
        self._sizes: list[tuple[int, int]] = []
        self._offset = 0
        self.raw_size = 0
        """Bytes of the tar that are on their way into the shard."""
        self.placements: list[Placement] = []

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for future, _, _ in self._pending:
            future.cancel()
        self._pending.clear()

    def add_entry(self, member: Member) -> None:
        """Add an entry without data: a link, a directory, an empty file."""
        self._append(member.header())

    def add_small(self, member: Member, data: bytes, chunk_sha256: bytes) -> None:
        """Add a file that is one chunk."""
        header = member.header()
        if self._buffer and len(self._buffer) + len(header) + len(data) > 2 * FRAME_BYTES:
            # Not behind a frame of small files: they would all be fetched with this one.
            self._close_frame()
        self._buffer += header
        self._chunks.append((chunk_sha256, len(data), len(self._buffer)))
        self._buffer += data
        self._append(padding(len(data)))

    def add_large(self, member: Member, chunks: Iterable[RawChunk | FramedChunk]) -> None:
        """Add a file whose chunks come in order, each for a frame of its own."""
        self._buffer += member.header()
        self._close_frame()
        for chunk in chunks:
            match chunk:
                case RawChunk(digest, data):
                    self._submit(data, [(digest, len(data), 0)])
                case FramedChunk(digest, length, frame):
                    made: Future[bytes] = Future()
                    made.set_result(frame)
                    self._enqueue(made, length, [(digest, length, 0)])
        self._append(padding(member.size))

    def finish(self) -> FinishedShard:
        """End the tar, write the seek table, and return what the shard is."""
        self._buffer += END_OF_TAR
        self._close_frame()
        while self._pending:
            self._write_oldest()
        self._write(seek_table(self._sizes))
        return FinishedShard(self._digest.hexdigest(), self._offset, self.raw_size, len(self._sizes))

    def _append(self, block: bytes) -> None:
        self._buffer += block
        if len(self._buffer) >= FRAME_BYTES:
            self._close_frame()

    def _close_frame(self) -> None:
        if self._buffer:
            self._submit(self._buffer, self._chunks)
            self._buffer, self._chunks = bytearray(), []

    def _submit(self, raw: bytes | bytearray, chunks: list[tuple[bytes, int, int]]) -> None:
        self._enqueue(self._pool.submit(self._make_frame, raw, chunks), len(raw), chunks)

    def _enqueue(self, frame: Future[bytes], raw_size: int, chunks: list[tuple[bytes, int, int]]) -> None:
        self._pending.append((frame, raw_size, chunks))
        self.raw_size += raw_size
        while len(self._pending) > self._limit:
            self._write_oldest()

    def _make_frame(self, raw: bytes | bytearray, chunks: list[tuple[bytes, int, int]]) -> bytes:
        """Check the chunks of a frame and compress it; runs on the pool."""
        with memoryview(raw) as view:
            for digest, length, offset in chunks:
                if hashlib.sha256(view[offset : offset + length]).digest() != digest:
                    raise ChunkChangedError(digest)
        return self._compress(raw)

    def _write_oldest(self) -> None:
        future, raw_size, chunks = self._pending.popleft()
        frame = future.result()
        for digest, length, inner_offset in chunks:
            self.placements.append(Placement(digest, length, self._offset, len(frame), inner_offset))
        self._sizes.append((len(frame), raw_size))
        self._write(frame)

    def _write(self, block: bytes) -> None:
        self._file.write(block)
        self._digest.update(block)
        self._offset += len(block)


def chunk_path(sha256: str) -> str:
    """Path of a chunk member in a delta shard."""
    return CHUNK_MEMBER_PREFIX + sha256
