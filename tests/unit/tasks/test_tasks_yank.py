"""Yank and promotion: `latest` never points to a release that is yanked, whoever is faster."""

from __future__ import annotations

import json

import pytest
from tasks_store import MemoryBucket, Stored, put_release

from lading.errors import ConflictError, NotFoundError
from lading.names import SIGNATURE, YANKED, latest_key, release_key
from lading.yank import Yank
from tasks.publish import promote
from tasks.yank import offer_again, read_yank, yank

MARK = release_key("data", "v1", YANKED)


@pytest.fixture
def store() -> MemoryBucket:
    store = MemoryBucket()
    put_release(store, "data", "v1", ["one"])
    put_release(store, "data", "v2", ["two"])
    promote(store, "data", "v2")
    return store


def latest(store: MemoryBucket) -> str:
    version: str = json.loads(store.get(latest_key("data")))["version"]
    return version


def test_a_yank_leaves_everything_but_a_mark_with_the_reason(store: MemoryBucket) -> None:
    before = store.held()
    assert yank(store, "data", "v1", "wrong labels")
    assert store.held() == before | {MARK}
    mark = read_yank(store, "data", "v1")
    assert mark is not None
    assert mark.reason == "wrong labels"


def test_a_second_yank_changes_nothing(store: MemoryBucket) -> None:
    yank(store, "data", "v1", "first")
    assert not yank(store, "data", "v1", "second")
    assert read_yank(store, "data", "v1").reason == "first"  # type: ignore[union-attr]


def test_an_undone_yank_is_as_if_it_never_was(store: MemoryBucket) -> None:
    before = store.held()
    yank(store, "data", "v1")
    assert offer_again(store, "data", "v1")
    assert store.held() == before
    assert not offer_again(store, "data", "v1")
    assert promote(store, "data", "v1")


def test_the_latest_is_not_yanked_and_the_error_says_what_to_do(store: MemoryBucket) -> None:
    with pytest.raises(ConflictError, match="promote another one first with 'lading promote data VERSION'"):
        yank(store, "data", "v2")
    assert read_yank(store, "data", "v2") is None


def test_a_yanked_release_is_not_promoted(store: MemoryBucket) -> None:
    yank(store, "data", "v1", "wrong labels")
    with pytest.raises(ConflictError, match=r"wrong labels.*--undo"):
        promote(store, "data", "v1")
    assert latest(store) == "v2"


@pytest.mark.parametrize("action", [yank, offer_again])
def test_a_release_that_is_not_there_is_an_error(store: MemoryBucket, action: object) -> None:
    with pytest.raises(NotFoundError, match="no release 'v9'"):
        action(store, "data", "v9")  # type: ignore[operator]


def test_a_mark_that_cannot_be_read_counts(store: MemoryBucket) -> None:
    store.objects[MARK] = Stored(b"[", store.now)
    assert read_yank(store, "data", "v1") == Yank("an unknown time")


def test_a_promotion_between_look_and_mark_wins(store: MemoryBucket) -> None:
    store.before("put", MARK, lambda: promote(store, "data", "v1"))
    with pytest.raises(ConflictError, match="is the latest"):
        yank(store, "data", "v1")
    assert latest(store) == "v1"
    assert read_yank(store, "data", "v1") is None


def test_a_yank_between_look_and_promotion_wins(store: MemoryBucket) -> None:
    store.before("swap", latest_key("data"), lambda: yank(store, "data", "v1"))
    with pytest.raises(ConflictError, match="was yanked"):
        promote(store, "data", "v1")
    assert latest(store) == "v2"
    assert read_yank(store, "data", "v1") is not None


def test_a_first_promotion_that_is_taken_back_leaves_no_latest() -> None:
    store = MemoryBucket()
    put_release(store, "data", "v1", ["one"])
    store.before("swap", latest_key("data"), lambda: yank(store, "data", "v1"))
    with pytest.raises(ConflictError, match="was yanked"):
        promote(store, "data", "v1")
    assert store.head(latest_key("data")) is None


def test_a_release_without_a_signature_is_not_promoted(store: MemoryBucket) -> None:
    store.delete(release_key("data", "v1", SIGNATURE))
    with pytest.raises(NotFoundError, match="unfinished"):
        promote(store, "data", "v1")
