"""The lookup object: where each file of a release lies, for whoever can read only a few kilobytes of it.

It says what the Parquet index says, in a form in which one path is found by two small ranged reads: the gateway serves
single files by it. All numbers are big-endian and without sign, sizes and offsets in bytes.

    header     64: magic, bucket bits b (4), shards (4), entries (8), spans (8), pieces (8), zeros
    shards     32 each: SHA-256, ascending
    directory  4 each, 2^b + 1 of them: number of the first entry of each bucket, then the number of all
    entries    88 each, ascending by the first 16 bytes of the SHA-256 of the path; its first b bits are its bucket
    spans      24 each: offset (8) and length (8) of whole frames in a row, shard (4), zeros (4)
    pieces     64 each: SHA-256 (32), start in the file (8), frame offset (8), frame length (4), shard (4), inner offset
               (4), length (4)

An entry: hash of the path (16), SHA-256 of the content (32), size (8), mtime (8), kind (1), zeros (3), and by its kind

    0  an empty file                          zeros
    1  a file in one piece                    shard (4), frame length (4), inner offset (4), frame offset (8)
    2  a file in several pieces               first piece (4), pieces (4), spans (4), first span (8)
    3  a folder without files                 zeros
    4  a link that leads to no file           zeros

A link that leads to a file of the release is an entry of that file's content. A file has spans if its pieces are whole
frames: their bytes, one after the other, are the file as zstd frames.

Two different paths of 2 million share 128 bits of SHA-256 with a chance of 6e-27, and to find a path that is not there
but meets one that is takes 2^128 attempts. Who could make two meet is the publisher, who decides what both hold anyway.
"""

from __future__ import annotations

import hashlib
import struct
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from lading.errors import IntegrityError, SourceError
from lading.tables import Tables

MAGIC: Final = b"LADLKUP1"
HEADER_BYTES: Final = 64
SHARD_BYTES: Final = 32
DIRECTORY_BYTES: Final = 4
ENTRY_BYTES: Final = 88
SPAN_BYTES: Final = 24
PIECE_BYTES: Final = 64

BUCKET_ENTRIES: Final = 32
"""Entries of a bucket, at most on average: 2.8 kB, which a store sends as fast as one byte."""

PATH_HASH_BYTES: Final = 16

MAX_NUMBER: Final = 2**32 - 1
"""Entries and pieces are counted in 4 bytes: 4 PiB of content, at 1 MiB a piece."""

MAX_LINKS: Final = 15
"""Links that may lead to one another: the client follows as many."""

EMPTY, ONE_PIECE, PIECES, FOLDER, DANGLING = range(5)

_HEADER = struct.Struct(">8sIIQQQ24x")
_ENTRY = struct.Struct(">16s32sQQB3xIIIQ")
_SPAN = struct.Struct(">QQI4x")
_PIECE = struct.Struct(">32sQQIIII")


class Piece(NamedTuple):
    """`length` bytes of a file from `start` on: in one frame of a shard, `inner_offset` behind the frame's begin."""

    sha256: bytes
    start: int
    length: int
    shard: bytes
    frame_offset: int
    frame_length: int
    inner_offset: int


class Span(NamedTuple):
    """Whole frames in a row, in one shard."""

    shard: bytes
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Found:
    """What the lookup knows of a path. `spans` is empty where the file's pieces are no whole frames."""

    kind: int
    size: int
    sha256: bytes
    mtime: int
    pieces: tuple[Piece, ...]
    spans: tuple[Span, ...]


def bucket_bits(entries: int) -> int:
    """Bits of the path's hash that number its bucket."""
    return ((max(1, entries) - 1) // BUCKET_ENTRIES).bit_length()


def write_lookup(tables: Tables, path: Path) -> int:
    """Write the lookup of the index that `tables` names `files` and `chunks`; returns the number of entries.

    The same index gives the same bytes. Memory is bounded by that of `tables`. Raises SourceError if there are more
    files than a lookup can number.
    """
    for statement in (_SHARDS, _SEVERAL, _PIECES, _SPANS):
        tables.run(statement)
    _resolve_links(tables)
    total, pieces = tables.row("SELECT (SELECT count(*) FROM files), (SELECT count(*) FROM lookup_pieces)")
    if max(total, pieces) > MAX_NUMBER:
        raise SourceError("the release has more files or chunks than its lookup can number", "split the dataset")
    bits = bucket_bits(total)
    tables.run(_ENTRIES.format(shift=32 - bits))
    shards, spans = tables.row("SELECT (SELECT count(*) FROM lookup_shards), (SELECT count(*) FROM lookup_spans)")
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(_HEADER.pack(MAGIC, bits, shards, total, spans, pieces))
        _write_blobs(file, tables, "SELECT shard FROM lookup_shards ORDER BY shard")
        counts = tables.rows("SELECT bucket, count(*) FROM lookup_entries GROUP BY bucket ORDER BY bucket")
        file.write(_directory(counts, bits))
        # An entry begins with the hash.
        _write_blobs(file, tables, "SELECT entry FROM lookup_entries ORDER BY entry")
        _write_blobs(file, tables, "SELECT record FROM lookup_spans ORDER BY file_id, span")
        _write_blobs(file, tables, "SELECT record FROM lookup_pieces ORDER BY file_id, seq")
        size = file.tell()
    assert size == _Layout(bits, shards, total, spans, pieces).size, "the lookup has not the size that its header says"
    partial.replace(path)
    for name in ("entries", "spans", "pieces", "several", "shards", "links"):
        tables.run(f"DROP TABLE lookup_{name}")
    return int(total)


def _write_blobs(file: BinaryIO, tables: Tables, query: str) -> None:
    cursor = tables.cursor()
    cursor.execute(query)
    while rows := cursor.fetchmany(_BATCH_ROWS):
        file.write(b"".join([row[0] for row in rows]))


def _directory(counts: Iterable[tuple[int, int]], bits: int) -> bytes:
    """Number of the first entry of each bucket, and behind the last one the number of all."""
    starts = array("I", bytes(DIRECTORY_BYTES * ((1 << bits) + 1)))
    assert starts.itemsize == DIRECTORY_BYTES
    for bucket, count in counts:
        starts[bucket + 1] = count
    total = 0
    for number, count in enumerate(starts):
        total += count
        starts[number] = total
    if struct.pack("=H", 1) != struct.pack(">H", 1):
        starts.byteswap()
    return starts.tobytes()


_BATCH_ROWS = 20_000

_SHARDS = """
CREATE OR REPLACE TABLE lookup_shards AS
SELECT shard, row_number() OVER (ORDER BY shard) - 1 AS shard_no FROM (SELECT DISTINCT shard FROM chunks)
"""

# Files in several pieces are few, and only they need windows and sums.
_SEVERAL = """
CREATE OR REPLACE TABLE lookup_several AS
SELECT file_id, pieces, codable, sum(pieces) OVER (ORDER BY file_id ROWS UNBOUNDED PRECEDING) - pieces AS first_piece
FROM (SELECT file_id, count(*) AS pieces, bool_and(inner_offset = 0) AS codable FROM chunks
      SEMI JOIN (SELECT file_id FROM chunks WHERE seq = 1) USING (file_id) GROUP BY file_id)
"""

# A frame begins with a tar header or holds one chunk and nothing else (lading/shard.py): what lies at its begin is all.
_PIECES = """
CREATE OR REPLACE TABLE lookup_pieces AS
WITH placed AS (
    SELECT file_id, seq, codable, shard_no, frame_offset, frame_length, inner_offset, length, chunk_sha256,
           sum(length) OVER ordered - length AS start,
           lag(shard_no) OVER ordered IS NOT DISTINCT FROM shard_no
               AND lag(frame_offset + frame_length) OVER ordered IS NOT DISTINCT FROM frame_offset AS joins
    FROM chunks JOIN lookup_several USING (file_id) JOIN lookup_shards USING (shard)
    WINDOW ordered AS (PARTITION BY file_id ORDER BY seq ROWS UNBOUNDED PRECEDING)
)
SELECT file_id, seq, codable, shard_no, frame_offset, frame_length,
       sum((NOT joins)::INTEGER) OVER (PARTITION BY file_id ORDER BY seq ROWS UNBOUNDED PRECEDING) AS span,
       chunk_sha256 || unhex(format('{:016x}{:016x}{:08x}{:08x}{:08x}{:08x}', start::BIGINT, frame_offset, frame_length,
                                    shard_no, inner_offset, length)) AS record
FROM placed
"""

_SPANS = """
CREATE OR REPLACE TABLE lookup_spans AS
SELECT file_id, span,
       unhex(format('{:016x}{:016x}{:08x}00000000', min(frame_offset), sum(frame_length)::BIGINT, any_value(shard_no)))
           AS record
FROM lookup_pieces WHERE codable GROUP BY file_id, span
"""

# A source has `..` at the beginning of a link's target only, so that it need not be resolved name by name.
_LEADS_TO = """
array_to_string(list_concat(
    list_slice(string_split({path}, '/'), 1,
               -2 - len(list_filter(string_split({target}, '/'), lambda name: name = '..'))),
    list_filter(string_split({target}, '/'), lambda name: name NOT IN ('', '.', '..'))
), '/')
"""

_ENTRIES = """
CREATE OR REPLACE TABLE lookup_entries AS
WITH spans AS (
    SELECT file_id, count(*) AS spans, sum(count(*)) OVER (ORDER BY file_id ROWS UNBOUNDED PRECEDING) - count(*)
               AS first_span
    FROM lookup_spans GROUP BY file_id
),
several AS (SELECT file_id, first_piece, pieces, spans, first_span FROM lookup_several LEFT JOIN spans USING (file_id)),
alone AS (
    SELECT file_id, shard_no, frame_length, inner_offset, frame_offset
    FROM chunks JOIN lookup_shards USING (shard) ANTI JOIN lookup_several USING (file_id)
),
named AS (
    SELECT path, file_id, type, size, sha256, mtime FROM files WHERE type <> 'symlink'
    UNION ALL
    SELECT l.path, f.file_id, coalesce(f.type, 'symlink'), f.size, f.sha256, f.mtime
    FROM lookup_links l LEFT JOIN (SELECT * FROM files WHERE type = 'file') f ON f.path = l.goal
),
described AS (
    SELECT sha256(path) AS hash, coalesce(n.sha256, unhex(repeat('00', 32))) AS sha256,
           CASE WHEN type = 'dir' THEN 3 WHEN type = 'symlink' THEN 4 WHEN n.size = 0 THEN 0
                WHEN s.pieces IS NULL THEN 1 ELSE 2 END AS kind,
           coalesce(n.size, 0) AS size, greatest(0, coalesce(n.mtime, 0)) AS mtime,
           coalesce(s.first_piece, a.shard_no, 0)::BIGINT AS first,
           coalesce(s.pieces, a.frame_length, 0)::BIGINT AS second,
           coalesce(s.spans, a.inner_offset, 0)::BIGINT AS third,
           coalesce(s.first_span, a.frame_offset, 0)::BIGINT AS fourth
    FROM named n LEFT JOIN alone a USING (file_id) LEFT JOIN several s USING (file_id)
)
SELECT (('0x' || hash[1:8])::UBIGINT >> {shift})::INTEGER AS bucket,
       unhex(hash[1:32]) || sha256
           || unhex(format('{{:016x}}{{:016x}}{{:02x}}000000{{:08x}}{{:08x}}{{:08x}}{{:016x}}',
                           size::BIGINT, mtime::BIGINT, kind, first, second, third, fourth)) AS entry
FROM described
"""


def _resolve_links(tables: Tables) -> None:
    """Table `lookup_links`: where each link leads, after all links on the way."""
    leads_to = _LEADS_TO.format(path="path", target="target")
    tables.run(
        f"CREATE OR REPLACE TABLE lookup_links AS SELECT path, {leads_to} AS goal FROM files WHERE type = 'symlink'"
    )
    onward = _LEADS_TO.format(path="f.path", target="f.target")
    for _ in range(MAX_LINKS - 1):
        moved = tables.row(
            f"UPDATE lookup_links SET goal = {onward} FROM (SELECT path, target FROM files WHERE type = 'symlink') f "
            "WHERE f.path = lookup_links.goal"
        )[0]
        if not moved:
            break


@dataclass(frozen=True, slots=True)
class _Layout:
    """Counts of the header, and what follows from them."""

    bits: int
    shards: int
    entries: int
    spans: int
    pieces: int

    @property
    def directory_offset(self) -> int:
        return HEADER_BYTES + SHARD_BYTES * self.shards

    @property
    def entries_offset(self) -> int:
        return self.directory_offset + DIRECTORY_BYTES * ((1 << self.bits) + 1)

    @property
    def spans_offset(self) -> int:
        return self.entries_offset + ENTRY_BYTES * self.entries

    @property
    def pieces_offset(self) -> int:
        return self.spans_offset + SPAN_BYTES * self.spans

    @property
    def size(self) -> int:
        return self.pieces_offset + PIECE_BYTES * self.pieces


class Lookup:
    """Reads a lookup through `read(offset, length)`, which gives exactly those bytes."""

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        """Raises IntegrityError if it is no lookup of `size` bytes."""
        self._read = read
        if size < HEADER_BYTES:
            raise _malformed()
        magic, *counts = _HEADER.unpack(read(0, HEADER_BYTES))
        self._layout = _Layout(*counts)
        if magic != MAGIC or self._layout.bits > 32 or self._layout.size != size:
            raise _malformed()

    def __len__(self) -> int:
        """The number of its entries."""
        return self._layout.entries

    def find(self, path: str) -> Found | None:
        """What is known of a path; None if the release has nothing of this name."""
        hashed = hashlib.sha256(path.encode()).digest()[:PATH_HASH_BYTES]
        layout = self._layout
        bucket = int.from_bytes(hashed[:4]) >> (32 - layout.bits)
        first, end = struct.unpack(
            ">II", self._read(layout.directory_offset + DIRECTORY_BYTES * bucket, 2 * DIRECTORY_BYTES)
        )
        if not first <= end <= layout.entries:
            raise _malformed()
        entries = self._read(layout.entries_offset + ENTRY_BYTES * first, ENTRY_BYTES * (end - first))
        for entry in _ENTRY.iter_unpack(entries):
            if entry[0] == hashed:
                return self._found(*entry[1:])
        return None

    def _found(
        self, sha256: bytes, size: int, mtime: int, kind: int, first: int, second: int, third: int, fourth: int
    ) -> Found:
        pieces: tuple[Piece, ...] = ()
        spans: tuple[Span, ...] = ()
        if kind == ONE_PIECE:
            shard = self._shard(first)
            pieces = (Piece(sha256, 0, size, shard, fourth, second, third),)
            # Behind no tar header, and so alone in its frame.
            spans = (Span(shard, fourth, second),) if third == 0 else ()
        elif kind == PIECES:
            table = self._read(self._layout.pieces_offset + PIECE_BYTES * first, PIECE_BYTES * second)
            pieces = tuple(
                Piece(digest, start, length, self._shard(shard), offset, frame, inner)
                for digest, start, offset, frame, shard, inner, length in _PIECE.iter_unpack(table)
            )
            table = self._read(self._layout.spans_offset + SPAN_BYTES * fourth, SPAN_BYTES * third)
            spans = tuple(
                Span(self._shard(shard), offset, length) for offset, length, shard in _SPAN.iter_unpack(table)
            )
        return Found(kind, size, sha256, mtime, pieces, spans)

    def _shard(self, number: int) -> bytes:
        if number >= self._layout.shards:
            raise _malformed()
        return self._read(HEADER_BYTES + SHARD_BYTES * number, SHARD_BYTES)


def _malformed() -> IntegrityError:
    return IntegrityError("the release's lookup is malformed", "ask the publisher to release again")
