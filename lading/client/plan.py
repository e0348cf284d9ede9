"""Plan: what to fetch, as few ranged requests. Read from the tables that compare made; without side effects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

from lading.tables import Tables

GAP_BYTES = 64 * 1024
"""Unwanted bytes between two frames that are fetched along rather than asked around."""

RANGE_BYTES = 8 * 1024 * 1024
"""Smallest size at which a ranged request ends."""

RANGE_MAX_BYTES = 32 * 1024 * 1024
"""Largest one. A request costs a round trip, and at the gateway the slices at its ends, which the neighbours read too:
on one machine, 8 requests at once of 8 MiB took twice the time of those of 32 MiB."""

RANGE_CHUNKS = 1024
"""Number of chunks at which a ranged request ends: what is known of each takes memory, too."""


class Entry(NamedTuple):
    """A wanted file: sizes in bytes, mtime in seconds, `partial` is the name of its half-made file."""

    path: str
    size: int
    sha256: bytes
    mode: int
    mtime: int
    partial: str


class Target(NamedTuple):
    """A place that a chunk goes to: it is number `seq` of the file, and begins at `file_offset`."""

    entry: Entry
    seq: int
    file_offset: int


class Chunk(NamedTuple):
    """A chunk in a frame, and where it goes."""

    inner_offset: int
    length: int
    sha256: bytes
    targets: list[Target]


class Frame(NamedTuple):
    """A frame to fetch."""

    offset: int
    length: int
    chunks: list[Chunk]


class Range(NamedTuple):
    """Frames that one request fetches."""

    shard: str
    frames: list[Frame]


def frames(tables: Tables) -> Iterator[tuple[str, Frame]]:
    """The frames to fetch with the chunks that are wanted of them, by shard and offset."""
    rows = tables.rows(
        "SELECT r.shard, r.frame_offset, r.frame_length, r.inner_offset, r.length, r.chunk_sha256, "
        "r.path, t.size, t.sha256, t.mode, t.mtime, t.partial, r.seq, r.file_offset "
        "FROM remote_pieces r JOIN todo t USING (path) ORDER BY ALL"
    )
    for (shard, offset, length), in_frame in groupby(rows, key=lambda row: row[:3]):
        chunks = [
            Chunk(inner_offset, size, digest, [Target(Entry._make(row[6:12]), row[12], row[13]) for row in same])
            for (inner_offset, size, digest), same in groupby(in_frame, key=lambda row: row[3:6])
        ]
        yield shard, Frame(offset, length, chunks)


def range_bytes(total: int, jobs: int) -> int:
    """The size of requests, so that `total` bytes make full rounds for `jobs` threads and all end at about one time."""
    rounds = max(1, -(-total // (jobs * RANGE_MAX_BYTES)))
    return max(RANGE_BYTES, -(-total // (jobs * rounds)))


def ranges(frames: Iterable[tuple[str, Frame]], most: int = RANGE_BYTES) -> Iterator[Range]:
    """Group frames that lie near each other into requests of at most `most` bytes, or of one frame."""
    current: Range | None = None
    chunks = 0
    for shard, frame in frames:
        if current is not None:
            first, last = current.frames[0], current.frames[-1]
            end = last.offset + last.length
            near = shard == current.shard and frame.offset - end <= GAP_BYTES
            if near and frame.offset + frame.length - first.offset <= most and chunks < RANGE_CHUNKS:
                current.frames.append(frame)
                chunks += len(frame.chunks)
                continue
            yield current
        current = Range(shard, [frame])
        chunks = len(frame.chunks)
    if current is not None:
        yield current
