"""What is released: reads `latest.json` and manifests from the object store."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from lading import manifest, names
from lading.errors import BadNameError, IntegrityError, NotFoundError
from lading.manifest import Manifest
from lading.objectstore import Bucket
from lading.yank import Yank, parse_yank

CACHED_RELEASES = 256
"""Releases kept in memory. A manifest is some 150 bytes per shard: a thousand shards make 150 KB."""

CHECK_S = 60.0
"""How old the knowledge that a release still exists, and is offered, may get: retention removes old ones."""


@dataclass(frozen=True, slots=True)
class FileFacts:
    """An object of a release: key, stored size in bytes and SHA-256 in hex where known."""

    key: str
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Release:
    """A release: its manifest, every object that a reader of it needs, and the mark of a yank if it has one."""

    manifest: Manifest
    manifest_sha256: str
    files: tuple[FileFacts, ...]
    yanked: Yank | None = None


class ReleaseCatalog(Protocol):
    """What the issuer needs to know of releases. Every method raises StorageError when the store fails."""

    def latest(self, dataset: str) -> str | None:
        """The promoted version, or None if there is none. Raises IntegrityError if it cannot be trusted."""

    def release(self, dataset: str, version: str) -> Release | None:
        """A release, or None if there is none. Raises IntegrityError if its manifest is not valid."""

    def versions(self, dataset: str) -> list[str]:
        """All complete releases that are offered, by name: yanked ones are not."""

    def offered(self, dataset: str) -> bool:
        """Whether a dataset has a release that is offered."""

    def datasets(self) -> list[str]:
        """All names at the root of the bucket that a dataset may have."""


class StoreCatalog:
    """The catalog of a bucket. Releases are immutable and are kept in memory, the least recently used go first."""

    def __init__(self, bucket: Bucket, clock: Callable[[], float] = time.monotonic) -> None:
        self._bucket = bucket
        self._clock = clock
        self._releases: OrderedDict[str, tuple[Release, float]] = OrderedDict()
        self._lock = threading.Lock()

    def latest(self, dataset: str) -> str | None:
        """The promoted version, checked against the manifest's hash that the promotion recorded."""
        try:
            data = self._bucket.get(names.latest_key(dataset))
        except NotFoundError:
            return None
        try:
            document = json.loads(data)
            version, sha256 = names.check_version(document["version"]), document["manifest_sha256"]
        except (ValueError, KeyError, TypeError, BadNameError) as error:
            raise IntegrityError(f"{names.latest_key(dataset)} is not valid", "promote a release again") from error
        release = self.release(dataset, version)
        if release is None or release.manifest_sha256 != sha256:
            raise IntegrityError(
                f"{names.latest_key(dataset)} does not match the manifest of {version}", "promote a release again"
            )
        return version

    def release(self, dataset: str, version: str) -> Release | None:
        """A release, from memory or from the store."""
        key = names.release_key(dataset, version, names.MANIFEST)
        with self._lock:
            known = self._releases.get(key)
            if known is not None and self._clock() - known[1] < CHECK_S:
                self._releases.move_to_end(key)
                return known[0]
        if known is not None and self._is_there(key, known[0]):
            return self._remember(key, replace(known[0], yanked=self._yank(dataset, version)))
        try:
            data = self._bucket.get(key)
            signature = self._bucket.get(names.release_key(dataset, version, names.SIGNATURE))
        except NotFoundError:
            with self._lock:
                self._releases.pop(key, None)
            return None
        release = _release(dataset, version, data, signature)
        return self._remember(key, replace(release, yanked=self._yank(dataset, version)))

    def _is_there(self, key: str, release: Release) -> bool:
        found = self._bucket.head(key)
        return found is not None and found.sha256 == release.manifest_sha256

    def _yank(self, dataset: str, version: str) -> Yank | None:
        try:
            return parse_yank(self._bucket.get(names.release_key(dataset, version, names.YANKED)))
        except NotFoundError:
            return None

    def _remember(self, key: str, release: Release) -> Release:
        with self._lock:
            self._releases[key] = release, self._clock()
            self._releases.move_to_end(key)
            while len(self._releases) > CACHED_RELEASES:
                self._releases.popitem(last=False)
        return release

    def versions(self, dataset: str) -> list[str]:
        """The versions that have a manifest and no mark of a yank."""
        prefix = names.release_prefix(dataset)
        found: dict[str, set[str]] = {}
        for item in self._bucket.list(prefix):
            version, _, name = item.key[len(prefix) :].partition("/")
            found.setdefault(version, set()).add(name)
        return sorted(version for version, held in found.items() if names.MANIFEST in held and names.YANKED not in held)

    def offered(self, dataset: str) -> bool:
        """Whether something is promoted, which is always offered, or else any version is."""
        return self._bucket.head(names.latest_key(dataset)) is not None or bool(self.versions(dataset))

    def datasets(self) -> list[str]:
        """The top folders of the bucket."""
        return sorted(name for name in self._bucket.folders() if _is_dataset(name))


def _release(dataset: str, version: str, data: bytes, signature: bytes) -> Release:
    parsed = manifest.parse(data)
    if (parsed.dataset, parsed.version) != (dataset, version):
        raise IntegrityError(
            f"the manifest of {dataset}@{version} says that it is {parsed.dataset}@{parsed.version}",
            "release it again under its own name",
        )
    sha256 = hashlib.sha256(data).hexdigest()
    stored: list[Any] = [*parsed.files, parsed.index.files, parsed.index.chunks]
    files = (
        *(FileFacts(item.key, item.size, item.sha256) for item in stored),
        FileFacts(names.release_key(dataset, version, names.MANIFEST), len(data), sha256),
        FileFacts(
            names.release_key(dataset, version, names.SIGNATURE),
            len(signature),
            hashlib.sha256(signature).hexdigest(),
        ),
    )
    return Release(parsed, sha256, files)


def _is_dataset(name: str) -> bool:
    try:
        names.check_dataset(name)
    except BadNameError:
        return False
    return True
