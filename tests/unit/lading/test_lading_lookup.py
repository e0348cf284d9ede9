"""The lookup object against a plain reading of the index that it was made of."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lading.client.reader import _resolved
from lading.errors import IntegrityError
from lading.lookup import (
    BUCKET_ENTRIES,
    DANGLING,
    EMPTY,
    FOLDER,
    HEADER_BYTES,
    MAX_LINKS,
    ONE_PIECE,
    PIECES,
    Found,
    Lookup,
    Piece,
    Span,
    bucket_bits,
    write_lookup,
)
from lading.paths import link_is_safe
from lading.tables import Tables

NO_HASH = bytes(32)


@dataclass(frozen=True)
class Row:
    """A row of files.parquet, with its chunks as (length, shard, frame offset, frame length, inner offset)."""

    kind: str
    target: str | None = None
    mtime: int = 0
    chunks: tuple[tuple[int, bytes, int, int, int], ...] = ()

    @property
    def size(self) -> int:
        return sum(chunk[0] for chunk in self.chunks)


Release = dict[str, Row]


def digest_of(*parts: object) -> bytes:
    return hashlib.sha256(repr(parts).encode()).digest()


def lookup_of(release: Release, path: Path) -> Lookup:
    with Tables() as tables:
        tables.run(
            "CREATE TABLE files (file_id BIGINT, path VARCHAR, type VARCHAR, target VARCHAR, size BIGINT, sha256 BLOB, "
            "mode INTEGER, mtime BIGINT, goal VARCHAR)"
        )
        tables.run(
            "CREATE TABLE chunks (file_id BIGINT, seq INTEGER, chunk_sha256 BLOB, length BIGINT, shard BLOB, "
            "frame_offset BIGINT, frame_length BIGINT, inner_offset BIGINT)"
        )
        for file_id, (name, row) in enumerate(sorted(release.items())):
            digest = digest_of(name) if row.kind == "file" else None
            size = row.size if row.kind == "file" else None
            tables.run(
                "INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'a label')",
                *(file_id, name, row.kind, row.target, size, digest, 420, row.mtime),
            )
            for seq, chunk in enumerate(row.chunks):
                tables.run(
                    "INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    *(file_id, seq, chunk_digest(name, row, seq), *chunk),
                )
        assert write_lookup(tables, path) == len(release)
    data = path.read_bytes()

    def read(offset: int, length: int) -> bytes:
        assert offset + length <= len(data)
        return data[offset : offset + length]

    return Lookup(read, len(data))


def chunk_digest(name: str, row: Row, seq: int) -> bytes:
    """A file in one chunk has that chunk's SHA-256."""
    return digest_of(name) if len(row.chunks) == 1 else digest_of(name, seq)


def expected(release: Release, path: str) -> Found | None:
    """What the index says of a path, after its links, as the client follows them."""
    name = path
    for _ in range(MAX_LINKS + 1):
        row = release.get(name)
        if row is None or row.kind != "symlink":
            break
        name = _resolved(name, row.target or "")
    if path not in release:
        return None
    if release[path].kind == "dir":
        return Found(FOLDER, 0, NO_HASH, release[path].mtime, (), ())
    if row is None or row.kind != "file":
        return Found(DANGLING, 0, NO_HASH, 0, (), ())
    pieces, start = [], 0
    for seq, (length, shard, offset, frame, inner) in enumerate(row.chunks):
        pieces.append(Piece(chunk_digest(name, row, seq), start, length, shard, offset, frame, inner))
        start += length
    kind = EMPTY if not pieces else ONE_PIECE if len(pieces) == 1 else PIECES
    return Found(kind, row.size, digest_of(name), row.mtime, tuple(pieces), spans_of(pieces))


def spans_of(pieces: list[Piece]) -> tuple[Span, ...]:
    if any(piece.inner_offset for piece in pieces):
        return ()
    spans: list[Span] = []
    for piece in pieces:
        last = spans[-1] if spans else None
        if last and last.shard == piece.shard and last.offset + last.length == piece.frame_offset:
            spans[-1] = last._replace(length=last.length + piece.frame_length)
        else:
            spans.append(Span(piece.shard, piece.frame_offset, piece.frame_length))
    return tuple(spans)


NAMES = st.text(st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1, max_size=6).filter(
    lambda name: name not in (".", "..")
)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
SHARDS = st.sampled_from([digest_of("shard", number) for number in range(3)])
# Offsets are few and small, so that frames often follow each other.
CHUNKS = st.tuples(
    st.integers(1, 2**23),
    SHARDS,
    st.sampled_from([0, 10, 20, 30, 2**40]),
    st.sampled_from([10, 2**24]),
    st.sampled_from([0, 0, 0, 512, 2**23]),
)
FILES = st.builds(
    Row,
    st.just("file"),
    mtime=st.integers(0, 2**33),
    chunks=st.lists(CHUNKS, max_size=5).map(tuple),
)
RELEASES = st.dictionaries(PATHS, st.one_of(FILES, FILES, st.builds(Row, st.just("dir"))), max_size=60)


@st.composite
def releases_with_links(draw: st.DrawFn) -> Release:
    release = dict(draw(RELEASES))
    for path in draw(st.lists(PATHS, max_size=8, unique=True)):
        climbs = draw(st.integers(0, path.count("/")))
        goal = draw(st.sampled_from([*sorted(release), "nowhere"]))
        target = "../" * climbs + draw(st.sampled_from(["", "./"])) + goal
        if path not in release and link_is_safe(path, target):
            release[path] = Row("symlink", target=target)
    return release


# The folder is the same for every example, and every example writes its file anew.
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(release=releases_with_links(), absent=st.lists(PATHS, max_size=5))
def test_every_path_is_found_with_exactly_its_pieces_and_no_other_is(
    release: Release, absent: list[str], tmp_path: Path
) -> None:
    lookup = lookup_of(release, tmp_path / "lookup.bin")
    assert len(lookup) == len(release)
    for path in [*release, *absent]:
        assert lookup.find(path) == expected(release, path), path


def test_many_buckets_hold_every_path_and_a_look_up_reads_two_small_ranges(tmp_path: Path) -> None:
    count = 100 * BUCKET_ENTRIES
    with Tables() as tables:
        tables.run(
            f"CREATE TABLE files AS SELECT i AS file_id, 'f/' || i AS path, 'file' AS type, NULL::VARCHAR AS target, "
            f"i + 1 AS size, unhex(sha256(i::VARCHAR)) AS sha256, 0 AS mtime FROM range({count}) r(i)"
        )
        tables.run(
            "CREATE TABLE chunks AS SELECT file_id, 0 AS seq, sha256 AS chunk_sha256, size AS length, "
            "unhex(sha256('s' || file_id % 7)) AS shard, file_id * 100 AS frame_offset, 100 AS frame_length, "
            "512 AS inner_offset FROM files"
        )
        write_lookup(tables, tmp_path / "lookup.bin")
        write_lookup(tables, tmp_path / "again.bin")
    data = (tmp_path / "lookup.bin").read_bytes()
    assert data == (tmp_path / "again.bin").read_bytes()
    reads: list[int] = []
    lookup = Lookup(recording(data, reads), len(data))
    for number in range(0, count, 37):
        reads.clear()
        found = lookup.find(f"f/{number}")
        assert found is not None
        assert (found.size, found.pieces[0].frame_offset) == (number + 1, number * 100)
        assert found.pieces[0].shard == hashlib.sha256(f"s{number % 7}".encode()).digest()
        directory, bucket, shard = reads
        assert (directory, shard) == (8, 32)
        assert bucket < 3 * BUCKET_ENTRIES * 88
    assert lookup.find(f"f/{count}") is None


def recording(data: bytes, reads: list[int]) -> Callable[[int, int], bytes]:
    def read(offset: int, length: int) -> bytes:
        reads.append(length)
        return data[offset : offset + length]

    return read


@pytest.mark.parametrize(
    ("entries", "bits"), [(0, 0), (1, 0), (32, 0), (33, 1), (64, 1), (65, 2), (2_000_000, 16), (2**32 - 1, 27)]
)
def test_a_bucket_has_about_as_many_entries_whatever_the_release(entries: int, bits: int) -> None:
    assert bucket_bits(entries) == bits


@pytest.mark.parametrize("damage", ["magic", "size", "short"])
def test_what_is_no_lookup_is_refused(damage: str, tmp_path: Path) -> None:
    lookup_of({"a": Row("dir")}, tmp_path / "lookup.bin")
    data = (tmp_path / "lookup.bin").read_bytes()
    if damage == "magic":
        data = b"X" + data[1:]
    elif damage == "size":
        data += b"\0"
    else:
        data = data[: HEADER_BYTES - 1]
    with pytest.raises(IntegrityError, match="malformed"):
        Lookup(lambda offset, length: data[offset : offset + length], len(data))
