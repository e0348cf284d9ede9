"""Patches: a pack of differences to the parent's files, for clients that hold those.

Only content that the parent does not hold is worth a patch: to the file of the same path or, for one that was moved and
edited, to the old file that it came from. The old bytes come from the store, as a release machine need not have kept
them.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import BinaryIO, NamedTuple

from lading.frames import FrameDecompressor
from lading.index import IndexFile, describe, view_chunks
from lading.names import INDEX_CHUNKS, INDEX_FILES, INDEX_PATCHES, shard_key
from lading.objectstore import Bucket, bucket
from lading.parallel import cores, ordered_map
from lading.parameters import Compression
from lading.patches import MARGIN_BYTES, MAX_BASE_BYTES, SEGMENT_BYTES, WINDOW_LOG
from lading.settings import Settings
from lading.shard import MAX_FRAME_BYTES
from lading.tables import NdjsonWriter, Tables
from tasks.pack import read_chunk
from tasks.plan import ParentIndex
from tasks.work import WorkDir

WORTH = 0.7
"""A patch is kept if it is smaller than this share of what the shards have for the same chunks."""

RANGE_BYTES = 8 * 1024 * 1024
"""Old frames that lie together are fetched by requests of about this size."""

PATCH_COLUMNS = {
    "file_id": "BIGINT",
    "seq": "INTEGER",
    "chunks": "INTEGER",
    "length": "BIGINT",
    "base_path": "VARCHAR",
    "base_sha256": "VARCHAR",
    "base_offset": "BIGINT",
    "base_length": "BIGINT",
    "frame_offset": "BIGINT",
    "frame_length": "BIGINT",
}


@dataclass(frozen=True, slots=True)
class PatchPack:
    """A patch pack on disk with its index; sizes in bytes, SHA-256 in hex."""

    path: Path
    sha256: str
    size: int
    index: IndexFile


class _Chunk(NamedTuple):
    """A chunk of a modified file: where it is in the new file, whether the parent lacks it, what it takes in its shard,
    and where the parent's file has it, if it does."""

    seq: int
    offset: int
    length: int
    new: bool
    stored: int
    old_offset: int | None


class _Segment(NamedTuple):
    """Consecutive new chunks, and the old bytes that they are compared with."""

    file_id: int
    path: str
    seq: int
    chunks: int
    offset: int
    length: int
    stored: int
    base_path: str
    base_sha256: bytes
    base_offset: int
    base: bytes


def make_patches(
    source: Path, work: WorkDir, store: Bucket, dataset: str, parent: ParentIndex, compression: Compression
) -> PatchPack | None:
    """Write the patches from the parent to the release whose index is in `work`; None if none is worth it.

    Memory: a few segments with their windows per thread. Disk: one old file at a time, and the pack.
    """
    if sys.version_info >= (3, 14):
        from compression.zstd import CompressionParameter, ZstdDict, compress
    else:
        from backports.zstd import CompressionParameter, ZstdDict, compress

    options: dict[int, int] = {
        CompressionParameter.compression_level: compression.level,
        CompressionParameter.window_log: WINDOW_LOG,
        # Without it, matches are not looked for far enough back: on text, patches are nine times larger.
        CompressionParameter.enable_long_distance_matching: 1,
        CompressionParameter.checksum_flag: 1,
    }

    def make(segment: _Segment) -> tuple[_Segment, bytes]:
        data = read_chunk(source, segment.path, segment.offset, segment.length)
        prefix = ZstdDict(segment.base, is_raw=True).as_prefix
        return segment, compress(data, options=options, zstd_dict=prefix)

    threads = cores()
    partial = work.root / "patches.partial"
    listing = work.root / "patches.ndjson"
    digest = hashlib.sha256()
    offset = 0
    with (
        Tables(spill=work.spill) as tables,
        ThreadPoolExecutor(threads, thread_name_prefix="patch") as pool,
        partial.open("wb") as file,
        NdjsonWriter(listing) as rows,
    ):
        _prepare(tables, work, parent)
        reader = _OldFiles(tables, store, dataset)
        for segment, patch in ordered_map(pool, make, _segments(tables, reader), pending=2 * threads):
            if len(patch) >= WORTH * segment.stored:
                continue
            rows.write(
                {
                    "file_id": segment.file_id,
                    "seq": segment.seq,
                    "chunks": segment.chunks,
                    "length": segment.length,
                    "base_path": segment.base_path,
                    "base_sha256": segment.base_sha256.hex(),
                    "base_offset": segment.base_offset,
                    "base_length": len(segment.base),
                    "frame_offset": offset,
                    "frame_length": len(patch),
                }
            )
            file.write(patch)
            digest.update(patch)
            offset += len(patch)
    if not offset:
        partial.unlink()
        listing.unlink()
        return None
    path = work.shards / f"{digest.hexdigest()}.pack"
    partial.replace(path)
    return PatchPack(path, digest.hexdigest(), offset, _save_index(work, listing))


def _prepare(tables: Tables, work: WorkDir, parent: ParentIndex) -> None:
    """Views of both indexes, and `modified`: files of new content, each with the old file that it came from."""
    tables.view("new_files", work.index(INDEX_FILES))
    tables.view("old_files", parent.files)
    view_chunks(tables, "new_chunks", work.index(INDEX_FILES), work.index(INDEX_CHUNKS))
    view_chunks(tables, "old_chunks", parent.files, parent.chunks)
    for name in ("old", "new"):
        tables.run(
            f"CREATE VIEW {name}_places AS SELECT *, (sum(length) OVER (PARTITION BY file_id ORDER BY seq "
            f"ROWS UNBOUNDED PRECEDING) - length)::BIGINT AS file_offset FROM {name}_chunks"
        )
    tables.run(_MODIFIED)


# A file comes from the old one of its path; else from the one that it shares most bytes with; else from the one of its
# name that is gone, if there is but one.
_MODIFIED = """
CREATE TABLE modified AS
WITH fresh AS (
    SELECT file_id, path, size, regexp_extract(path, '[^/]*$') AS name FROM new_files
    WHERE type = 'file' AND size > 0
      AND sha256 NOT IN (SELECT sha256 FROM old_files WHERE sha256 IS NOT NULL)
),
kept AS (
    SELECT f.file_id, o.file_id AS old_id FROM fresh f JOIN old_files o USING (path)
    WHERE o.type = 'file' AND o.size > 0
),
shared AS (
    SELECT file_id, arg_max(old_id, (bytes, -old_id)) AS old_id FROM (
        SELECT n.file_id, o.file_id AS old_id, sum(n.length) AS bytes
        FROM new_chunks n SEMI JOIN (SELECT * FROM fresh ANTI JOIN kept USING (file_id)) USING (file_id)
        JOIN (SELECT DISTINCT file_id, chunk_sha256 FROM old_chunks) o USING (chunk_sha256) GROUP BY ALL
    ) GROUP BY file_id
),
gone AS (
    SELECT regexp_extract(path, '[^/]*$') AS name, min(file_id) AS old_id
    FROM old_files ANTI JOIN new_files USING (path) WHERE type = 'file' AND size > 0
    GROUP BY ALL HAVING count(*) = 1
),
named AS (
    SELECT f.file_id, g.old_id FROM fresh f JOIN gone g USING (name)
    ANTI JOIN kept USING (file_id) ANTI JOIN shared USING (file_id)
),
origins AS (SELECT * FROM kept UNION ALL SELECT * FROM shared UNION ALL SELECT * FROM named)
SELECT f.file_id, f.path, f.size, o.file_id AS old_id, o.path AS old_path, o.size AS old_size, o.sha256 AS old_sha256
FROM fresh f JOIN origins USING (file_id) JOIN old_files o ON o.file_id = origins.old_id
-- zstd takes no shorter dictionary, and less is nothing to compare with.
WHERE o.size >= 8
"""


def _segments(tables: Tables, reader: _OldFiles) -> Iterator[_Segment]:
    """The segments of all modified files, by path, each with its window read."""
    chunks = tables.rows(
        "WITH held AS (SELECT file_id AS old_id, chunk_sha256, min(file_offset) AS old_offset FROM old_places "
        "GROUP BY ALL) "
        "SELECT m.file_id, m.path, m.size, m.old_id, m.old_path, m.old_size, m.old_sha256, p.seq, p.file_offset, "
        "p.length, p.chunk_sha256 NOT IN (SELECT chunk_sha256 FROM old_places), p.frame_length, c.old_offset "
        "FROM modified m JOIN new_places p USING (file_id) LEFT JOIN held c USING (old_id, chunk_sha256) "
        "ORDER BY m.path, p.seq"
    )
    for modified, rows in groupby(chunks, key=lambda row: row[:7]):
        file_id, path, size, old_id, old_path, old_size, old_sha256 = modified
        runs = [(run, shift) for run, shift in _runs([_Chunk(*row[7:]) for row in rows], old_size / size)]
        if not runs:
            continue
        with reader.open(old_id, old_size) as old:
            for run, expected in runs:
                length = sum(chunk.length for chunk in run)
                start = max(0, min(expected - MARGIN_BYTES, old_size - MARGIN_BYTES))
                old.seek(start)
                base = old.read(min(length + 2 * MARGIN_BYTES, MAX_BASE_BYTES))
                first = run[0]
                stored = sum(chunk.stored for chunk in run)
                yield _Segment(
                    file_id, path, first.seq, len(run), first.offset, length, stored, old_path, old_sha256, start, base
                )


def _runs(chunks: list[_Chunk], scale: float) -> Iterator[tuple[list[_Chunk], int]]:
    """Group consecutive new chunks into segments; yields each with the old offset that it is expected at.

    That offset follows the last chunk that both versions have; before there is one, it is in proportion.
    """
    run: list[_Chunk] = []
    length = 0
    shift: int | None = None
    for chunk in chunks:
        if chunk.new:
            run.append(chunk)
            length += chunk.length
            if length < SEGMENT_BYTES:
                continue
        if run:
            yield run, _expected(run, shift, scale)
            run, length = [], 0
        if chunk.old_offset is not None:
            shift = chunk.old_offset - chunk.offset
    if run:
        yield run, _expected(run, shift, scale)


def _expected(run: list[_Chunk], shift: int | None, scale: float) -> int:
    return int(run[0].offset * scale) if shift is None else max(0, run[0].offset + shift)


class _OldFiles:
    """Files of the parent release, put together from its shards."""

    def __init__(self, tables: Tables, store: Bucket, dataset: str) -> None:
        self._tables = tables
        self._store = store
        self._dataset = dataset
        self._decompress = FrameDecompressor()
        self._last: tuple[tuple[bytes, int], bytes] | None = None

    def open(self, old_id: int, size: int) -> BinaryIO:
        """An unnamed temporary file with the content of one old file; the caller closes it."""
        file = tempfile.SpooledTemporaryFile(max_size=MAX_FRAME_BYTES)  # noqa: SIM115 - the caller closes it
        rows = self._tables.rows(
            "SELECT shard, frame_offset, frame_length, inner_offset, length FROM old_places WHERE file_id = ? "
            "ORDER BY seq",
            old_id,
        )
        for run in _together(list(rows)):
            self._copy(run, file)
        file.seek(0)
        return file  # type: ignore[return-value]

    def _copy(self, run: list[tuple[bytes, int, int, int, int]], file: tempfile.SpooledTemporaryFile[bytes]) -> None:
        """Fetch frames that lie one behind the other, and append the wanted part of each."""
        shard, first = run[0][0], run[0][1]
        fetched: bytes | None = None
        for _, offset, frame_length, inner, length in run:
            # Small files share frames: the last one is kept.
            if self._last is None or self._last[0] != (shard, offset):
                if fetched is None:
                    end = run[-1][1] + run[-1][2]
                    fetched = self._store.get_range(shard_key(self._dataset, shard.hex()), first, end - first)
                frame = fetched[offset - first : offset - first + frame_length]
                self._last = ((shard, offset), self._decompress(frame, MAX_FRAME_BYTES))
            file.write(self._last[1][inner : inner + length])


def _together(
    places: list[tuple[bytes, int, int, int, int]],
) -> Iterator[list[tuple[bytes, int, int, int, int]]]:
    """Group the chunks of a file whose frames follow one another in a shard, up to RANGE_BYTES."""
    run: list[tuple[bytes, int, int, int, int]] = []
    for place in places:
        if run:
            last = run[-1]
            follows = place[0] == last[0] and place[1] in (last[1], last[1] + last[2])
            if not follows or place[1] + place[2] - run[0][1] > RANGE_BYTES:
                yield run
                run = []
        run.append(place)
    if run:
        yield run


def _save_index(work: WorkDir, listing: Path) -> IndexFile:
    path = work.index(INDEX_PATCHES)
    with Tables() as tables:
        tables.load("listing", listing, PATCH_COLUMNS)
        count = tables.save(
            "SELECT * REPLACE (unhex(base_sha256) AS base_sha256) FROM listing ORDER BY file_id, seq", path
        )
    listing.unlink()
    return describe(path, count)


def make_release_patches(
    settings: Settings, source: Path, work: WorkDir, dataset: str, parent: ParentIndex, compression: Compression
) -> PatchPack | None:
    """`make_patches` with the configured bucket."""
    return make_patches(source, work, bucket(settings), dataset, parent, compression)
