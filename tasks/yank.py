"""Yank: a release is kept, for those who name it, but no longer offered.

The mark is an object of its own beside the manifest, because a manifest never changes.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime

from lading.errors import ConflictError, NotFoundError
from lading.names import MANIFEST, YANKED, release_key
from lading.objectstore import Bucket
from lading.yank import Yank, parse_yank
from tasks.parent import read_latest


def read_yank(store: Bucket, dataset: str, version: str) -> Yank | None:
    """The mark of a yanked release, or None if it is offered."""
    try:
        data = store.get(release_key(dataset, version, YANKED))
    except NotFoundError:
        return None
    return parse_yank(data)


def yank(store: Bucket, dataset: str, version: str, reason: str | None = None) -> bool:
    """Take a release off the list; returns False if it is off already.

    Raises NotFoundError if there is no such release, ConflictError if it is the latest: that one is always offered.
    """
    if store.head(release_key(dataset, version, MANIFEST)) is None:
        raise NotFoundError(f"dataset {dataset!r} has no release {version!r}", "list the releases with 'lading ls'")
    _refuse_latest(store, dataset, version)
    document = {"reason": reason, "yanked_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
    data = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
    try:
        store.put_if_absent(release_key(dataset, version, YANKED), data)
    except ConflictError:
        return False
    try:
        # A promotion looks for the mark after it has swapped `latest`, and this looks at `latest` after it has set the
        # mark: of two at the same moment at least one sees the other and goes back.
        _refuse_latest(store, dataset, version)
    except ConflictError:
        store.delete(release_key(dataset, version, YANKED))
        raise
    return True


def offer_again(store: Bucket, dataset: str, version: str) -> bool:
    """Undo a yank; returns False if the release was not yanked. Raises NotFoundError if there is no such release."""
    if store.head(release_key(dataset, version, MANIFEST)) is None:
        raise NotFoundError(f"dataset {dataset!r} has no release {version!r}", "list the releases with 'lading ls'")
    key = release_key(dataset, version, YANKED)
    if store.head(key) is None:
        return False
    store.delete(key)
    return True


def refuse_yanked(store: Bucket, dataset: str, version: str) -> None:
    """Raise ConflictError if a release is yanked."""
    mark = read_yank(store, dataset, version)
    if mark is not None:
        because = f" ({mark.reason})" if mark.reason else ""
        raise ConflictError(
            f"release {version!r} of dataset {dataset!r} was yanked at {mark.yanked_at}{because}",
            f"promote another one, or offer it again with 'lading yank {dataset} {version} --undo'",
        )


def _refuse_latest(store: Bucket, dataset: str, version: str) -> None:
    latest = read_latest(store, dataset)
    if latest is not None and latest.version == version:
        raise ConflictError(
            f"release {version!r} is the latest of dataset {dataset!r}",
            f"promote another one first with 'lading promote {dataset} VERSION', then yank this one",
        )
