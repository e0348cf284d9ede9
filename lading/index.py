"""The release index: two Parquet files, hashes as 32-byte BLOBs.

files.parquet    file_id, path, type (file|dir|symlink), target, size, sha256, mode, mtime, and the user's columns;
                 sorted by path, file_id counts from 0 in that order
chunks.parquet   file_id, seq, chunk_sha256, length, shard, frame_offset, frame_length, inner_offset;
                 sorted by file_id and seq, `shard` is the shard's SHA-256; `chunk_sha256` is NULL where the chunk is
                 the whole file, whose `sha256` it has: hashes do not compress, and would be most of the index

Sizes, lengths and offsets are in bytes, `mtime` in seconds since the epoch, `mode` holds permission bits.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lading.tables import Tables

FILE_COLUMNS = ("file_id", "path", "type", "target", "size", "sha256", "mode", "mtime")
CHUNK_COLUMNS = (
    "file_id",
    "seq",
    "chunk_sha256",
    "length",
    "shard",
    "frame_offset",
    "frame_length",
    "inner_offset",
)


@dataclass(frozen=True, slots=True)
class IndexFile:
    """A Parquet file of the index on disk: SHA-256 in hex, size in bytes, number of rows."""

    path: Path
    sha256: str
    size: int
    rows: int


def view_chunks(tables: Tables, name: str, files: Path, chunks: Path) -> None:
    """Name the chunks of an index, each with its SHA-256, as CHUNK_COLUMNS has them."""
    from lading.tables import literal

    tables.run(
        f"CREATE OR REPLACE VIEW {name} AS SELECT c.* REPLACE (coalesce(c.chunk_sha256, f.sha256) AS chunk_sha256) "
        f"FROM read_parquet({literal(chunks)}) c LEFT JOIN read_parquet({literal(files)}) f USING (file_id)"
    )


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe(path: Path, rows: int) -> IndexFile:
    """Facts of an index file for the manifest."""
    return IndexFile(path, sha256_of(path), path.stat().st_size, rows)
