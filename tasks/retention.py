"""Retention: which releases go, and which objects no release needs. Pure: all that counts is in the arguments.

Mark everything that kept manifests name, sweep what is left and older than the grace period. A release that goes is
expired first, and what it alone names is swept when that is older than the grace period (tasks/garbage.py).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from lading.errors import UsageError
from lading.manifest import Manifest
from lading.names import (
    CROISSANT,
    EXPIRED,
    MANIFEST,
    SIGNATURE,
    YANKED,
    lock_prefix,
    release_key,
    release_prefix,
)
from lading.objectstore import ObjectInfo, UnfinishedUpload
from lading.settings import Settings

GRACE_HOURS = 72.0
"""How long what nobody needs is kept. It must be longer than any token lives, an hour by default, for a pull of a
release that was removed meanwhile to end well; and long enough that whoever repeats a release that failed need not
send it again, also after a weekend, or when it takes long: 20 TB at 100 MB/s take 56 hours. A release that runs needs
no grace: it announces itself (tasks/announce.py)."""

OF_RELEASE = (MANIFEST, SIGNATURE, CROISSANT, YANKED)
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
        needed |= {key(version, name) for name in OF_RELEASE}

    # What a release that goes now, or went within the grace period, names is still read.
    ending = [version for version in state.expired if modified[key(version, EXPIRED)] >= old]
    held = named(state.manifests[version] for version in reasons)
    held |= named(state.expired[version] for version in ending)
    held |= {key(version, name) for version in reasons for name in (*OF_RELEASE, EXPIRED)}
    held |= {key(version, EXPIRED) for version in ending if version not in state.manifests}

    sweep, last, young, foreign = [], [], [], []
    for item in state.objects:
        if item.key in needed or item.key in held or item.key == f"{dataset}/latest.json":
            continue
        kind = _kind(dataset, item.key)
        version, name = release_part(dataset, item.key)
        if kind == "locks" and not item.key.startswith(f"{lock_prefix(dataset)}clock-"):
            continue  # who holds a lock, or takes it over, gives it back
        if kind is None:
            foreign.append(item.key)
        elif name == EXPIRED:
            # The last trace of a release goes last; where its manifest is back, the trace is wrong.
            last.append(Sweep(item.key, item.size, kind))
        elif modified[item.key] < old or (name in OF_RELEASE and version in state.expired):
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


def _alone(state: DatasetState, version: str, needed: set[str], sizes: Mapping[str, int]) -> int:
    """Bytes that only this release, of all that stay after it, names."""
    return sum(sizes.get(key, 0) for key in named([state.manifests[version]]) - needed)


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


def release_part(dataset: str, key: str) -> tuple[str, str]:
    """Version and name of an object of a release; empty for others."""
    prefix = release_prefix(dataset)
    if not key.startswith(prefix):
        return "", ""
    version, _, name = key[len(prefix) :].partition("/")
    return version, name
