"""Retention and garbage: which releases go, and which objects no release needs.

Read, decide, remove. What is decided is a pure function of what was read: mark everything that kept manifests name,
sweep what is left and older than the grace period. A release that retention removes goes in two steps. First its
manifest becomes `expired.json`: nobody is given the release any more, but whoever has a token goes on reading. When
that file is older than the grace period, the objects that no other release names are swept, and it goes last. So
nothing visible is ever half there, and a collection that was killed is completed by the next one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from lading.errors import ConflictError, IntegrityError, NotFoundError, UsageError
from lading.manifest import Manifest, parse
from lading.names import (
    CROISSANT,
    EXPIRED,
    MANIFEST,
    SIGNATURE,
    YANKED,
    check_dataset,
    lock_prefix,
    release_key,
    release_prefix,
)
from lading.objectstore import Bucket, ObjectInfo, UnfinishedUpload, bucket
from lading.settings import Settings
from tasks.announce import ANNOUNCED, Collection, announced_version, collecting, running_releases
from tasks.parent import read_latest

GRACE_HOURS = 72.0
"""How long what nobody needs is kept. It must be longer than any token lives, an hour by default, for a pull of a
release that was removed meanwhile to end well; and long enough that whoever repeats a release that failed need not
send it again, also after a weekend, or when it takes long: 20 TB at 100 MB/s take 56 hours. A release that runs needs
no grace: it announces itself (tasks/announce.py)."""

BATCH_KEYS = 500
"""Deletions between two looks at whether a release has begun."""

DELETE_THREADS = 8

_OF_RELEASE = (MANIFEST, SIGNATURE, CROISSANT, YANKED)
"""What a release has under fixed names. It goes with the manifest."""

_OURS = re.compile(
    r"(?P<shards>(shards|patches)/[0-9a-f]{64}(\.[a-z0-9]+)+)"
    r"|releases/[^/]+/(?P<files>[a-z]+(\.[0-9a-f]{16})?\.(parquet|pack|bin|json)(\.sig)?)"
    r"|(?P<locks>locks/[^/]+\.json)"
)
"""Keys that Lading writes, below the dataset. Whatever else lies there is not ours to remove."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What is kept. A release goes only if no rule keeps it; without a rule none goes.

    keep_last  that many of the newest releases; a yanked one does not count, but is kept as if it did
    keep_days  releases that are younger than that
    grace      how long what nobody needs is kept
    """

    keep_last: int | None = None
    keep_days: float | None = None
    grace: timedelta = timedelta(hours=GRACE_HOURS)


def make_policy(settings: Settings, keep_last: int | None, keep_days: float | None, grace_hours: float) -> Policy:
    """A checked policy. Raises UsageError for numbers that would remove what somebody reads."""
    if keep_last is not None and keep_last < 1:
        raise UsageError(f"--keep-last is {keep_last}", "give 1 or more: the latest release is always kept")
    if keep_days is not None and keep_days < 0:
        raise UsageError(f"--keep-days is {keep_days:g}", "give a number of days")
    longest = settings.token_max_ttl
    if not grace_hours * 3600 >= longest:
        raise UsageError(
            f"a grace period of {grace_hours:g} hours is shorter than a token may live ({longest} s)",
            f"give {longest / 3600:g} hours or more: whoever has a token goes on reading",
        )
    return Policy(keep_last, keep_days, timedelta(hours=grace_hours))


@dataclass(frozen=True, slots=True)
class DatasetState:
    """What the store holds of a dataset. `manifests` and `expired` are by version, `now` is the time to go by."""

    dataset: str
    now: datetime
    objects: tuple[ObjectInfo, ...]
    manifests: Mapping[str, Manifest]
    expired: Mapping[str, Manifest]
    latest: str | None
    uploads: tuple[UnfinishedUpload, ...] | None = ()
    running: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Expiry:
    """A release that goes. `bytes` become free when it is swept: what no kept release names."""

    version: str
    reason: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Sweep:
    """An object that goes, and what it is: shards, files of a release, locks."""

    key: str
    size: int
    kind: str


@dataclass(frozen=True, slots=True)
class GarbagePlan:
    """What is to be done to one dataset, in this order: `expire`, `sweep`, `abort`.

    `young` objects are needed by nobody but within the grace period. `foreign` ones are not Lading's and stay.
    """

    dataset: str
    kept: tuple[str, ...]
    expire: tuple[Expiry, ...]
    sweep: tuple[Sweep, ...]
    abort: tuple[UnfinishedUpload, ...]
    young: tuple[ObjectInfo, ...]
    foreign: tuple[str, ...]
    running: tuple[str, ...] = ()
    uploads_unknown: bool = False

    @property
    def sweep_bytes(self) -> int:
        return sum(item.size for item in self.sweep)

    def rows(self) -> list[dict[str, Any]]:
        """The plan as a table: dataset, what, objects, bytes, and why."""
        rows: list[dict[str, Any]] = [
            {"what": f"expire {item.version}", "objects": 1, "bytes": item.bytes, "why": item.reason}
            for item in self.expire
        ]
        counts = Counter(item.kind for item in self.sweep)
        for kind, count in sorted(counts.items()):
            total = sum(item.size for item in self.sweep if item.kind == kind)
            rows.append({"what": f"sweep {kind}", "objects": count, "bytes": total, "why": "no release names them"})
        if self.abort:
            rows.append({"what": "abort uploads", "objects": len(self.abort), "bytes": None, "why": "unfinished"})
        return [{"dataset": self.dataset, **row} for row in rows]


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
        version, name = _release_part(dataset, item.key)
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


def plan_garbage(state: DatasetState, policy: Policy) -> GarbagePlan:
    """Decide what goes. Pure: all that counts is in the arguments."""
    dataset, old = state.dataset, state.now - policy.grace
    modified = {item.key: item.modified or state.now for item in state.objects}
    sizes = {item.key: item.size for item in state.objects}

    def key(version: str, name: str) -> str:
        return release_key(dataset, version, name)

    unsigned = {version for version in state.manifests if key(version, SIGNATURE) not in sizes}
    yanked = {version for version in state.manifests if key(version, YANKED) in sizes}
    unfinished = [v for v in unsigned if modified[key(v, MANIFEST)] < old and v != state.latest]
    reasons = {
        **retention(
            {version: manifest.created_at for version, manifest in state.manifests.items()},
            yanked | unsigned,
            state.latest,
            policy,
            state.now,
        ),
        **dict.fromkeys(unfinished, "unfinished: it has no signature"),
    }
    kept = [version for version in state.manifests if version not in reasons]
    needed = named(state.manifests[version] for version in kept)
    for version in kept:
        needed |= {key(version, name) for name in _OF_RELEASE}

    # What a release that goes now, or went within the grace period, names is still read.
    ending = [version for version in state.expired if modified[key(version, EXPIRED)] >= old]
    held = named(state.manifests[version] for version in reasons)
    held |= named(state.expired[version] for version in ending)
    held |= {key(version, name) for version in reasons for name in (*_OF_RELEASE, EXPIRED)}
    held |= {key(version, EXPIRED) for version in ending if version not in state.manifests}

    sweep, last, young, foreign = [], [], [], []
    for item in state.objects:
        if item.key in needed or item.key in held or item.key == f"{dataset}/latest.json":
            continue
        kind = _kind(dataset, item.key)
        version, name = _release_part(dataset, item.key)
        if kind == "locks" and not item.key.startswith(f"{lock_prefix(dataset)}clock-"):
            continue  # who holds a lock, or takes it over, gives it back
        if kind is None:
            foreign.append(item.key)
        elif name == EXPIRED:
            # The last trace of a release goes last; where its manifest is back, the trace is wrong.
            last.append(Sweep(item.key, item.size, kind))
        elif modified[item.key] < old or (name in _OF_RELEASE and version in state.expired):
            sweep.append(Sweep(item.key, item.size, kind))
        elif kind != "locks":
            young.append(item)
    sizes_of_held = {k: sizes[k] for k in held if k in sizes}
    return GarbagePlan(
        dataset=dataset,
        kept=tuple(sorted(kept)),
        expire=tuple(
            Expiry(version, reasons[version], _alone(state, version, needed, sizes_of_held))
            for version in sorted(reasons, key=lambda v: (state.manifests[v].created_at, v))
        ),
        sweep=tuple(sweep + last),
        abort=tuple(upload for upload in state.uploads or () if upload.started < old),
        young=tuple(young),
        foreign=tuple(foreign),
        running=state.running,
        uploads_unknown=state.uploads is None,
    )


def retention(
    created: Mapping[str, datetime], hidden: set[str], latest: str | None, policy: Policy, now: datetime
) -> dict[str, str]:
    """The releases that no rule keeps, and why. The latest always stays; `hidden` ones push no other out."""
    if policy.keep_last is None and policy.keep_days is None:
        return {}
    goes = {}
    newer = 0
    for version in sorted(created, key=lambda v: (created[v], v), reverse=True):
        rank_keeps = policy.keep_last is not None and newer < policy.keep_last
        age_keeps = policy.keep_days is not None and created[version] > now - timedelta(days=policy.keep_days)
        newer += version not in hidden
        if version != latest and not rank_keeps and not age_keeps:
            goes[version] = f"of {created[version].astimezone(UTC):%Y-%m-%d}, and no rule keeps it"
    return goes


def named(manifests: Iterable[Manifest]) -> set[str]:
    """Every key that the manifests name, wherever in them."""
    found: set[str] = set()
    for manifest in manifests:
        found |= _keys(manifest.model_dump())
    return found


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
        version, name = _release_part(dataset, item.key)
        if name == MANIFEST:
            there.add(version)
            if version not in known:
                known[version] = _read(store, item.key, dataset, version)
    needed = named(known[version] for version in there)
    return needed | {release_key(dataset, version, name) for version in there for name in _OF_RELEASE}


def _batches(sweep: Sequence[Sweep]) -> Iterator[list[Sweep]]:
    for traces in (False, True):
        items = (item for item in sweep if item.key.endswith(f"/{EXPIRED}") == traces)
        while batch := list(islice(items, BATCH_KEYS)):
            yield batch


def _alone(state: DatasetState, version: str, needed: set[str], sizes: Mapping[str, int]) -> int:
    """Bytes that only this release, of all that stay after it, names."""
    return sum(sizes.get(key, 0) for key in named([state.manifests[version]]) - needed)


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


def _keys(value: Any) -> set[str]:
    if isinstance(value, Mapping):
        found = {value["key"]} if isinstance(value.get("key"), str) else set()
        return found.union(*(_keys(part) for part in value.values()))
    if isinstance(value, list | tuple):
        return set().union(*(_keys(part) for part in value))
    return set()


def _kind(dataset: str, key: str) -> str | None:
    match = _OURS.fullmatch(key[len(dataset) + 1 :])
    return match.lastgroup if match else None


def _release_part(dataset: str, key: str) -> tuple[str, str]:
    """Version and name of an object of a release; empty for others."""
    prefix = release_prefix(dataset)
    if not key.startswith(prefix):
        return "", ""
    version, _, name = key[len(prefix) :].partition("/")
    return version, name


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
