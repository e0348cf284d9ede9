"""Hash and chunk: the identity of every file's content.

A file that was hashed before and has the same size, mtime in nanoseconds and inode is not read again.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lading.chunking import WHOLE_FILE_BYTES, cut, is_large
from lading.errors import SourceError
from lading.manifest import Chunking
from lading.parallel import cores, ordered_map
from lading.tables import NdjsonWriter, Tables, literal
from tasks.work import WorkDir

BATCH_FILES = 256
BATCH_BYTES = 32 * 1024 * 1024
"""A batch is what one thread hashes at a time: many small files or one large one."""

OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
"""A link that took a file's place is not followed, and a pipe not waited for; for files NONBLOCK means nothing."""

ATTEMPTS = 3
"""How often a file that changes while it is read is tried."""

RACY_NS = 2_000_000_000
"""A file modified less than this before it was hashed may change again within its mtime's resolution: it is not
remembered (the `racy git` problem)."""

HASH_COLUMNS = {"path": "VARCHAR", "size": "BIGINT", "mtime_ns": "BIGINT", "inode": "UBIGINT", "sha256": "VARCHAR"}
PIECE_COLUMNS = {
    "path": "VARCHAR",
    "seq": "INTEGER",
    "chunk_offset": "BIGINT",
    "length": "BIGINT",
    "chunk_sha256": "VARCHAR",
}


@dataclass(frozen=True, slots=True)
class HashSummary:
    """Numbers of files and bytes that were read and that the hash cache spared."""

    read_files: int
    read_bytes: int
    cached_files: int
    cached_bytes: int


@dataclass(frozen=True, slots=True)
class _Hashed:
    path: str
    size: int
    mtime_ns: int
    inode: int
    sha256: str
    pieces: tuple[tuple[int, int, str], ...]


def hash_files(
    source: Path, work: WorkDir, cache: Path, chunking: Chunking, *, rehash: bool = False, threads: int | None = None
) -> HashSummary:
    """Give every file of `work.entries` its SHA-256 and write the chunks of all files to `work.pieces`.

    `cache` is the folder of the hash cache; `rehash` ignores what it holds. Raises SourceError for a file that cannot
    be read, vanished, or goes on changing.
    """
    threads = threads or cores()
    cache.mkdir(parents=True, exist_ok=True)
    known = {name: _cache_file(cache, source, name, chunking) for name in ("files", "pieces")}
    with Tables(spill=work.spill) as tables:
        tables.view("entries", work.entries)
        if rehash or not all(path.exists() for path in known.values()):
            tables.run(
                "CREATE TABLE cached AS SELECT '' AS path, 0::BIGINT AS size, 0 AS mtime_ns, 0 AS inode, "
                "''::VARCHAR AS sha256 WHERE false"
            )
            tables.run(
                "CREATE TABLE cached_pieces AS SELECT '' AS path, 0 AS seq, 0::BIGINT AS chunk_offset, "
                "0::BIGINT AS length, ''::BLOB AS chunk_sha256 WHERE false"
            )
        else:
            tables.run(
                f"CREATE TABLE cached AS SELECT * FROM read_parquet({literal(known['files'])}) SEMI JOIN "
                "entries USING (path, size, mtime_ns, inode)"
            )
            tables.run(
                "CREATE TABLE cached_pieces AS SELECT * FROM "
                f"read_parquet({literal(known['pieces'])}) SEMI JOIN cached USING (path)"
            )
        started_ns = time.time_ns()
        _read(source, tables, work, chunking, threads)
        tables.load("hashed", work.root / "hashed.ndjson", HASH_COLUMNS)
        tables.load("cut", work.root / "cut.ndjson", PIECE_COLUMNS)
        tables.run(
            "CREATE TABLE all_hashes AS SELECT path, size, mtime_ns, inode, unhex(sha256) AS sha256, "
            "false AS was_cached FROM hashed UNION ALL SELECT path, size, mtime_ns, inode, sha256, true FROM cached"
        )
        # Only large files have rows in the cut: a smaller one is its own chunk.
        tables.run(
            "CREATE TABLE large_pieces AS SELECT path, seq, chunk_offset, length, unhex(chunk_sha256) AS chunk_sha256 "
            "FROM cut UNION ALL SELECT * FROM cached_pieces"
        )
        tables.save(
            "SELECT path, seq, chunk_offset, length, chunk_sha256 FROM large_pieces UNION ALL "
            "SELECT path, 0, 0, size, sha256 FROM all_hashes ANTI JOIN large_pieces USING (path) WHERE size > 0 "
            "ORDER BY path, seq",
            work.pieces,
        )
        # A file may have been replaced between scan and hash; what was read counts.
        tables.save(
            "SELECT e.path, e.type, e.target, coalesce(h.size, e.size) AS size, e.mode, "
            "greatest(0, coalesce(h.mtime_ns // 1000000000, e.mtime))::BIGINT AS mtime, h.sha256 "
            "FROM entries e LEFT JOIN all_hashes h USING (path) ORDER BY e.path",
            work.root / "entries.hashed.parquet",
        )
        # The two cache files belong together: between the removal and the last write there is no cache at all.
        known["files"].unlink(missing_ok=True)
        tables.save("SELECT * FROM large_pieces", known["pieces"])
        tables.save(
            "SELECT path, size, mtime_ns, inode, sha256 FROM all_hashes "
            f"WHERE was_cached OR mtime_ns < {started_ns - RACY_NS}",
            known["files"],
        )
        counts = tables.row(
            "SELECT count(*) FILTER (NOT was_cached), coalesce(sum(size) FILTER (NOT was_cached), 0)::BIGINT, "
            "count(*) FILTER (was_cached), coalesce(sum(size) FILTER (was_cached), 0)::BIGINT FROM all_hashes"
        )
    (work.root / "entries.hashed.parquet").replace(work.entries)
    for name in ("hashed.ndjson", "cut.ndjson"):
        (work.root / name).unlink()
    return HashSummary(*counts)


def _read(source: Path, tables: Tables, work: WorkDir, chunking: Chunking, threads: int) -> None:
    """Hash what the cache does not know into two NDJSON files."""
    todo = tables.rows(
        "SELECT path, size FROM entries ANTI JOIN cached USING (path) WHERE type = 'file' "
        # The largest first, so that no thread is left alone with one at the end.
        f"ORDER BY CASE WHEN size >= {WHOLE_FILE_BYTES} THEN size ELSE 0 END DESC, path"
    )

    def hash_batch(batch: list[str]) -> list[_Hashed]:
        return [hash_file(source, path, chunking, helpers) for path in batch]

    with (
        ThreadPoolExecutor(threads, thread_name_prefix="hash") as pool,
        ThreadPoolExecutor(threads, thread_name_prefix="hash-whole") as helpers,
        NdjsonWriter(work.root / "hashed.ndjson") as hashed,
        NdjsonWriter(work.root / "cut.ndjson") as cuts,
    ):
        for batch in ordered_map(pool, hash_batch, batches(todo), pending=4 * threads):
            for file in batch:
                hashed.write({name: getattr(file, name) for name in HASH_COLUMNS})
                for seq, (offset, length, digest) in enumerate(file.pieces):
                    cuts.write(
                        {
                            "path": file.path,
                            "seq": seq,
                            "chunk_offset": offset,
                            "length": length,
                            "chunk_sha256": digest,
                        }
                    )


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


def hash_file(source: Path, path: str, chunking: Chunking, helpers: Executor | None = None) -> _Hashed:
    """Hash one file, again if it changed meanwhile; `helpers`, if there are any, take a part of large files.

    Raises SourceError after ATTEMPTS changes.
    """
    for _ in range(ATTEMPTS):
        try:
            # Plain descriptors: with a million small files, a file object for each would be a third of the work.
            descriptor = os.open(f"{source}/{path}", OPEN_FLAGS)
            try:
                before = os.fstat(descriptor)
                if not stat.S_ISREG(before.st_mode):
                    raise SourceError(f"{path!r} is no file any more", "release when nothing writes there")
                digest, pieces, size = _hash_open(descriptor, before.st_size, chunking, helpers)
                after = os.fstat(descriptor)
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            raise SourceError(f"{path!r} vanished while it was read", "release when nothing writes there") from None
        except OSError as error:
            raise SourceError(f"{path!r} cannot be read ({error.strerror})", "check its permissions") from error
        if size == before.st_size and _same(before, after):
            return _Hashed(path, size, before.st_mtime_ns, before.st_ino, digest, pieces)
    raise SourceError(f"{path!r} goes on changing while it is read", "release when nothing writes there")


def _hash_open(
    descriptor: int, expected: int, chunking: Chunking, helpers: Executor | None
) -> tuple[str, tuple[tuple[int, int, str], ...], int]:
    """SHA-256, pieces if it is large, and the size that was read."""
    if is_large(expected):
        with open(descriptor, "rb", buffering=0, closefd=False) as file:
            digest, pieces = _hash_large(file, chunking, helpers)
        return digest, pieces, sum(length for _, length, _ in pieces)
    data = os.read(descriptor, expected + 1)
    while len(data) <= expected and (more := os.read(descriptor, expected + 1 - len(data))):
        data += more
    return hashlib.sha256(data).hexdigest(), (), len(data)


def _hash_large(
    file: Any, chunking: Chunking, helpers: Executor | None
) -> tuple[str, tuple[tuple[int, int, str], ...]]:
    """Hash the file and its chunks in one pass, with helpers each on a thread of its own."""
    whole = hashlib.sha256()
    pieces = []
    offset = 0
    for chunk in cut(file, chunking):
        updated = helpers.submit(whole.update, chunk) if helpers else None
        pieces.append((offset, len(chunk), hashlib.sha256(chunk).hexdigest()))
        if updated is None:
            whole.update(chunk)
        else:
            updated.result()
        offset += len(chunk)
    return whole.hexdigest(), tuple(pieces)


def _same(before: os.stat_result, after: os.stat_result) -> bool:
    return (before.st_size, before.st_mtime_ns, before.st_ino) == (after.st_size, after.st_mtime_ns, after.st_ino)


def _cache_file(cache: Path, source: Path, name: str, chunking: Chunking) -> Path:
    """The cache is per source folder and per chunking parameters."""
    identity = f"{source.resolve()}\0{chunking.model_dump_json()}"
    return cache / f"{hashlib.sha256(identity.encode()).hexdigest()[:24]}-{name}.parquet"
