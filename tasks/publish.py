"""Publish: the index, then the signed manifest that makes the release visible, then `latest`."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lading.errors import ConflictError, NotFoundError
from lading.index import IndexFile
from lading.manifest import (
    Delta,
    Index,
    IndexObject,
    Manifest,
    Patches,
    Shard,
    StoredObject,
    Totals,
)
from lading.names import (
    CROISSANT,
    INDEX_CHUNKS,
    INDEX_FILES,
    MANIFEST,
    SIGNATURE,
    latest_key,
    release_key,
    shard_key,
)
from lading.objectstore import Bucket, bucket
from lading.parameters import Chunking, Compression
from lading.settings import Settings
from lading.signing import load_key, sign
from tasks.build_index import ReleaseIndex
from tasks.card import DatasetCard
from tasks.croissant import columns_of, croissant, manifest_object
from tasks.pack import PackedShard
from tasks.parent import Latest, read_latest
from tasks.patch import PatchPack
from tasks.plan import Plan
from tasks.yank import refuse_yanked


@dataclass(frozen=True, slots=True)
class Published:
    """A visible release: its manifest's SHA-256 in hex, and the bytes of all shards that it refers to."""

    dataset: str
    version: str
    manifest_sha256: str
    stored_bytes: int


def index_key(dataset: str, version: str, index: IndexFile) -> str:
    """Key of an index file. It holds a part of the file's hash: of two runs that race for one version, neither can
    overwrite what the winner's manifest refers to."""
    stem, suffix = index.path.name.split(".", 1)
    return release_key(dataset, version, f"{stem}.{index.sha256[:16]}.{suffix}")


def pack_key(dataset: str, version: str, pack: PatchPack) -> str:
    """Key of a patch pack; its hash is in it for the same reason."""
    return release_key(dataset, version, f"patches.{pack.sha256[:16]}.pack")


def build_manifest(
    *,
    dataset: str,
    version: str,
    parent: Manifest | None,
    created_at: datetime,
    card: DatasetCard,
    plan: Plan,
    shards: list[PackedShard],
    index: ReleaseIndex,
    patches: PatchPack | None,
    chunking: Chunking,
    compression: Compression,
) -> Manifest:
    """The manifest of a release. `shards` are the new ones; the parent's are kept where the index refers to them."""
    new = [
        Shard.model_validate({"key": shard_key(dataset, s.sha256), "size": s.size, "sha256": s.sha256, "kind": s.kind})
        for s in shards
    ]
    old = list(parent.files) if parent else []
    # A base release keeps shards that hold nothing but links or empty entries: they are a part of its tree.
    wanted = set(index.shards) | ({shard.sha256 for shard in new} if plan.kind == "base" else set())
    by_hash = {shard.sha256: shard for shard in [*old, *new] if shard.sha256 in wanted}

    def index_object(file: IndexFile) -> IndexObject:
        return IndexObject(key=index_key(dataset, version, file), size=file.size, sha256=file.sha256, rows=file.rows)

    packed = None
    if parent and patches:
        pack = StoredObject(key=pack_key(dataset, version, patches), size=patches.size, sha256=patches.sha256)
        packed = Patches(from_=parent.version, pack=pack, index=index_object(patches.index))
    return Manifest(
        dataset=dataset,
        version=version,
        parent=parent.version if parent else None,
        created_at=created_at,
        title=card.title,
        license=card.license,
        labels=card.labels,
        sources=card.sources,
        files=tuple(by_hash.values()),
        index=Index(
            files=index_object(index.files),
            chunks=index_object(index.chunks),
            lookup=index_object(index.lookup) if index.lookup else None,
        ),
        totals=Totals(
            files=plan.files,
            bytes=plan.bytes,
            chunks=plan.chunks,
            stored_bytes=sum(shard.size for shard in by_hash.values()),
        ),
        delta=Delta(
            from_=parent.version if parent else None,
            added=plan.added,
            modified=plan.modified,
            removed=plan.removed,
            new_bytes=plan.new_bytes,
            reused_bytes=plan.reused_bytes,
        ),
        patches=packed,
        chunking=chunking,
        compression=compression,
    )


def publish(
    store: Bucket,
    manifest: Manifest,
    index: ReleaseIndex,
    patches: PatchPack | None,
    key: Ed25519PrivateKey,
    gateway_url: str | None = None,
) -> Published:
    """Store the index and the patches, then the manifest, which takes the version, and the signature, without which
    nobody is given the release. `gateway_url` is for the URLs of the Croissant document.

    Raises ConflictError if another release of this version is there. The same release again is no error: so a run that
    was killed can be repeated.
    """
    data = manifest.to_bytes()
    own = manifest.index
    for entry, file in ((own.files, index.files), (own.chunks, index.chunks), (own.lookup, index.lookup)):
        if entry is not None and file is not None:
            store.upload(file.path, entry.key, entry.sha256)
    if manifest.patches and patches:
        store.upload(patches.path, manifest.patches.pack.key, patches.sha256)
        store.upload(patches.index.path, manifest.patches.index.key, patches.index.sha256)
    digest = hashlib.sha256(data).hexdigest()
    _put_once(store, manifest, MANIFEST, data)
    # Only who has taken the version gets here, so the document is of this release. One that a killed run left may have
    # been made for another gateway, and is as good.
    with suppress(ConflictError):
        store.put_if_absent(
            release_key(manifest.dataset, manifest.version, CROISSANT),
            croissant(
                manifest,
                manifest_object(manifest, data, digest),
                {INDEX_FILES: columns_of(index.files.path), INDEX_CHUNKS: columns_of(index.chunks.path)},
                gateway_url,
            ),
        )
    # Ed25519 is deterministic, so whoever repeats this writes the same bytes.
    lookup = own.lookup.key.rpartition("/")[2] if own.lookup else None
    _put_once(store, manifest, SIGNATURE, sign(data, key, lookup))
    return Published(manifest.dataset, manifest.version, digest, manifest.totals.stored_bytes)


def _put_once(store: Bucket, manifest: Manifest, name: str, data: bytes) -> None:
    key = release_key(manifest.dataset, manifest.version, name)
    try:
        store.put_if_absent(key, data)
    except ConflictError:
        if store.get(key) != data:
            raise ConflictError(
                f"release {manifest.version!r} of dataset {manifest.dataset!r} exists already",
                "give another --version: a release never changes",
            ) from None


def promote(store: Bucket, dataset: str, version: str) -> bool:
    """Make `version` the dataset's latest by compare-and-swap; returns False if it is already.

    Raises NotFoundError if the release is not there, ConflictError if it is yanked or somebody else promotes at the
    same moment.
    """
    try:
        manifest = store.get(release_key(dataset, version, MANIFEST))
    except NotFoundError:
        raise NotFoundError(
            f"dataset {dataset!r} has no release {version!r}", "list the releases with 'lading ls'"
        ) from None
    if store.head(release_key(dataset, version, SIGNATURE)) is None:
        raise NotFoundError(
            f"release {version!r} of dataset {dataset!r} is unfinished: it has no signature", "run the release again"
        )
    digest = hashlib.sha256(manifest).hexdigest()
    latest = read_latest(store, dataset)
    if latest and (latest.version, latest.manifest_sha256) == (version, digest):
        return False
    refuse_yanked(store, dataset, version)
    data = _latest_document(version, digest)
    try:
        store.swap(latest_key(dataset), data, latest.etag if latest else None)
    except ConflictError:
        raise ConflictError(
            f"somebody else promoted a release of {dataset!r} at the same moment",
            f"look at it, then run 'lading promote {dataset} {version}'",
        ) from None
    try:
        # It may have been yanked or expired since it was looked at; those look at `latest` after they have acted.
        refuse_yanked(store, dataset, version)
        if store.head(release_key(dataset, version, MANIFEST)) is None:
            raise ConflictError(
                f"release {version!r} of dataset {dataset!r} was removed at the same moment", "promote another one"
            )
    except ConflictError:
        _demote(store, dataset, data, latest)
        raise
    return True


def _latest_document(version: str, manifest_sha256: str) -> bytes:
    document = {"manifest_sha256": manifest_sha256, "version": version}
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _demote(store: Bucket, dataset: str, promoted: bytes, earlier: Latest | None) -> None:
    """Take a promotion back, unless somebody has promoted another release since."""
    data, etag = store.get_with_etag(latest_key(dataset))
    if data != promoted:
        return
    if earlier is None:
        store.delete(latest_key(dataset))
        return
    with suppress(ConflictError):
        store.swap(latest_key(dataset), _latest_document(earlier.version, earlier.manifest_sha256), etag)


def publish_release(
    settings: Settings, manifest: Manifest, index: ReleaseIndex, patches: PatchPack | None, key_file: Path
) -> Published:
    """`publish` with the configured bucket and key."""
    return publish(bucket(settings), manifest, index, patches, load_key(key_file), settings.gateway_url)


def promote_release(settings: Settings, dataset: str, version: str) -> bool:
    """`promote` with the configured bucket."""
    return promote(bucket(settings), dataset, version)
