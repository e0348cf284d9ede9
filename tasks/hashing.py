"""Hash and chunk: the identity of every file's content.

A file that was hashed before and has the same size, mtime, ctime and inode is not read again. Where everything
will be packed, the chunks of large files are compressed on the way (tasks.spool).
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from lading.chunking import WHOLE_FILE_BYTES, Cutter, is_large
from lading.errors import SourceError
from lading.frames import FrameCompressor
from lading.parallel import cores, ordered_map
from lading.parameters import Chunking, Compression
from lading.tables import NdjsonWriter, Tables
from tasks.hash_cache import HashCache
from tasks.progress import advance
from tasks.spool import FrameSpool, Place
from tasks.work import WorkDir

BATCH_FILES = 256
BATCH_BYTES = 32 * 1024 * 1024
"""A batch is what one thread hashes at a time: many small files or one large one."""

OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
"""A link that took a file's place is not followed, and a pipe not waited for; for files NONBLOCK means nothing."""

ATTEMPTS = 3
"""How often a file that changes while it is read is tried."""

HASH_COLUMNS = {
    "path": "VARCHAR",
    "size": "BIGINT",
    "mtime_ns": "BIGINT",
    "ctime_ns": "BIGINT",
    "inode": "UBIGINT",
    "sha256": "VARCHAR",
}
PIECE_COLUMNS = {
    "path": "VARCHAR",
    "seq": "INTEGER",
    "chunk_offset": "BIGINT",
    "length": "BIGINT",
    "chunk_sha256": "VARCHAR",
    "spool_offset": "BIGINT",
    "spool_length": "BIGINT",
}


@dataclass(frozen=True, slots=True)
class HashSummary:
    """Numbers of files and bytes that were read and that the hash cache spared."""

    read_files: int
    read_bytes: int
    cached_files: int
    cached_bytes: int


@dataclass(frozen=True, slots=True)
class _Piece:
    """A chunk of a large file: offset and length in the file, SHA-256, and where its frame waits, if it does."""

    offset: int
    length: int
    sha256: bytes
    place: Place | None


@dataclass(frozen=True, slots=True)
class _Hashed:
    path: str
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    sha256: str
    pieces: tuple[_Piece, ...]


class _Reader:
    """What reading a file takes: the source, how to cut, the threads that share a large file, and the spool."""

    def __init__(self, source: Path, chunking: Chunking, helpers: Executor, spool: FrameSpool | None) -> None:
        self.source = source
        self.helpers = helpers
        self.spool = spool
        self._chunking = chunking
        self._local = threading.local()

    def cutter(self) -> Cutter:
        """This thread's."""
        cutter: Cutter | None = getattr(self._local, "cutter", None)
        if cutter is None:
            cutter = self._local.cutter = Cutter(self._chunking)
        return cutter


def hash_files(
    source: Path,
    work: WorkDir,
    cache: Path,
    chunking: Chunking,
    *,
    rehash: bool = False,
    compression: Compression | None = None,
    threads: int | None = None,
) -> HashSummary:
    """Give every file of `work.entries` its SHA-256 and write the chunks of all files to `work.pieces`.

    `cache` is the folder of the hash cache; `rehash` ignores what it holds. With `compression`, chunks of large files
    that are read are compressed as well, into `work.frames`. Raises SourceError for a file that cannot be read,
    vanished, or goes on changing.
    """
    threads = threads or cores()
    known = HashCache(cache, source, chunking)
    with Tables(spill=work.spill) as tables:
        tables.view("entries", work.entries)
        known.load(tables, ignore=rehash)
        started_ns = time.time_ns()
        _read(source, tables, work, chunking, compression, threads)
        tables.load("hashed", work.root / "hashed.ndjson", HASH_COLUMNS)
        tables.load("cut", work.root / "cut.ndjson", PIECE_COLUMNS)
        tables.run(
            "CREATE TABLE all_hashes AS SELECT * REPLACE (unhex(sha256) AS sha256), false AS was_cached FROM hashed "
            "UNION ALL SELECT *, true FROM cached"
        )
        # Only large files have rows in the cut: a smaller one is its own chunk.
        tables.run(
            "CREATE TABLE large_pieces AS SELECT path, seq, chunk_offset, length, unhex(chunk_sha256) AS chunk_sha256, "
            "spool_offset, spool_length FROM cut UNION ALL SELECT *, NULL, NULL FROM cached_pieces"
        )
        tables.save(
            "SELECT * FROM large_pieces UNION ALL SELECT path, 0, 0, size, sha256, NULL, NULL "
            "FROM all_hashes ANTI JOIN large_pieces USING (path) WHERE size > 0 ORDER BY path, seq",
            work.pieces,
        )
        # A file may have been replaced between scan and hash; what was read counts.
        tables.save(
            "SELECT e.path, e.type, e.target, coalesce(h.size, e.size) AS size, e.mode, "
            "greatest(0, coalesce(h.mtime_ns // 1000000000, e.mtime))::BIGINT AS mtime, h.sha256 "
            "FROM entries e LEFT JOIN all_hashes h USING (path) ORDER BY e.path",
            work.root / "entries.hashed.parquet",
        )
        known.save(tables, started_ns)
        counts = tables.row(
            "SELECT count(*) FILTER (NOT was_cached), coalesce(sum(size) FILTER (NOT was_cached), 0)::BIGINT, "
            "count(*) FILTER (was_cached), coalesce(sum(size) FILTER (was_cached), 0)::BIGINT FROM all_hashes"
        )
    (work.root / "entries.hashed.parquet").replace(work.entries)
    for name in ("hashed.ndjson", "cut.ndjson"):
        (work.root / name).unlink()
    return HashSummary(*counts)


def _read(
    source: Path, tables: Tables, work: WorkDir, chunking: Chunking, compression: Compression | None, threads: int
) -> None:
    """Hash what the cache does not know into two NDJSON files."""
    todo = tables.rows(
        "SELECT path, size FROM entries ANTI JOIN cached USING (path) WHERE type = 'file' "
        # The largest first, so that no thread is left alone with one at the end.
        f"ORDER BY CASE WHEN size >= {WHOLE_FILE_BYTES} THEN size ELSE 0 END DESC, path"
    )
    with ExitStack() as stack:
        spool = None
        if compression is not None:
            spool = stack.enter_context(FrameSpool(work.frames, FrameCompressor(compression.level)))
        # The helpers end after those who wait for them.
        helpers = stack.enter_context(ThreadPoolExecutor(threads, thread_name_prefix="hash-chunk"))
        pool = stack.enter_context(ThreadPoolExecutor(threads, thread_name_prefix="hash"))
        hashed = stack.enter_context(NdjsonWriter(work.root / "hashed.ndjson"))
        cuts = stack.enter_context(NdjsonWriter(work.root / "cut.ndjson"))
        total = tables.row("SELECT coalesce(sum(size), 0)::BIGINT FROM entries ANTI JOIN cached USING (path)")[0]
        advance("hash", 0, total)
        reader = _Reader(source, chunking, helpers, spool)

        def hash_batch(batch: list[str]) -> list[_Hashed]:
            return [hash_file(reader, path) for path in batch]

        for batch in ordered_map(pool, hash_batch, batches(todo), pending=4 * threads):
            advance("hash", sum(file.size for file in batch if not file.pieces))
            for file in batch:
                hashed.write({name: getattr(file, name) for name in HASH_COLUMNS})
                for seq, piece in enumerate(file.pieces):
                    cuts.write(_piece_row(file.path, seq, piece))


def _piece_row(path: str, seq: int, piece: _Piece) -> dict[str, Any]:
    return {
        "path": path,
        "seq": seq,
        "chunk_offset": piece.offset,
        "length": piece.length,
        "chunk_sha256": piece.sha256.hex(),
        "spool_offset": piece.place and piece.place.offset,
        "spool_length": piece.place and piece.place.length,
    }


def batches(files: Any) -> Iterator[list[str]]:
    """Group (path, size) rows into lists of paths of at most BATCH_FILES files and about BATCH_BYTES bytes."""
    batch: list[str] = []
    total = 0
    for path, size in files:
        batch.append(path)
        total += size
        if len(batch) >= BATCH_FILES or total >= BATCH_BYTES:
            yield batch
            batch, total = [], 0
    if batch:
        yield batch


def hash_file(reader: _Reader, path: str) -> _Hashed:
    """Hash one file, again if it changed meanwhile. Raises SourceError after ATTEMPTS changes."""
    for _ in range(ATTEMPTS):
        try:
            # Plain descriptors: with a million small files, a file object for each would be a third of the work.
            descriptor = os.open(f"{reader.source}/{path}", OPEN_FLAGS)
            try:
                before = os.fstat(descriptor)
                if not stat.S_ISREG(before.st_mode):
                    raise SourceError(f"{path!r} is no file any more", "release when nothing writes there")
                digest, pieces, size = _hash_open(descriptor, before.st_size, reader)
                after = os.fstat(descriptor)
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            raise SourceError(f"{path!r} vanished while it was read", "release when nothing writes there") from None
        except OSError as error:
            raise SourceError(f"{path!r} cannot be read ({error.strerror})", "check its permissions") from error
        if size == before.st_size and _same(before, after):
            return _Hashed(path, size, before.st_mtime_ns, before.st_ctime_ns, before.st_ino, digest, pieces)
    raise SourceError(f"{path!r} goes on changing while it is read", "release when nothing writes there")


def _hash_open(descriptor: int, expected: int, reader: _Reader) -> tuple[str, tuple[_Piece, ...], int]:
    """SHA-256, pieces if it is large, and the size that was read."""
    if is_large(expected):
        with open(descriptor, "rb", buffering=0, closefd=False) as file:
            digest, pieces = _hash_large(file, reader)
        return digest, pieces, sum(piece.length for piece in pieces)
    data = os.read(descriptor, expected + 1)
    while len(data) <= expected and (more := os.read(descriptor, expected + 1 - len(data))):
        data += more
    return hashlib.sha256(data).hexdigest(), (), len(data)


def _hash_large(file: BinaryIO, reader: _Reader) -> tuple[str, tuple[_Piece, ...]]:
    """Cut the file and hash it as a whole here, while helpers do what each chunk takes."""
    whole = hashlib.sha256()
    pieces: list[_Piece] = []
    offset = 0
    before: list[Future[_Piece]] = []
    pending: list[Future[_Piece]] = []
    try:
        for segment in reader.cutter().segments(file):
            for chunk in segment:
                pending.append(reader.helpers.submit(_make_piece, offset, chunk, reader.spool))
                offset += len(chunk)
            for chunk in segment:
                whole.update(chunk)
            advance("hash", sum(map(len, segment)))
            # The next segment is read over the one before this.
            pieces += [future.result() for future in before]
            before, pending = pending, []
        pieces += [future.result() for future in before]
    finally:
        # The buffers are for the next file: nothing may still read them when this one failed.
        wait([*before, *pending])
    return whole.hexdigest(), tuple(pieces)


def _make_piece(offset: int, chunk: memoryview, spool: FrameSpool | None) -> _Piece:
    digest = hashlib.sha256(chunk).digest()
    return _Piece(offset, len(chunk), digest, spool.add(digest, chunk) if spool else None)


def _same(before: os.stat_result, after: os.stat_result) -> bool:
    return (before.st_size, before.st_mtime_ns, before.st_ino) == (after.st_size, after.st_mtime_ns, after.st_ino)
