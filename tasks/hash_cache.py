"""The hash cache: what files of a source were found to hold, so that unchanged ones are not read again.

Two Parquet files for each source folder and chunking parameters: one row for each file, and the chunks of large ones.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from lading.parameters import Chunking
from lading.tables import Tables, literal

RACY_NS = 2_000_000_000
"""A file modified less than this before it was hashed may change again within its mtime's resolution: it is not
remembered (the `racy git` problem)."""


FORMAT = 2
"""Of the two files; another one begins anew."""


class HashCache:
    """The cache of one source folder; safe for runs at the same time, of which the last one is remembered."""

    def __init__(self, folder: Path, source: Path, chunking: Chunking) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        identity = f"{FORMAT}\0{source.resolve()}\0{json.dumps(asdict(chunking))}"
        name = hashlib.sha256(identity.encode()).hexdigest()[:24]
        self._files = folder / f"{name}-files.parquet"
        self._pieces = folder / f"{name}-pieces.parquet"
        self._lock = folder / f"{name}.lock"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def load(self, tables: Tables, *, ignore: bool = False) -> None:
        """Tables `cached` and `cached_pieces`: what holds for those of `entries` that are as they were.

        A file is as it was if its size, inode and, to the nanosecond, mtime and ctime are: whoever sets an mtime back
        (`touch -r`, `tar x`) changes the ctime, which nobody can set. With `ignore` both tables are empty.
        """
        with self._locked():
            if ignore or not (self._files.exists() and self._pieces.exists()):
                tables.run(
                    "CREATE TABLE cached (path VARCHAR, size BIGINT, mtime_ns BIGINT, ctime_ns BIGINT, inode UBIGINT, "
                    "sha256 BLOB)"
                )
                tables.run(
                    "CREATE TABLE cached_pieces (path VARCHAR, seq INTEGER, chunk_offset BIGINT, length BIGINT, "
                    "chunk_sha256 BLOB)"
                )
                return
            tables.run(
                f"CREATE TABLE cached AS SELECT * FROM read_parquet({literal(self._files)}) SEMI JOIN "
                "entries USING (path, size, mtime_ns, ctime_ns, inode)"
            )
            tables.run(
                f"CREATE TABLE cached_pieces AS SELECT * FROM read_parquet({literal(self._pieces)}) "
                "SEMI JOIN cached USING (path)"
            )

    def save(self, tables: Tables, started_ns: int) -> None:
        """Remember tables `all_hashes` and `large_pieces`; `started_ns` is when the first file was read."""
        with self._locked():
            # The two belong together: between the removal and the last write there is no cache at all.
            self._files.unlink(missing_ok=True)
            tables.save("SELECT path, seq, chunk_offset, length, chunk_sha256 FROM large_pieces", self._pieces)
            tables.save(
                "SELECT path, size, mtime_ns, ctime_ns, inode, sha256 FROM all_hashes "
                f"WHERE was_cached OR mtime_ns < {started_ns - RACY_NS}",
                self._files,
            )
