"""Flow `release`: from a folder to a promoted release.

scan -> hash and chunk -> plan -> pack -> upload -> index -> manifest -> smoke test -> promote. What is visible changes
only at two points: when the manifest is put, and when `latest` is swapped. A run that was killed is repeated as it was.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from prefect import flow, get_run_logger
from prefect.artifacts import create_progress_artifact, create_table_artifact, update_progress_artifact
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import Field

from flows.smoke import smoke as smoke_flow
from lading.manifest import Manifest
from lading.objectstore import bucket
from lading.parameters import Chunking, Compression
from lading.settings import Settings
from tasks.announce import announced, check_stored, confirm_stored
from tasks.build_index import check_labels
from tasks.pack import PackedShard
from tasks.parent import has_release, read_latest, read_manifest
from tasks.plan import Plan
from tasks.preflight import check_release, work_dir
from tasks.progress import advance
from tasks.publish import build_manifest
from tasks.steps import (
    hash_task,
    index_task,
    pack_task,
    parent_task,
    patch_task,
    plan_task,
    promote_task,
    publish_task,
    scan_task,
    upload_task,
)
from tasks.upload import Upload
from tasks.work import WorkDir, exclusive

PENDING_UPLOADS = 3
"""Packed shards that may wait on disk for their upload."""


@dataclass
class _Steps:
    """What each step took, for the result and the artifact."""

    rows: list[dict[str, Any]] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[dict[str, Any]]:
        """Time a step; its `bytes` are filled in by the body."""
        row: dict[str, Any] = {"step": name, "seconds": 0.0, "bytes": 0}
        started = time.monotonic()
        yield row
        row["seconds"] = round(time.monotonic() - started, 3)
        self.rows.append(row)


@flow(
    name="release",
    flow_run_name="release-{dataset}-{version}",
    task_runner=ThreadPoolTaskRunner(max_workers=PENDING_UPLOADS),  # type: ignore[arg-type]
)
def release(
    source: str,
    dataset: str,
    version: str,
    labels: str | None = None,
    card: str | None = None,
    full: bool = False,
    rehash: bool = False,
    level: Annotated[int, Field(ge=1, le=22)] = 3,
    smoke: bool = True,
    promote: bool = True,
    patches: bool = False,
    lookup: bool = True,
) -> dict[str, Any]:
    """Release a folder as a new version of a dataset; returns what was stored and how long each step took.

    Args:
        source: Folder that holds the files.
        dataset: Name of the dataset, of a-z, 0-9, '.', '_' and '-'.
        version: Name of the new version, for example a date.
        labels: CSV, JSONL or Parquet file whose other columns join the files by their path.
        card: TOML file with title, licence and sources.
        full: Store everything afresh instead of a delta.
        rehash: Read every file, whatever the hash cache says.
        level: zstd level, 1 to 22.
        smoke: Test the release through the gateway before it is promoted.
        promote: Make it the latest version.
        patches: Make patches against the parent, which speed updates of clients up that hold it.
        lookup: Let the gateway serve single files, for 88 bytes of storage each.
    """
    settings = Settings.from_env()
    request = check_release(settings, source, dataset, version, labels, card, smoke=smoke)
    folder = request.source
    chunking, compression = Chunking(), Compression(level=level)
    steps = _Steps()
    with (
        exclusive(work_dir(settings, dataset, version)) as work,
        announced(bucket(settings), dataset, version, work.root) as announcement,
    ):
        decisions = _decide(settings, work, dataset, version, full=full, lookup=lookup)
        work.prepare()
        with steps.step("scan") as row:
            found = scan_task(folder, work.entries)
            row["bytes"] = found.bytes
        for warning in found.warnings:
            get_run_logger().warning(warning)
        if request.labels:
            check_labels(work, request.labels)
        with steps.step("hash") as row:
            # Without a parent to compare with, everything will be packed.
            packs_all = decisions["full"] or not decisions["parent"]
            hashed = hash_task(
                folder,
                work,
                settings.home / "cache" / "hashes",
                chunking,
                rehash=rehash,
                compression=compression if packs_all else None,
            )
            row["bytes"] = hashed.read_bytes
        parent, parent_index = None, None
        if decisions["parent"]:
            with steps.step("parent") as row:
                parent, parent_index = parent_task(settings, dataset, decisions["parent"], work)
        with steps.step("plan"):
            plan = plan_task(work, parent_index, full=decisions["full"])
        with steps.step("pack and upload") as row:
            shards, uploads = _pack_and_upload(settings, dataset, folder, work, plan, compression)
            row["bytes"] = sum(shard.raw_size for shard in shards)
        with steps.step("index"):
            index = index_task(
                work,
                None if plan.kind == "base" else parent_index,
                request.labels,
                lookup=decisions["lookup"],
            )
        pack = None
        if patches and parent_index is not None:
            with steps.step("patch"):
                pack = patch_task(settings, folder, work, dataset, parent_index, compression)
        # From here on something gets visible: whoever repeats this run has to make the very same release.
        work.start(decisions)
        with steps.step("publish"):
            manifest = build_manifest(
                dataset=dataset,
                version=version,
                parent=parent,
                created_at=datetime.fromisoformat(decisions["created_at"]),
                card=request.card,
                plan=plan,
                shards=shards,
                index=index,
                patches=pack,
                chunking=chunking,
                compression=compression,
            )
            check_stored(bucket(settings), manifest, announcement)
            published = publish_task(settings, manifest, index, pack, request.key_file)
            confirm_stored(bucket(settings), manifest, announcement)
        checks = []
        if smoke:
            with steps.step("smoke test"):
                checks = smoke_flow(dataset, version, expiry_ttl=None)
        if promote:
            with steps.step("promote"):
                promote_task(settings, dataset, version)
        work.remove()
    result = _result(manifest, published.manifest_sha256, shards, uploads, steps, checks)
    result["warnings"] = list(found.warnings)
    create_table_artifact(steps.rows, key="release-steps", description=f"Steps of {dataset}@{version}")
    return result


def _decide(
    settings: Settings, work: WorkDir, dataset: str, version: str, *, full: bool, lookup: bool
) -> dict[str, Any]:
    """Decide on the parent and the moment, or repeat what an unfinished run of this release decided."""
    store = bucket(settings)
    earlier = work.started()
    # Retention may have removed the parent since.
    if earlier is not None and (not earlier["parent"] or has_release(store, dataset, earlier["parent"])):
        return earlier
    latest = read_latest(store, dataset)
    decisions = {
        "parent": latest.version if latest else None,
        "full": full,
        "lookup": lookup,
        "created_at": datetime.now(UTC).replace(microsecond=0).isoformat(),
    }
    if latest:
        # A parent with other chunking parameters has no chunks in common.
        decisions["full"] = full or read_manifest(store, dataset, latest.version).chunking != Chunking()
    return decisions


def _pack_and_upload(
    settings: Settings, dataset: str, source: Path, work: WorkDir, plan: Plan, compression: Compression
) -> tuple[list[PackedShard], list[Upload]]:
    """Pack one shard after the other, each with all cores, while earlier ones are uploaded."""
    logger = get_run_logger()
    artifact = None
    if plan.shards > 1:
        artifact = create_progress_artifact(0.0, key="release-progress", description=f"Shards of {dataset} packed")
    advance("pack", 0, plan.new_bytes)
    shards: list[PackedShard] = []
    uploads: list[Upload] = []
    pending: deque[Any] = deque()
    for shard_no in range(plan.shards):
        shard = pack_task(source, work, shard_no, plan.kind, compression)
        shards.append(shard)
        logger.info("shard %d of %d: %s bytes of %s", shard_no + 1, plan.shards, shard.size, shard.raw_size)
        if isinstance(artifact, UUID):
            update_progress_artifact(artifact, 100.0 * (shard_no + 1) / plan.shards)
        pending.append(upload_task.submit(settings, dataset, shard, work))
        if len(pending) >= PENDING_UPLOADS:
            uploads.append(pending.popleft().result())
    work.frames.unlink(missing_ok=True)
    uploads += [future.result() for future in pending]
    return shards, uploads


def _result(
    manifest: Manifest,
    manifest_sha256: str,
    shards: list[PackedShard],
    uploads: list[Upload],
    steps: _Steps,
    checks: list[dict[str, Any]],
) -> dict[str, Any]:
    """What the flow returns: small, plain values."""
    return {
        "dataset": manifest.dataset,
        "version": manifest.version,
        "parent": manifest.parent,
        "manifest_sha256": manifest_sha256,
        "totals": manifest.totals.model_dump(),
        "delta": manifest.delta.model_dump(by_alias=True),
        "patch_bytes": manifest.patches.pack.size if manifest.patches else 0,
        "new_stored_bytes": sum(shard.size for shard in shards),
        "uploaded_bytes": sum(upload.sent for upload in uploads),
        "shards": len(manifest.files),
        "new_shards": len(shards),
        "steps": steps.rows,
        "smoke_checks": checks,
    }
