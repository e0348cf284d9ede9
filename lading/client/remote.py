"""A release as the gateway offers it: manifest and index, verified."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from lading.client.access import Access
from lading.client.opening import Signed, fetch_signed
from lading.client.transfer import StoredObject, Transfer
from lading.client.trust import TrustStore
from lading.errors import IntegrityError
from lading.index import sha256_of
from lading.manifest import IndexObject, Manifest, parse
from lading.names import INDEX_CHUNKS, INDEX_FILES, INDEX_PATCHES
from lading.parallel import Ahead

INDEX_PIECE_BYTES = 8 * 1024 * 1024

ATTEMPTS = 3
"""How often a manifest or an index that came with wrong bytes is fetched."""


@dataclass(frozen=True, slots=True)
class RemoteRelease:
    """A verified release: its manifest, the manifest's SHA-256 (hex), and its index files on disk."""

    manifest: Manifest
    manifest_sha256: str
    files: Path
    chunks: Path

    @property
    def shards(self) -> dict[str, StoredObject]:
        """Shards by SHA-256 (hex)."""
        return {s.sha256: StoredObject(s.key, s.size, s.sha256) for s in self.manifest.files}


def fetch_manifest(
    access: Access, transfer: Transfer, trust: TrustStore, signed: Signed | None = None
) -> tuple[Manifest, str]:
    """The manifest of the release that `access` is for, with its SHA-256. Raises IntegrityError."""
    dataset, version = access.grant.dataset, access.grant.version
    for attempt in range(1, ATTEMPTS + 1):
        data, signature = signed or fetch_signed(access, transfer)
        try:
            trust.check(dataset, data, signature)
            break
        except IntegrityError:
            # Bytes that were spoilt on the way are another error only if they come again.
            signed = None
            if attempt == ATTEMPTS:
                raise
    manifest = parse(data)
    if (manifest.dataset, manifest.version) != (dataset, version):
        raise IntegrityError(
            f"the manifest of {dataset}@{version} is that of {manifest.dataset}@{manifest.version}",
            "do not use this release; tell its publisher",
        )
    return manifest, hashlib.sha256(data).hexdigest()


def open_release(
    access: Access, transfer: Transfer, trust: TrustStore, folder: Path, signed: Signed | None = None
) -> RemoteRelease:
    """Fetch manifest and index into `folder`/<manifest's SHA-256>; index files that are there already are kept."""
    manifest, digest = fetch_manifest(access, transfer, trust, signed)
    own = folder / digest
    own.mkdir(parents=True, exist_ok=True)
    release = RemoteRelease(manifest, digest, own / INDEX_FILES, own / INDEX_CHUNKS)
    chunks = Ahead(lambda: fetch_index(transfer, manifest.index.chunks, release.chunks))
    fetch_index(transfer, manifest.index.files, release.files)
    chunks.result()
    return release


def fetch_patches(transfer: Transfer, release: RemoteRelease, held: str | None) -> Path | None:
    """The index of the release's patches, if it has some and they are for version `held`; None otherwise."""
    patches = release.manifest.patches
    if patches is None or patches.from_ != held:
        return None
    path = release.files.with_name(INDEX_PATCHES)
    fetch_index(transfer, patches.index, path)
    return path


def fetch_index(transfer: Transfer, entry: IndexObject, path: Path) -> None:
    """Fetch one index file, atomically, and check it. Raises IntegrityError."""
    if path.exists() and path.stat().st_size == entry.size and sha256_of(path) == entry.sha256:
        return
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _fetch_index(transfer, entry, path)
            return
        except _WrongBytesError:
            if attempt == ATTEMPTS:
                raise


class _WrongBytesError(IntegrityError):
    """What came does not have the hash that the manifest says."""


def _fetch_index(transfer: Transfer, entry: IndexObject, path: Path) -> None:
    stored = StoredObject(entry.key, entry.size, entry.sha256)
    pieces = [(start, min(INDEX_PIECE_BYTES, entry.size - start)) for start in range(0, entry.size, INDEX_PIECE_BYTES)]
    partial = path.with_name(path.name + ".partial")
    digest = hashlib.sha256()
    with partial.open("wb") as file:
        for piece in transfer.pieces(stored, pieces):
            digest.update(piece)
            file.write(piece)
    if digest.hexdigest() != entry.sha256:
        partial.unlink()
        raise _WrongBytesError(
            f"{entry.key} does not match its SHA-256", "try again; if it stays so, tell its publisher"
        )
    partial.replace(path)
