"""Parent: the release to compare with and to take chunks from."""

from __future__ import annotations

import json
from dataclasses import dataclass

from lading.errors import IntegrityError, NotFoundError
from lading.manifest import Manifest, parse
from lading.names import INDEX_CHUNKS, INDEX_FILES, MANIFEST, latest_key, release_key
from lading.objectstore import Bucket, bucket
from lading.settings import Settings
from tasks.plan import ParentIndex
from tasks.work import WorkDir


@dataclass(frozen=True, slots=True)
class Latest:
    """The promoted release: its version, the SHA-256 (hex) of its manifest, and the object's ETag for a swap."""

    version: str
    manifest_sha256: str
    etag: str


def read_latest(store: Bucket, dataset: str) -> Latest | None:
    """The dataset's promoted release, or None before the first one."""
    try:
        data, etag = store.get_with_etag(latest_key(dataset))
    except NotFoundError:
        return None
    try:
        document = json.loads(data)
        return Latest(str(document["version"]), str(document["manifest_sha256"]), etag)
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(
            f"{latest_key(dataset)} is malformed", "write it anew with 'lading promote DATASET VERSION'"
        ) from error


def read_manifest(store: Bucket, dataset: str, version: str) -> Manifest:
    """A release's manifest. Raises NotFoundError if there is no such release."""
    try:
        return parse(store.get(release_key(dataset, version, MANIFEST)))
    except NotFoundError:
        raise NotFoundError(
            f"dataset {dataset!r} has no release {version!r}", "list the releases with 'lading ls'"
        ) from None


def has_release(store: Bucket, dataset: str, version: str) -> bool:
    """Whether there is such a release."""
    return store.head(release_key(dataset, version, MANIFEST)) is not None


def fetch_parent(store: Bucket, dataset: str, version: str, work: WorkDir) -> tuple[Manifest, ParentIndex]:
    """Download the parent's index into the work folder."""
    manifest = read_manifest(store, dataset, version)
    index = ParentIndex(
        work.parent(INDEX_FILES),
        work.parent(INDEX_CHUNKS),
        {shard.sha256: shard.size for shard in manifest.files},
        manifest.totals.stored_bytes / max(1, manifest.totals.bytes),
    )
    for entry, path in ((manifest.index.files, index.files), (manifest.index.chunks, index.chunks)):
        store.download(entry.key, path, entry.sha256)
    return manifest, index


def fetch_parent_release(settings: Settings, dataset: str, version: str, work: WorkDir) -> tuple[Manifest, ParentIndex]:
    """`fetch_parent` with the configured bucket."""
    return fetch_parent(bucket(settings), dataset, version, work)
