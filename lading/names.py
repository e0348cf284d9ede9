"""Names: datasets, versions, and the object keys that follow from them."""

from __future__ import annotations

import re

from lading.errors import BadNameError

_DATASET = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

LATEST = "latest"
"""The word that stands for the promoted version of a dataset; no release may be called so."""

INDEX_FILES = "files.parquet"
INDEX_CHUNKS = "chunks.parquet"
INDEX_PATCHES = "patches.parquet"
INDEX_LOOKUP = "lookup.bin"
MANIFEST = "manifest.json"
SIGNATURE = "manifest.json.sig"
CROISSANT = "croissant.json"

YANKED = "yanked.json"
"""Marks a release that is kept but no longer offered."""

EXPIRED = "expired.json"
"""What is left of a release that retention removed, until its shards are swept: its manifest under another name."""


def check_dataset(name: str) -> str:
    """Return `name` if it is a valid dataset name, else raise BadNameError."""
    if not _DATASET.fullmatch(name) or name.endswith(".."):
        raise BadNameError(
            f"dataset name {name!r} is not valid",
            "use 1 to 63 characters of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit",
        )
    return name


def check_version(version: str) -> str:
    """Return `version` if it is a valid version name, else raise BadNameError."""
    if not _VERSION.fullmatch(version):
        raise BadNameError(
            f"version name {version!r} is not valid",
            "use 1 to 64 characters of A-Z, a-z, 0-9, '.', '_' and '-', beginning with a letter or digit",
        )
    if version == LATEST:
        raise BadNameError("a release cannot be called 'latest'", "give it a name of its own, for example a date")
    return version


def parse_reference(reference: str) -> tuple[str, str]:
    """Split `DATASET[@VERSION]` into dataset and version; without a version it is 'latest'.

    Raises BadNameError for names that break the rules.
    """
    dataset, separator, version = reference.partition("@")
    if separator and not version:
        raise BadNameError(f"{reference!r} has an '@' but no version", f"write {dataset}@VERSION or {dataset}")
    check_dataset(dataset)
    if not version or version == LATEST:
        return dataset, LATEST
    return dataset, check_version(version)


def shard_key(dataset: str, sha256: str) -> str:
    """Key of an immutable shard, named by the SHA-256 of its stored bytes (64 hex digits)."""
    return f"{dataset}/shards/{sha256}.tar.zst"


def shard_prefix(dataset: str) -> str:
    """Prefix of every shard of a dataset."""
    return f"{dataset}/shards/"


def release_prefix(dataset: str, version: str | None = None) -> str:
    """Prefix of one release's own objects, or of all releases of the dataset."""
    return f"{dataset}/releases/{version}/" if version else f"{dataset}/releases/"


def release_key(dataset: str, version: str, name: str) -> str:
    """Key of an object that belongs to one release, such as its manifest or index."""
    return release_prefix(dataset, version) + name


def lock_prefix(dataset: str) -> str:
    """Prefix of the objects by which running releases and the garbage collection keep out of each other's way."""
    return f"{dataset}/locks/"


def latest_key(dataset: str) -> str:
    """Key of the dataset's only mutable object."""
    return f"{dataset}/latest.json"
