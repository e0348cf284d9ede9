"""How releases and the garbage collection keep out of each other's way.

A release relies on objects that no manifest names yet: shards that it found in the store and did not send again, and
those of its parent. So it announces itself in the store before it looks, and the collection locks a dataset before it
removes anything. Each first writes its own object, then looks for the other's: of two at the same moment at least one
sees the other (a strongly consistent store is assumed: S3, R2 and GCS are). The collection then gives way, and the
release waits for it to do so. Both renew their objects, so what a killed run left does not block for long.
"""

from __future__ import annotations

import hashlib
import json
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lading.errors import ConflictError, IntegrityError, NotFoundError, StorageError
from lading.manifest import Manifest
from lading.names import EXPIRED, MANIFEST, SIGNATURE, lock_prefix, release_key, shard_prefix
from lading.objectstore import Bucket, ObjectInfo
from tasks.parent import read_latest

RENEW_S = 600.0
"""How often a running release renews its announcement."""

ANNOUNCED = timedelta(hours=1)
"""An announcement that was not renewed for so long, six times over, belongs to a run that is dead or asleep."""

COLLECTING = timedelta(minutes=15)
"""The same for the lock of a collection, which renews it before every batch."""

DELETE_FOR_S = 300.0
"""How long after renewing its lock a collection may begin a deletion. With a request's retries (five of 60 s) on top it
stays below COLLECTING, after which a release no longer heeds the lock."""

POLL_S = 1.0
"""How often a release looks whether a collection has given way."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """A running release, as the collection sees it in the store."""

    key: str

    def is_there(self, store: Bucket) -> bool:
        """Whether no collection has taken the run for dead."""
        return store.head(self.key) is not None


@contextmanager
def announced(store: Bucket, dataset: str, version: str, work: Path) -> Iterator[Announcement]:
    """Announce a release while it runs; waits for a collection that is at work on the dataset.

    `work` is the work folder, which tells runs apart: a re-run takes over what its killed forerunner announced.
    Raises ConflictError if retention has removed a release of this name that is not yet swept.
    """
    run = hashlib.sha256(f"{socket.gethostname()}\0{work}".encode()).hexdigest()[:16]
    key = f"{lock_prefix(dataset)}release-{version}-{run}.json"
    store.put(key, _document(version=version))
    over = threading.Event()
    renewing = threading.Thread(target=_renew, args=(store, key, version, over), name="announce", daemon=True)
    renewing.start()
    try:
        _wait_for_collection(store, dataset, key)
        refuse_expired(store, dataset, version)
        yield Announcement(key)
    finally:
        over.set()
        renewing.join()
        # Left behind, it goes by itself within the hour: no reason to fail a release that is done.
        with suppress(StorageError):
            store.delete(key)


def running_releases(store: Bucket, dataset: str) -> list[ObjectInfo]:
    """The announcements in the store, dead ones too."""
    return [item for item in store.list(lock_prefix(dataset)) if item.key.startswith(f"{lock_prefix(dataset)}release-")]


def announced_version(key: str) -> str:
    """The version that an announcement's key names."""
    return key.rpartition("/release-")[2].rpartition("-")[0]


def refuse_expired(store: Bucket, dataset: str, version: str) -> None:
    """Raise ConflictError while something of a removed release of this name is left."""
    if store.head(release_key(dataset, version, EXPIRED)) is not None:
        raise ConflictError(
            f"release {version!r} of dataset {dataset!r} was removed a while ago and is not yet swept",
            "give another --version: a release never changes",
        )


def check_stored(store: Bucket, manifest: Manifest, announcement: Announcement) -> None:
    """Before the manifest is put: refuse to publish a release that lacks a shard.

    Raises ConflictError if a collection may have removed what this run found, IntegrityError if a shard is missing.
    """
    if not announcement.is_there(store):
        raise ConflictError(
            f"this run was asleep for so long that garbage of dataset {manifest.dataset!r} was collected meanwhile",
            "run the same command again: it sends only what is missing",
        )
    missing = missing_shards(store, manifest)
    if missing:
        raise IntegrityError(
            f"{len(missing)} of {len(manifest.files)} shards are not in the store, {missing[0]} for one",
            "run the same command again; if the parent's shards are lost, release with --full",
        )


def confirm_stored(store: Bucket, manifest: Manifest, announcement: Announcement) -> None:
    """After the manifest is put: take it back in the one case in which a shard may have gone at the last moment.

    A collection that takes a run for dead removes the announcement first and reads the manifests then. So while the
    announcement is there, whoever collects has seen this manifest.
    """
    if announcement.is_there(store) or not missing_shards(store, manifest):
        return
    latest = read_latest(store, manifest.dataset)
    if latest is None or latest.version != manifest.version:
        for name in (MANIFEST, SIGNATURE):
            store.delete(release_key(manifest.dataset, manifest.version, name))
    raise ConflictError(
        f"garbage of dataset {manifest.dataset!r} was collected at the moment of publishing; the release is taken back",
        "run the same command again: it sends only what is missing",
    )


def missing_shards(store: Bucket, manifest: Manifest) -> list[str]:
    """Keys of shards that the store lacks or has in another size."""
    # One listing costs a request for each thousand shards of the dataset, and looking at each costs one for each.
    held = {item.key: item.size for item in store.list(shard_prefix(manifest.dataset))}
    return [shard.key for shard in manifest.files if held.get(shard.key) != shard.size]


@dataclass
class Collection:
    """The lock of a collection on one dataset. `now` is the store's clock when the lock was taken."""

    store: Bucket
    dataset: str
    key: str
    now: datetime
    _owner: str
    _etag: str
    _renewals: int = 0
    _renewed: float = field(default_factory=time.monotonic)

    def guard(self) -> None:
        """Before a batch: renew the lock, and give way to a running release.

        Raises ConflictError if there is one, or if somebody else took the lock.
        """
        self._renewals += 1
        try:
            self.store.swap(self.key, _document(owner=self._owner, renewals=self._renewals), self._etag)
        except (ConflictError, NotFoundError):
            raise ConflictError(
                f"another garbage collection of dataset {self.dataset!r} took over", "wait for it, then try again"
            ) from None
        self._refresh()
        running = running_releases(self.store, self.dataset)
        if running:
            raise ConflictError(
                f"a release of {self.dataset}@{announced_version(running[0].key)} is running since "
                f"{running[0].modified:%Y-%m-%d %H:%M} UTC or before",
                "collect when it is over; a run that was killed counts for an hour",
            )

    def allows(self) -> bool:
        """Right before a deletion: whether the last `guard` is recent enough."""
        return time.monotonic() - self._renewed < DELETE_FOR_S

    def forget_dead_releases(self) -> None:
        """Remove the announcements of runs that are dead. What is read of the store must be read after this."""
        for item in running_releases(self.store, self.dataset):
            if item.modified is not None and item.modified < self.now - ANNOUNCED:
                self.store.delete(item.key)

    def release(self) -> None:
        """Give the lock back."""
        held = self.store.head(self.key)
        if held is not None and held.etag == self._etag:
            self.store.delete(self.key)

    def _refresh(self) -> None:
        self._renewed = time.monotonic()
        held = self.store.head(self.key)
        if held is None or held.modified is None:
            raise StorageError(f"the store does not show {self.key}", "try again")
        self._etag = held.etag


@contextmanager
def collecting(store: Bucket, dataset: str) -> Iterator[Collection]:
    """Lock a dataset for a collection. Raises ConflictError if another one is at work."""
    key = f"{lock_prefix(dataset)}gc.json"
    owner = uuid.uuid4().hex
    # A probe tells the store's clock, by which all ages are measured: this machine's may be wrong.
    now = _store_clock(store, dataset, owner)
    held = store.head(key)
    if held is not None and held.modified is not None and held.modified >= now - COLLECTING:
        raise ConflictError(
            f"another garbage collection of dataset {dataset!r} is at work since {held.modified:%H:%M} UTC or before",
            "wait for it; one that was killed counts for fifteen minutes",
        )
    try:
        store.swap(key, _document(owner=owner, renewals=0), held.etag if held else None)
    except (ConflictError, NotFoundError):
        raise ConflictError(
            f"another garbage collection of dataset {dataset!r} began at the same moment", "wait for it"
        ) from None
    mine = store.head(key)
    if mine is None:
        raise StorageError(f"the store does not show {key}", "try again")
    collection = Collection(store, dataset, key, now, owner, mine.etag)
    try:
        yield collection
    finally:
        with suppress(StorageError):
            collection.release()


def _store_clock(store: Bucket, dataset: str, name: str) -> datetime:
    key = f"{lock_prefix(dataset)}clock-{name}.json"
    store.put(key, b"{}\n")
    try:
        probe = store.head(key)
    finally:
        store.delete(key)
    if probe is None or probe.modified is None:
        raise StorageError(f"the store does not show {key}", "try again")
    return probe.modified


def _wait_for_collection(store: Bucket, dataset: str, announcement: str) -> None:
    mine = store.head(announcement)
    if mine is None or mine.modified is None:
        raise StorageError(f"the store does not show {announcement}", "try again")
    started = time.monotonic()
    while True:
        held = store.head(f"{lock_prefix(dataset)}gc.json")
        now = mine.modified + timedelta(seconds=time.monotonic() - started)
        if held is None or held.modified is None or held.modified < now - COLLECTING:
            return
        time.sleep(POLL_S)


def _renew(store: Bucket, key: str, version: str, over: threading.Event) -> None:
    """Keep an announcement young. One that is gone stays gone: its run must know."""
    while not over.wait(RENEW_S):
        with suppress(StorageError):
            held = store.head(key)
            if held is None:
                return
            with suppress(ConflictError, NotFoundError):
                store.swap(key, _document(version=version), held.etag)


def _document(**facts: object) -> bytes:
    document = {"host": socket.gethostname(), "at": datetime.now(UTC).isoformat(timespec="seconds"), **facts}
    return json.dumps(document, sort_keys=True).encode() + b"\n"
