"""Garbage: remove the releases that no rule keeps, and what no release needs.

Read, decide (tasks/retention.py), remove. A release that retention removes goes in two steps. First its manifest
becomes `expired.json`: nobody is given the release any more, but whoever has a token goes on reading. When that file is
older than the grace period, the objects that no other release names are swept, and it goes last. So nothing visible is
ever half there, and a collection that was killed is completed by the next one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from lading.errors import ConflictError, IntegrityError, NotFoundError
from lading.manifest import Manifest, parse
from lading.names import (
    CROISSANT,
    EXPIRED,
    MANIFEST,
    SIGNATURE,
    YANKED,
    check_dataset,
    release_key,
    release_prefix,
)
from lading.objectstore import Bucket, bucket
from lading.settings import Settings
from tasks.announce import ANNOUNCED, Collection, announced_version, collecting, running_releases
from tasks.parent import read_latest
from tasks.retention import (
    OF_RELEASE,
    DatasetState,
    GarbagePlan,
    Policy,
    Sweep,
    named,
    plan_garbage,
    release_part,
)

BATCH_KEYS = 500
"""Deletions between two looks at whether a release has begun."""

DELETE_THREADS = 8


@dataclass
class Collected:
    """What a collection did to one dataset, or would do. `skipped` says why it stopped, if it did."""

    plan: GarbagePlan
    applied: bool
    expired: list[str] = field(default_factory=list)
    swept_objects: int = 0
    swept_bytes: int = 0
    aborted_uploads: int = 0
    skipped: str | None = None

    def document(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        plan = self.plan
        return {
            "dataset": plan.dataset,
            "applied": self.applied,
            "skipped": self.skipped,
            "kept": list(plan.kept),
            "expire": [{"version": e.version, "reason": e.reason, "bytes": e.bytes} for e in plan.expire],
            "sweep": [{"key": s.key, "size": s.size, "kind": s.kind} for s in plan.sweep],
            "sweep_bytes": plan.sweep_bytes,
            "abort_uploads": None if plan.uploads_unknown else [upload.key for upload in plan.abort],
            "young": {"objects": len(plan.young), "bytes": sum(item.size for item in plan.young)},
            "foreign": list(plan.foreign),
            "running": list(plan.running),
            "done": {
                "expired": self.expired,
                "swept_objects": self.swept_objects,
                "swept_bytes": self.swept_bytes,
                "aborted_uploads": self.aborted_uploads,
            },
        }


def read_state(store: Bucket, dataset: str, now: datetime) -> DatasetState:
    """Read what a decision needs. Raises IntegrityError for a manifest that is not understood: it marks nothing."""
    objects = tuple(store.list(f"{dataset}/"))
    if not objects:
        raise NotFoundError(f"there is no dataset {dataset!r}", "check its name and LADING_S3_BUCKET")
    latest = read_latest(store, dataset)
    manifests, expired = {}, {}
    for item in objects:
        version, name = release_part(dataset, item.key)
        if name == MANIFEST:
            manifests[version] = _read(store, item.key, dataset, version)
        elif name == EXPIRED:
            expired[version] = _read(store, item.key, dataset, version)
    running = tuple(
        announced_version(item.key)
        for item in running_releases(store, dataset)
        if item.modified is not None and item.modified >= now - ANNOUNCED
    )
    return DatasetState(
        dataset,
        now,
        objects,
        manifests,
        expired,
        latest.version if latest else None,
        store.unfinished_uploads(f"{dataset}/"),
        running,
    )


def collect(
    store: Bucket, dataset: str, policy: Policy, *, apply: bool = False, now: datetime | None = None
) -> Collected:
    """Collect the garbage of one dataset, or with `apply` false only say what would go.

    A release that runs, or begins, stops it: `skipped` says so, and what was done until then is done. `now` is for
    tests; by default it is the store's clock, and without `apply` this machine's.
    """
    if not apply:
        return Collected(plan_garbage(read_state(store, dataset, now or datetime.now(UTC)), policy), applied=False)
    if not any(True for _ in store.list(f"{dataset}/")):
        raise NotFoundError(f"there is no dataset {dataset!r}", "check its name and LADING_S3_BUCKET")
    with collecting(store, dataset) as lock:
        lock.forget_dead_releases()
        state = read_state(store, dataset, now or lock.now)
        result = Collected(plan_garbage(state, policy), applied=True)
        try:
            _apply(store, lock, state, result)
        except _GaveWayError as error:
            result.skipped = error.args[0]
        return result


class _GaveWayError(Exception):
    """A release runs, or another collection took over."""


def _apply(store: Bucket, lock: Collection, state: DatasetState, result: Collected) -> None:
    for expiry in result.plan.expire:
        _guard(lock)
        if _expire(store, state.dataset, expiry.version):
            result.expired.append(expiry.version)
    known = dict(state.manifests)
    with ThreadPoolExecutor(DELETE_THREADS, thread_name_prefix="sweep") as pool:
        # A trace goes when the rest is gone, so it is never in one batch with it.
        for batch in _batches(result.plan.sweep):
            _guard(lock)
            needed = _needed_now(store, state.dataset, known)
            going = [item for item in batch if item.key not in needed]

            def sweep(item: Sweep) -> int:
                if not lock.allows():
                    raise _GaveWayError("the object store is too slow; run it again to go on")
                store.delete(item.key)
                return item.size

            for size in pool.map(sweep, going):
                result.swept_objects += 1
                result.swept_bytes += size
    for upload in result.plan.abort:
        _guard(lock)
        store.abort_upload(upload)
        result.aborted_uploads += 1


def _guard(lock: Collection) -> None:
    try:
        lock.guard()
    except ConflictError as error:
        raise _GaveWayError(str(error)) from None


def _expire(store: Bucket, dataset: str, version: str) -> bool:
    """Hide a release: its manifest moves to another name, then the rest of it with fixed names goes."""

    def is_latest() -> bool:
        latest = read_latest(store, dataset)
        return latest is not None and latest.version == version

    manifest = store.get(release_key(dataset, version, MANIFEST))
    if is_latest():
        return False
    store.put(release_key(dataset, version, EXPIRED), manifest)
    store.delete(release_key(dataset, version, MANIFEST))
    if is_latest():
        # Promoted at this moment. Who promotes looks for the manifest after the swap, and goes back without it.
        store.put(release_key(dataset, version, MANIFEST), manifest)
        store.delete(release_key(dataset, version, EXPIRED))
        return False
    for name in (SIGNATURE, CROISSANT, YANKED):
        store.delete(release_key(dataset, version, name))
    return True


def _needed_now(store: Bucket, dataset: str, known: dict[str, Manifest]) -> set[str]:
    """What the manifests name that are there at this moment. `known` spares reading them again."""
    there = set()
    for item in store.list(release_prefix(dataset)):
        version, name = release_part(dataset, item.key)
        if name == MANIFEST:
            there.add(version)
            if version not in known:
                known[version] = _read(store, item.key, dataset, version)
    needed = named(known[version] for version in there)
    return needed | {release_key(dataset, version, name) for version in there for name in OF_RELEASE}


def _batches(sweep: Sequence[Sweep]) -> Iterator[list[Sweep]]:
    for traces in (False, True):
        items = (item for item in sweep if item.key.endswith(f"/{EXPIRED}") == traces)
        while batch := list(islice(items, BATCH_KEYS)):
            yield batch


def _read(store: Bucket, key: str, dataset: str, version: str) -> Manifest:
    try:
        manifest = parse(store.get(key))
    except IntegrityError as error:
        raise IntegrityError(
            f"{key} is not understood ({error.message}), so nothing of {dataset!r} is collected",
            "update Lading, or mend the release",
        ) from error
    if (manifest.dataset, manifest.version) != (dataset, version):
        raise IntegrityError(
            f"{key} is the manifest of {manifest.dataset}@{manifest.version}, so nothing of {dataset!r} is collected",
            "release it again under its own name",
        )
    return manifest


def datasets_of(store: Bucket, dataset: str | None) -> list[str]:
    """The dataset that was named, or all of the bucket that have releases or shards."""
    if dataset is not None:
        return [check_dataset(dataset)]
    return [name for name in store.folders() if {"releases", "shards"} & set(store.folders(f"{name}/"))]


def collect_all(settings: Settings, dataset: str | None, policy: Policy, *, apply: bool = False) -> list[Collected]:
    """`collect` for one dataset or every one of the configured bucket.

    A dataset that cannot be collected does not keep others from it: its error is in `skipped`.
    """
    store = bucket(settings)
    results = []
    for name in datasets_of(store, dataset):
        try:
            results.append(collect(store, name, policy, apply=apply))
        except (ConflictError, IntegrityError) as error:
            if dataset is not None:
                raise
            nothing = GarbagePlan(name, (), (), (), (), (), ())
            results.append(Collected(nothing, applied=apply, skipped=str(error)))
    return results
