"""An object store in memory, with a clock that tests set and a hook before every operation: for races and ages."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lading.errors import ConflictError, NotFoundError
from lading.objectstore import Bucket, ObjectInfo, UnfinishedUpload


@dataclass
class Stored:
    data: bytes
    modified: datetime


class MemoryBucket(Bucket):
    """Behaves as Bucket does on a strongly consistent store."""

    def __init__(self) -> None:
        super().__init__(client=None, name="memory")
        self.objects: dict[str, Stored] = {}
        self.uploads: list[UnfinishedUpload] = []
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.calls: list[tuple[str, str]] = []
        self.hook: Callable[[str, str], None] = lambda operation, key: None

    def passed(self, **time: float) -> None:
        self.now += timedelta(**time)

    def held(self) -> set[str]:
        return set(self.objects)

    def before(self, operation: str, key: str, action: Callable[[], object]) -> None:
        """Once, right before this operation on this key, something else happens."""

        def hook(called: str, on: str) -> None:
            if (called, on) == (operation, key):
                self.hook = lambda operation, key: None
                action()

        self.hook = hook

    def head(self, key: str) -> ObjectInfo | None:
        self._called("head", key)
        return self._info(key) if key in self.objects else None

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        self._called("get", key)
        if key not in self.objects:
            raise NotFoundError(f"there is no object {key}")
        return self.objects[key].data, self._info(key).etag

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        self._called("list", prefix)
        yield from [replace(self._info(key), sha256=None) for key in sorted(self.objects) if key.startswith(prefix)]

    def folders(self, prefix: str = "") -> Iterator[str]:
        yield from sorted({key[len(prefix) :].split("/")[0] for key in self.objects if key.startswith(prefix)})

    def put_if_absent(self, key: str, data: bytes) -> None:
        self._called("put", key)
        if key in self.objects:
            raise ConflictError(f"{key} was written by somebody else")
        self.objects[key] = Stored(data, self.now)

    def put(self, key: str, data: bytes) -> None:
        self._called("put", key)
        self.objects[key] = Stored(data, self.now)

    def swap(self, key: str, data: bytes, etag: str | None) -> None:
        self._called("swap", key)
        if (self._info(key).etag if key in self.objects else None) != etag:
            raise ConflictError(f"{key} was written by somebody else")
        self.objects[key] = Stored(data, self.now)

    def upload(self, path: Path, key: str, sha256: str, progress: Callable[[int], None] | None = None) -> bool:
        self._called("upload", key)
        if key in self.objects:
            return False
        self.objects[key] = Stored(path.read_bytes(), self.now)
        return True

    def delete(self, key: str) -> None:
        self._called("delete", key)
        self.objects.pop(key, None)

    def unfinished_uploads(self, prefix: str) -> tuple[UnfinishedUpload, ...] | None:
        return tuple(upload for upload in self.uploads if upload.key.startswith(prefix))

    def abort_upload(self, upload: UnfinishedUpload) -> None:
        self._called("abort", upload.key)
        self.uploads.remove(upload)

    def _called(self, operation: str, key: str) -> None:
        self.calls.append((operation, key))
        self.hook(operation, key)

    def _info(self, key: str) -> ObjectInfo:
        stored = self.objects[key]
        digest = hashlib.sha256(stored.data).hexdigest()
        return ObjectInfo(key, len(stored.data), f'"{digest[:32]}"', digest, stored.modified)


def put_release(store: MemoryBucket, dataset: str, version: str, shards: list[str], parent: str | None = None) -> None:
    """A release of shards that are named by any text, as its flow leaves it, but not promoted."""
    from lading.manifest import Delta, Index, IndexObject, Manifest, Shard, Totals
    from lading.names import MANIFEST, SIGNATURE, release_key, shard_key

    files = []
    for text in shards:
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        files.append(Shard(key=shard_key(dataset, sha256), size=len(text), sha256=sha256, kind="base"))
        store.objects.setdefault(files[-1].key, Stored(text.encode(), store.now))
    index = {}
    for name, suffix in (("files", "parquet"), ("chunks", "parquet"), ("lookup", "bin")):
        sha256 = hashlib.sha256(f"{version} {name}".encode()).hexdigest()
        key = release_key(dataset, version, f"{name}.{sha256[:16]}.{suffix}")
        store.objects[key] = Stored(name.encode(), store.now)
        index[name] = IndexObject(key=key, size=len(name), sha256=sha256, rows=1)
    manifest = Manifest(
        dataset=dataset,
        version=version,
        parent=parent,
        created_at=store.now.replace(microsecond=0),
        files=tuple(files),
        index=Index(**index),
        totals=Totals(files=1, bytes=1, chunks=1, stored_bytes=1),
        delta=Delta(from_=parent, added=1, modified=0, removed=0, new_bytes=1, reused_bytes=0),
    )
    store.put(release_key(dataset, version, MANIFEST), manifest.to_bytes())
    store.put(release_key(dataset, version, SIGNATURE), b"signature\n")


def shard(dataset: str, text: str) -> str:
    """The key of a shard that is named by a text."""
    from lading.names import shard_key

    return shard_key(dataset, hashlib.sha256(text.encode()).hexdigest())
