"""Dry run: what a release would store, without storing anything."""

from __future__ import annotations

from dataclasses import dataclass

from lading.frames import FrameCompressor
from lading.objectstore import bucket
from lading.parallel import cores
from lading.parameters import Chunking, Compression
from lading.settings import Settings
from lading.shard import FRAME_BYTES
from lading.tables import Tables
from tasks.build_index import check_labels
from tasks.hashing import hash_files
from tasks.pack import read_chunk
from tasks.parent import fetch_parent, read_latest
from tasks.plan import Plan, plan
from tasks.preflight import ReleaseRequest, work_dir
from tasks.scan import scan
from tasks.work import exclusive

SAMPLES = 64
"""Places in the plan whose chunks, about 1 MiB each, are compressed to estimate what all will take: where half of the
bytes can be compressed and half cannot, the estimate is off by about a tenth."""


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a release would do. `upload_bytes` and `stored_bytes` (all shards that it would refer to) are estimates from
    a sample; everything else is exact."""

    plan: Plan
    parent: str | None
    upload_bytes: int
    stored_bytes: int
    warnings: tuple[str, ...]


def dry_run(
    settings: Settings, request: ReleaseRequest, *, full: bool, rehash: bool, compression: Compression
) -> DryRun:
    """Scan, hash and plan a release as the real one would; the hash cache keeps what was read."""
    store = bucket(settings)
    with exclusive(work_dir(settings, request.dataset, f"{request.version}.dry-run")) as work:
        work.prepare()
        found = scan(request.source, work.entries)
        if request.labels:
            check_labels(work, request.labels)
        hash_files(request.source, work, settings.home / "cache" / "hashes", Chunking(), rehash=rehash, threads=cores())
        latest = read_latest(store, request.dataset)
        manifest, index = None, None
        if latest:
            manifest, index = fetch_parent(store, request.dataset, latest.version, work)
            full = full or manifest.chunking != Chunking()
        planned = plan(work, index, full=full)
        with Tables() as tables:
            tables.view("members", work.members)
            upload = int(planned.new_bytes * _sampled_ratio(tables, request, compression))
    kept = manifest.totals.stored_bytes if manifest and planned.kind == "delta" else 0
    return DryRun(planned, latest.version if latest else None, upload, upload + kept, found.warnings)


def _sampled_ratio(tables: Tables, request: ReleaseRequest, compression: Compression) -> float:
    """Compressed by raw size of chunks from places that are spread evenly over the plan."""
    tables.run(
        "CREATE TABLE planned AS SELECT source, chunk_offset, length, "
        "sum(length) OVER (ORDER BY member_no, chunk_offset ROWS UNBOUNDED PRECEDING) - length AS position "
        "FROM members WHERE length > 0"
    )
    total = tables.row("SELECT coalesce(sum(length), 0)::BIGINT FROM planned")[0]
    compress = FrameCompressor(compression.level)
    raw_bytes = stored_bytes = 0
    for number in range(SAMPLES if total else 0):
        sample = bytearray()
        for source, offset, length in tables.rows(
            "SELECT source, chunk_offset, length FROM planned WHERE position >= ? ORDER BY position LIMIT 256",
            total * number // SAMPLES,
        ):
            sample += read_chunk(request.source, source, offset, length)
            if len(sample) >= FRAME_BYTES:
                break
        if sample:
            raw_bytes += len(sample)
            stored_bytes += len(compress(sample))
    return stored_bytes / raw_bytes if raw_bytes else 0.0
