"""Patching: chunks made of the folder's old bytes and a small difference, where a release has patches.

A segment is patched if all its chunks are to be fetched and the folder holds the file that it is made from. A patch
that does not give the right chunks is no loss: they are fetched instead.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from lading.client.assembly import Assemblies
from lading.client.compare import Work, frame_bytes, raw_bytes
from lading.client.local import fetch_instead
from lading.client.plan import GAP_BYTES, RANGE_BYTES, Entry, Target
from lading.client.progress import Progress
from lading.client.transfer import Stopped, StoredObject, Transfer
from lading.errors import IntegrityError
from lading.parallel import cores, ordered_map
from lading.patches import MAX_BASE_BYTES, MAX_SEGMENT_BYTES, apply
from lading.tables import Tables


class _Piece(NamedTuple):
    """A chunk of a segment: where it begins in the file, its length and SHA-256."""

    seq: int
    file_offset: int
    length: int
    sha256: bytes


class _Segment(NamedTuple):
    """A patch to fetch and what it makes."""

    frame_offset: int
    frame_length: int
    length: int
    base_path: str
    base_offset: int
    base_length: int
    entry: Entry
    pieces: list[_Piece]


def plan_patches(tables: Tables, index: Path | None, work: Work) -> Work:
    """Table `patched_pieces`: chunks that patches give; they leave `remote_pieces`. `index` is None without patches.

    Returns the work with what there is to fetch then."""
    if index is None:
        tables.run("CREATE OR REPLACE TABLE patched_pieces (path VARCHAR, seq INTEGER)")
        return work
    tables.view("patches", index)
    tables.run(
        "CREATE OR REPLACE TABLE patched_pieces AS "
        "WITH usable AS (SELECT p.*, f.path FROM patches p JOIN files f USING (file_id) "
        "JOIN trusted t ON t.path = p.base_path AND t.sha256 = p.base_sha256 "
        f"WHERE p.length <= {MAX_SEGMENT_BYTES} AND p.base_length <= {MAX_BASE_BYTES}), "
        "covered AS (SELECT u.*, r.seq AS piece_seq, r.file_offset, r.length AS piece_length, r.chunk_sha256, "
        "count(*) OVER (PARTITION BY u.file_id, u.seq) AS found, "
        "sum(r.length) OVER (PARTITION BY u.file_id, u.seq) AS found_length "
        "FROM usable u JOIN remote_pieces r ON r.path = u.path AND r.seq >= u.seq AND r.seq < u.seq + u.chunks) "
        "SELECT path, piece_seq AS seq, file_offset, piece_length AS length, chunk_sha256, seq AS first_seq, "
        "length AS segment_length, base_path, base_offset, base_length, frame_offset, frame_length FROM covered "
        "WHERE found = chunks AND found_length = length"
    )
    tables.run("DELETE FROM remote_pieces WHERE (path, seq) IN (SELECT (path, seq) FROM patched_pieces)")
    patches = frame_bytes(tables, "(SELECT *, 'pack' AS shard FROM patched_pieces)")
    return replace(
        work,
        remote_bytes=raw_bytes(tables, "remote_pieces"),
        fetch_bytes=frame_bytes(tables, "remote_pieces") + patches,
    )


def apply_patches(
    tables: Tables,
    pack: StoredObject,
    dest: Path,
    transfer: Transfer,
    assemblies: Assemblies,
    progress: Progress,
    stop: threading.Event,
) -> None:
    """Fetch the patches of `patched_pieces` and write the chunks that they give. Has to run before anything in the
    folder is replaced. Chunks that a patch does not give become remote pieces again."""
    missed: list[tuple[str, int]] = []

    def make(work: tuple[_Segment, bytes]) -> None:
        segment, patch = work
        if stop.is_set():
            raise Stopped
        raw = _patched(dest, segment, patch)
        if raw is None:
            missed.extend((segment.entry.partial, piece.seq) for piece in segment.pieces)
            return
        start = segment.pieces[0].file_offset
        for piece in segment.pieces:
            target = Target(segment.entry, piece.seq, piece.file_offset)
            assemblies.write(target, raw[piece.file_offset - start :][: piece.length])
            progress.made(piece.length)

    threads = cores()
    with ThreadPoolExecutor(threads, thread_name_prefix="patch") as pool:
        try:
            for _ in ordered_map(pool, make, _fetched(tables, pack, transfer), pending=2 * threads):
                pass
        except BaseException:
            stop.set()
            raise
    fetch_instead(tables, missed)


def _patched(dest: Path, segment: _Segment, patch: bytes) -> memoryview | None:
    """The bytes of a segment, every chunk verified; None if the patch does not give them."""
    try:
        with (dest / segment.base_path).open("rb") as file:
            file.seek(segment.base_offset)
            base = file.read(segment.base_length)
        raw = memoryview(apply(base, patch, segment.length))
    except (OSError, IntegrityError):
        return None
    start = segment.pieces[0].file_offset
    for piece in segment.pieces:
        if hashlib.sha256(raw[piece.file_offset - start :][: piece.length]).digest() != piece.sha256:
            return None
    return raw


def _fetched(tables: Tables, pack: StoredObject, transfer: Transfer) -> Iterator[tuple[_Segment, bytes]]:
    """Every segment with its patch, fetched by ranges of neighbouring patches."""
    for batch in _batches(_segments(tables)):
        frames = transfer.pieces(pack, [(segment.frame_offset, segment.frame_length) for segment in batch])
        for segment, patch in zip(batch, frames, strict=True):
            yield segment, bytes(patch)


def _segments(tables: Tables) -> Iterator[_Segment]:
    rows = tables.rows(
        "SELECT p.frame_offset, p.frame_length, p.segment_length, p.base_path, p.base_offset, p.base_length, "
        "t.path, t.size, t.sha256, t.mode, t.mtime, t.partial, p.seq, p.file_offset, p.length, p.chunk_sha256 "
        "FROM patched_pieces p JOIN todo t USING (path) ORDER BY p.frame_offset, p.seq"
    )
    for head, same in groupby(rows, key=lambda row: row[:12]):
        yield _Segment._make((*head[:6], Entry._make(head[6:]), [_Piece._make(row[12:]) for row in same]))


def _batches(segments: Iterator[_Segment]) -> Iterator[list[_Segment]]:
    """Segments whose patches lie near each other in the pack, up to RANGE_BYTES."""
    batch: list[_Segment] = []
    for segment in segments:
        if batch:
            end = batch[-1].frame_offset + batch[-1].frame_length
            far = segment.frame_offset - end > GAP_BYTES
            if far or segment.frame_offset + segment.frame_length - batch[0].frame_offset > RANGE_BYTES:
                yield batch
                batch = []
        batch.append(segment)
    if batch:
        yield batch
