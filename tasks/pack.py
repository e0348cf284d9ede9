"""Pack: write one planned shard from the source files."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path
from typing import BinaryIO, NamedTuple

from lading.errors import SourceError
from lading.frames import FrameCompressor
from lading.parallel import cores
from lading.parameters import Compression
from lading.shard import ChunkChangedError, FramedChunk, Member, RawChunk, ShardWriter
from lading.tables import NdjsonWriter, Tables, literal
from tasks.hashing import OPEN_FLAGS
from tasks.progress import advance
from tasks.work import WorkDir

ADVANCE_BYTES = 4 * 1024 * 1024
"""How much is packed before it is said again how far it is."""

PLACEMENT_COLUMNS = {
    "chunk_sha256": "VARCHAR",
    "length": "BIGINT",
    "frame_offset": "BIGINT",
    "frame_length": "BIGINT",
    "inner_offset": "BIGINT",
}


@dataclass(frozen=True, slots=True)
class PackedShard:
    """A shard on disk that waits for its upload: sizes in bytes, SHA-256 in hex, kind `base` or `delta`."""

    path: Path
    sha256: str
    size: int
    raw_size: int
    frames: int
    kind: str


class _Row(NamedTuple):
    member_no: int
    path: str
    kind: str
    size: int
    mode: int
    mtime: int
    target: str
    source: str | None
    chunk_offset: int
    length: int
    chunk_sha256: bytes
    spool_offset: int | None
    spool_length: int | None


def pack_shard(
    source: Path, work: WorkDir, shard_no: int, kind: str, compression: Compression, threads: int | None = None
) -> PackedShard:
    """Pack shard `shard_no` of the plan into the work folder, and note where its chunks lie.

    Every chunk is hashed again as it is read: raises SourceError if a file is no longer what was planned. Chunks whose
    frames are in the spool are not read again: the frames were made of what was hashed.
    """
    threads = threads or cores()
    partial = work.shards / f"{shard_no:06d}.partial"
    with Tables() as tables:
        tables.view("members", work.members)
        try:
            with (
                ThreadPoolExecutor(threads, thread_name_prefix="zstd") as pool,
                partial.open("wb") as file,
                work.frames.open("rb") if work.frames.exists() else nullcontext() as frames,
                ShardWriter(file, FrameCompressor(compression.level), pool, pending_frames=4 * threads) as writer,
            ):
                packed = 0
                for _, rows in groupby(_planned(tables, shard_no), key=lambda row: row.member_no):
                    _add(writer, source, frames, rows)
                    if writer.raw_size - packed >= ADVANCE_BYTES:
                        advance("pack", writer.raw_size - packed)
                        packed = writer.raw_size
                finished = writer.finish()
                advance("pack", finished.raw_size - packed)
        except BaseException as error:
            partial.unlink(missing_ok=True)
            if isinstance(error, ChunkChangedError):
                raise _changed(tables, error) from error
            raise
        path = work.shards / f"{finished.sha256}.tar.zst"
        partial.replace(path)
        _save_placements(tables, work, shard_no, finished.sha256, writer)
    return PackedShard(path, finished.sha256, finished.size, finished.raw_size, finished.frames, kind)


def _planned(tables: Tables, shard_no: int) -> Iterator[_Row]:
    return map(
        _Row._make,
        tables.rows(
            "SELECT member_no, path, kind, size, mode, mtime, target, source, chunk_offset, length, chunk_sha256, "
            "spool_offset, spool_length FROM members WHERE shard_no = ? ORDER BY member_no, chunk_offset",
            shard_no,
        ),
    )


def _changed(tables: Tables, error: ChunkChangedError) -> SourceError:
    path = tables.row("SELECT min(source) FROM members WHERE chunk_sha256 = ?", error.digest)[0]
    return SourceError(
        f"{path!r} is not what it was when it was hashed", "release when nothing writes there, or with --rehash"
    )


def _add(writer: ShardWriter, source: Path, frames: BinaryIO | None, rows: Iterator[_Row]) -> None:
    row = next(rows)
    member = Member(row.path, row.kind.encode(), row.size, row.mode, row.mtime, row.target)
    if row.source is None or row.kind != tarfile.REGTYPE.decode():
        writer.add_entry(member)
        return
    second = next(rows, None)
    whole = row.length == row.size and row.path == row.source
    if whole and second is None and not row.chunk_offset:
        writer.add_small(member, read_chunk(source, row.source, 0, row.length), row.chunk_sha256)
        return
    pieces = chain([row] if second is None else [row, second], rows)
    with closing(_chunks(source, row.source, frames, pieces)) as chunks:
        writer.add_large(member, chunks)


def _chunks(
    source: Path, path: str, frames: BinaryIO | None, pieces: Iterable[_Row]
) -> Generator[RawChunk | FramedChunk]:
    """The chunks of one file, each from the spool or else from the file, which is opened if it is needed."""
    descriptor = -1
    try:
        for piece in pieces:
            if frames is not None and piece.spool_offset is not None and piece.spool_length is not None:
                frame = os.pread(frames.fileno(), piece.spool_length, piece.spool_offset)
                yield FramedChunk(piece.chunk_sha256, piece.length, frame)
                continue
            if descriptor < 0:
                descriptor = _open(source, path)
            yield RawChunk(piece.chunk_sha256, _read(descriptor, path, piece.chunk_offset, piece.length))
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _open(source: Path, path: str) -> int:
    """A file descriptor: with a million small files, a file object for each would be a third of the work."""
    try:
        return os.open(f"{source}/{path}", OPEN_FLAGS)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: OSError) -> SourceError:
    return SourceError(f"{path!r} cannot be read any more ({error.strerror})", "release when nothing writes there")


def read_chunk(source: Path, path: str, offset: int, length: int) -> bytes:
    """The bytes of one chunk of a source file, or less if the file shrank. Raises SourceError."""
    descriptor = _open(source, path)
    try:
        return _read(descriptor, path, offset, length)
    finally:
        os.close(descriptor)


def _read(descriptor: int, path: str, offset: int, length: int) -> bytes:
    data = b""
    try:
        while len(data) < length:
            more = os.pread(descriptor, length - len(data), offset + len(data))
            if not more:
                break
            data = data + more if data else more
    except OSError as error:
        raise _unreadable(path, error) from error
    return data


def _save_placements(tables: Tables, work: WorkDir, shard_no: int, sha256: str, writer: ShardWriter) -> None:
    table = work.placements(shard_no)
    listing = table.with_suffix(".ndjson")
    with NdjsonWriter(listing) as rows:
        for placement in writer.placements:
            rows.write(
                {
                    "chunk_sha256": placement.chunk_sha256.hex(),
                    "length": placement.length,
                    "frame_offset": placement.frame_offset,
                    "frame_length": placement.frame_length,
                    "inner_offset": placement.inner_offset,
                }
            )
    tables.load("placed", listing, PLACEMENT_COLUMNS)
    tables.save(
        f"SELECT unhex(chunk_sha256) AS chunk_sha256, length, unhex({literal(sha256)}) AS shard, frame_offset, "
        "frame_length, inner_offset FROM placed",
        table,
    )
    listing.unlink()
