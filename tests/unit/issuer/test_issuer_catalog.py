"""What the issuer offers: releases that are yanked are left out, those that were removed are forgotten."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest

from issuer.catalog import CHECK_S, StoreCatalog
from lading.errors import NotFoundError
from lading.manifest import Delta, Index, IndexObject, Manifest, Totals
from lading.names import MANIFEST, SIGNATURE, YANKED, latest_key, release_key
from lading.objectstore import Bucket, ObjectInfo
from lading.yank import Yank, parse_yank


class Objects(Bucket):
    """A bucket in memory."""

    def __init__(self) -> None:
        super().__init__(client=None, name="memory")
        self.held: dict[str, bytes] = {}

    def get(self, key: str) -> bytes:
        if key not in self.held:
            raise NotFoundError(f"there is no object {key}")
        return self.held[key]

    def head(self, key: str) -> ObjectInfo | None:
        data = self.held.get(key)
        return None if data is None else ObjectInfo(key, len(data), '"e"', hashlib.sha256(data).hexdigest())

    def list(self, prefix: str):  # type: ignore[no-untyped-def]
        return iter([ObjectInfo(key, 1, '"e"') for key in sorted(self.held) if key.startswith(prefix)])

    def release(self, version: str, title: str | None = None) -> None:
        index = {
            name: IndexObject(key=release_key("data", version, f"{name}.parquet"), size=1, sha256="0" * 64, rows=1)
            for name in ("files", "chunks")
        }
        manifest = Manifest(
            dataset="data",
            version=version,
            parent=None,
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
            title=title,
            files=(),
            index=Index(**index),
            totals=Totals(files=1, bytes=1, chunks=1, stored_bytes=1),
            delta=Delta(from_=None, added=1, modified=0, removed=0, new_bytes=1, reused_bytes=0),
        )
        self.held[release_key("data", version, MANIFEST)] = manifest.to_bytes()
        self.held[release_key("data", version, SIGNATURE)] = b"signature\n"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def objects() -> Objects:
    objects = Objects()
    for version in ("v1", "v2"):
        objects.release(version)
    return objects


def test_a_yanked_release_is_not_listed_but_given_to_those_who_name_it(objects: Objects) -> None:
    objects.held[release_key("data", "v1", YANKED)] = b"{}"
    catalog = StoreCatalog(objects)
    assert catalog.versions("data") == ["v2"]
    assert catalog.release("data", "v1") is not None


def test_a_release_says_when_and_why_it_was_yanked_within_a_minute(objects: Objects) -> None:
    clock = Clock()
    catalog = StoreCatalog(objects, clock)
    release = catalog.release("data", "v1")
    assert release is not None
    assert release.yanked is None
    objects.held[release_key("data", "v1", YANKED)] = b'{"yanked_at": "2026-01-01T00:00:00Z", "reason": "bad labels"}'
    clock.now += CHECK_S
    release = catalog.release("data", "v1")
    assert release is not None
    assert release.yanked == Yank("2026-01-01T00:00:00Z", "bad labels")


@pytest.mark.parametrize("mark", [b"", b"[]", b"{}", b"\xff", b'{"yanked_at": null'])
def test_a_mark_counts_by_being_there(mark: bytes) -> None:
    assert parse_yank(mark) == Yank("an unknown time")


def test_a_dataset_is_offered_if_it_has_a_latest_or_any_version_that_is_not_yanked(objects: Objects) -> None:
    catalog = StoreCatalog(objects)
    assert catalog.offered("data")
    for version in ("v1", "v2"):
        objects.held[release_key("data", version, YANKED)] = b"{}"
    assert not catalog.offered("data")
    assert not catalog.offered("dat")
    objects.held[latest_key("data")] = b"{}"
    assert catalog.offered("data")


def test_what_is_left_of_a_removed_release_is_not_a_release(objects: Objects) -> None:
    objects.held[release_key("data", "v0", "expired.json")] = b"{}"
    assert StoreCatalog(objects).versions("data") == ["v1", "v2"]


def test_a_removed_release_is_forgotten_within_a_minute(objects: Objects) -> None:
    clock = Clock()
    catalog = StoreCatalog(objects, clock)
    assert catalog.release("data", "v1") is not None
    del objects.held[release_key("data", "v1", MANIFEST)]
    clock.now += CHECK_S
    assert catalog.release("data", "v1") is None
    objects.release("v1", title="another")
    found = catalog.release("data", "v1")
    assert found is not None
    assert found.manifest.title == "another"


def test_a_known_release_is_read_once_and_only_looked_at_again(objects: Objects) -> None:
    clock = Clock()
    catalog = StoreCatalog(objects, clock)
    first = catalog.release("data", "v1")
    objects.held[release_key("data", "v1", SIGNATURE)] = b"never read again\n"
    clock.now += CHECK_S
    assert catalog.release("data", "v1") == first
