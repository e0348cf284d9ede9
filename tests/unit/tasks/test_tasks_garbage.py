"""Retention and garbage: what goes, what stays, and that nobody ever meets half a release."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from tasks_store import MemoryBucket, Stored, put_release, shard

from lading.errors import ConflictError, IntegrityError, NotFoundError
from lading.manifest import parse
from lading.names import CROISSANT, EXPIRED, MANIFEST, SIGNATURE, YANKED, latest_key, lock_prefix, release_key
from lading.objectstore import UnfinishedUpload
from tasks.announce import ANNOUNCED, COLLECTING, announced
from tasks.garbage import collect
from tasks.publish import promote
from tasks.retention import Policy
from tasks.yank import yank

KEEP_ONE = Policy(keep_last=1)
GRACE = KEEP_ONE.grace


@pytest.fixture
def store() -> MemoryBucket:
    """Three releases, ten days apart; each shares a shard with the next. All is older than the grace period."""
    store = MemoryBucket()
    for version, shards in (("v1", ["a", "ab"]), ("v2", ["ab", "bc"]), ("v3", ["bc", "c"])):
        put_release(store, "data", version, shards)
        store.passed(days=10)
    promote(store, "data", "v3")
    store.passed(days=10)
    return store


def run(store: MemoryBucket, policy: Policy = Policy()) -> object:  # noqa: B008 - frozen
    return collect(store, "data", policy, apply=True)


def versions(store: MemoryBucket) -> set[str]:
    return {key.split("/")[2] for key in store.objects if key.endswith(f"/{MANIFEST}")}


def whole(store: MemoryBucket) -> bool:
    """Every visible release has all that its manifest names."""
    for version in versions(store):
        manifest = parse(store.objects[release_key("data", version, MANIFEST)].data)
        assert manifest.index.lookup is not None
        index = (manifest.index.files, manifest.index.chunks, manifest.index.lookup)
        keys = [item.key for item in (*manifest.files, *index)]
        if not set(keys) <= store.held():
            return False
    return True


# What goes and what stays.


def test_without_rules_no_release_goes(store: MemoryBucket) -> None:
    before = store.held()
    run(store)
    assert store.held() == before


def test_without_apply_nothing_changes_and_everything_is_told(store: MemoryBucket) -> None:
    store.put(shard("data", "orphan"), b"orphan")
    store.passed(days=10)
    store.calls.clear()
    result = collect(store, "data", KEEP_ONE, now=store.now)
    assert {operation for operation, _ in store.calls} <= {"list", "get", "head"}
    assert [(item.version, item.bytes) for item in result.plan.expire] == [("v1", 3 + 17), ("v2", 2 + 17)]
    assert [row["what"] for row in result.plan.rows()] == ["expire v1", "expire v2", "sweep shards"]
    assert (result.plan.kept, result.plan.sweep_bytes) == (("v3",), len(b"orphan"))


def test_a_release_is_hidden_first_and_swept_after_the_grace_period(store: MemoryBucket) -> None:
    run(store, KEEP_ONE)
    assert versions(store) == {"v3"}
    assert release_key("data", "v1", SIGNATURE) not in store.held()
    # Whoever has a token goes on reading.
    assert {shard("data", name) for name in ("a", "ab", "bc", "c")} <= store.held()
    store.passed(seconds=GRACE.total_seconds() - 1)
    run(store, KEEP_ONE)
    assert shard("data", "a") in store.held()
    store.passed(seconds=2)
    run(store, KEEP_ONE)
    manifest = parse(store.get(release_key("data", "v3", MANIFEST)))
    assert store.held() == {
        shard("data", "bc"),
        shard("data", "c"),
        manifest.index.files.key,
        manifest.index.chunks.key,
        manifest.index.lookup.key if manifest.index.lookup else None,
        release_key("data", "v3", MANIFEST),
        release_key("data", "v3", SIGNATURE),
        latest_key("data"),
    }


def test_the_latest_stays_however_old(store: MemoryBucket) -> None:
    promote(store, "data", "v1")
    run(store, KEEP_ONE)
    assert versions(store) == {"v1", "v3"}


@pytest.mark.parametrize(
    "key",
    [
        shard("data", "orphan"),
        release_key("data", "v3", "files.0123456789abcdef.parquet"),
        release_key("data", "v9", "chunks.parquet"),
        release_key("data", "v3", "lookup.0123456789abcdef.bin"),
        release_key("data", "v9", CROISSANT),
        f"{lock_prefix('data')}clock-1.json",
        "data/patches/" + "0" * 64 + ".zst",
    ],
)
def test_what_no_release_names_goes_after_the_grace_period(store: MemoryBucket, key: str) -> None:
    before = store.held()
    store.put(key, b"orphan")
    store.passed(seconds=GRACE.total_seconds() - 1)
    run(store)
    assert key in store.held()
    store.passed(seconds=2)
    run(store)
    assert store.held() == before


@pytest.mark.parametrize("key", ["data/README.md", "data/shards/mine.tar", "data/releases/v3/deep/er.json", "data/x"])
def test_what_is_not_ours_stays(store: MemoryBucket, key: str) -> None:
    store.put(key, b"somebody else's")
    store.passed(days=99)
    result = collect(store, "data", Policy(), now=store.now)
    assert result.plan.foreign == (key,)
    run(store)
    assert key in store.held()


def test_another_dataset_with_a_longer_name_is_not_touched(store: MemoryBucket) -> None:
    store.put("data-more/shards/" + "0" * 64 + ".tar.zst", b"another")
    before = store.held()
    store.passed(days=99)
    run(store)
    assert store.held() == before


def test_a_yanked_release_is_kept_with_its_mark(store: MemoryBucket) -> None:
    yank(store, "data", "v2")
    run(store, Policy(keep_last=2))
    assert versions(store) == {"v1", "v2", "v3"}
    assert release_key("data", "v2", YANKED) in store.held()


def test_an_unfinished_release_goes_after_the_grace_period(store: MemoryBucket) -> None:
    put_release(store, "data", "v4", ["d"])
    store.delete(release_key("data", "v4", SIGNATURE))
    run(store)
    assert "v4" in versions(store)
    store.passed(days=4)
    run(store)
    assert versions(store) == {"v1", "v2", "v3"}


def test_uploads_that_nobody_finished_are_aborted_after_the_grace_period(store: MemoryBucket) -> None:
    old = UnfinishedUpload(shard("data", "old"), "1", store.now - GRACE - timedelta(seconds=1))
    new = UnfinishedUpload(shard("data", "new"), "2", store.now - GRACE + timedelta(seconds=1))
    other = UnfinishedUpload("other/shards/x", "3", old.started)
    store.uploads = [old, new, other]
    run(store)
    assert store.uploads == [new, other]


def test_a_manifest_that_is_not_understood_stops_everything(store: MemoryBucket) -> None:
    store.objects[release_key("data", "v4", MANIFEST)] = Stored(b'{"schema":"lading/2"}', store.now)
    before = store.held()
    with pytest.raises(IntegrityError, match=r"v4/manifest.json is not understood.*nothing of 'data' is collected"):
        run(store, KEEP_ONE)
    assert store.held() == before


def test_a_dataset_that_is_not_there_is_an_error_and_leaves_no_lock() -> None:
    store = MemoryBucket()
    with pytest.raises(NotFoundError, match="no dataset 'data'"):
        run(store)
    assert not store.held()


# Crashes.


class KilledError(BaseException):
    pass


@pytest.mark.parametrize("later", [timedelta(), GRACE + timedelta(seconds=1)])
def test_a_collection_killed_at_any_step_is_completed_by_the_next(store: MemoryBucket, later: timedelta) -> None:
    """Every write is once the last one; after each, whatever is visible is whole."""
    store.put(shard("data", "orphan"), b"orphan")
    store.passed(days=9)
    if later:
        run(store, KEEP_ONE)
        store.passed(seconds=later.total_seconds())
    begin = {key: Stored(stored.data, stored.modified) for key, stored in store.objects.items()}

    def outcome() -> set[str]:
        store.hook = lambda operation, key: None
        store.passed(seconds=COLLECTING.total_seconds() + 1)
        run(store, KEEP_ONE)
        assert whole(store)
        # The probe of a killed run goes with the next sweep after the grace period.
        return {key for key in store.held() if "/clock-" not in key}

    expected = outcome()
    for steps in range(1, 200):
        store.objects = {key: Stored(stored.data, stored.modified) for key, stored in begin.items()}
        left = [steps]

        def die(operation: str, key: str, left: list[int] = left) -> None:
            if operation in ("put", "swap", "delete"):
                left[0] -= 1
                if left[0] < 0:
                    raise KilledError

        store.hook = die
        try:
            run(store, KEEP_ONE)
        except KilledError:
            store.hook = lambda operation, key: None
            assert whole(store)
            assert outcome() == expected
        else:
            assert store.held() == expected
            break
    else:
        pytest.fail("the collection never ended")
    assert steps > 8


# Races.


def test_a_promotion_while_a_release_is_hidden_wins(store: MemoryBucket) -> None:
    store.before("put", release_key("data", "v1", EXPIRED), lambda: promote(store, "data", "v1"))
    run(store, KEEP_ONE)
    assert versions(store) == {"v1", "v3"}
    assert release_key("data", "v1", SIGNATURE) in store.held()
    assert release_key("data", "v1", EXPIRED) not in store.held()


def test_a_promotion_of_a_release_that_is_hidden_at_this_moment_is_taken_back(store: MemoryBucket) -> None:
    store.before("swap", latest_key("data"), lambda: run(store, KEEP_ONE))
    with pytest.raises(ConflictError, match="removed at the same moment"):
        promote(store, "data", "v1")
    assert b'"v3"' in store.get(latest_key("data"))
    assert whole(store)


def test_a_manifest_that_appears_during_the_sweep_keeps_what_it_names(store: MemoryBucket) -> None:
    """Also one that was put by somebody who does not announce releases."""
    store.put(shard("data", "back"), b"back")
    store.passed(days=10)
    # The moment between the decision and the first deletion.
    store.before("swap", f"{lock_prefix('data')}gc.json", lambda: put_release(store, "data", "v4", ["back"]))
    run(store)
    store.before("list", "data/releases/", lambda: put_release(store, "data", "v5", ["back"]))
    run(store)
    assert shard("data", "back") in store.held()


def test_a_running_release_stops_a_collection(store: MemoryBucket, tmp_path: Path) -> None:
    store.put(shard("data", "orphan"), b"orphan")
    store.passed(days=10)
    with announced(store, "data", "v4", tmp_path):
        result = run(store, KEEP_ONE)
        assert "a release of data@v4 is running" in result.skipped  # type: ignore[attr-defined]
        assert versions(store) == {"v1", "v2", "v3"}
        assert shard("data", "orphan") in store.held()
    run(store, KEEP_ONE)
    assert shard("data", "orphan") not in store.held()


def test_a_release_that_begins_stops_a_collection_at_its_next_batch(
    store: MemoryBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.garbage.BATCH_KEYS", 1)
    orphans = sorted(shard("data", f"orphan {number}") for number in range(5))
    for key in orphans:
        store.put(key, b"orphan")
    store.passed(days=10)
    store.before("delete", orphans[1], lambda: store.put(f"{lock_prefix('data')}release-v4-0123.json", b"{}"))
    result = run(store)
    assert result.swept_objects == 2  # type: ignore[attr-defined]
    assert set(orphans[2:]) <= store.held()


def test_a_release_waits_for_a_collection_to_give_way(
    store: MemoryBucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = f"{lock_prefix('data')}gc.json"
    store.put(lock, b"{}")
    waits = []
    monkeypatch.setattr("tasks.announce.time.sleep", lambda seconds: (waits.append(seconds), store.delete(lock)))
    with announced(store, "data", "v4", tmp_path):
        assert len(waits) == 1


def test_a_release_does_not_wait_for_a_collection_that_was_killed(store: MemoryBucket, tmp_path: Path) -> None:
    store.put(f"{lock_prefix('data')}gc.json", b"{}")
    store.passed(seconds=COLLECTING.total_seconds() + 1)
    with announced(store, "data", "v4", tmp_path) as announcement:
        assert announcement.is_there(store)
    assert not [key for key in store.held() if "release-v4" in key]


def test_a_killed_release_does_not_stop_collections_for_long(store: MemoryBucket) -> None:
    key = f"{lock_prefix('data')}release-v4-0123.json"
    store.put(key, b"{}")
    assert run(store, KEEP_ONE).skipped  # type: ignore[attr-defined]
    store.passed(seconds=ANNOUNCED.total_seconds() + 1)
    assert run(store, KEEP_ONE).skipped is None  # type: ignore[attr-defined]
    assert key not in store.held()


def test_two_collections_do_not_work_on_one_dataset(store: MemoryBucket) -> None:
    store.put(f"{lock_prefix('data')}gc.json", b"{}")
    with pytest.raises(ConflictError, match="another garbage collection"):
        run(store)


def test_a_collection_that_lost_its_lock_stops(store: MemoryBucket) -> None:
    store.put(shard("data", "orphan"), b"orphan")
    store.passed(days=10)
    lock = f"{lock_prefix('data')}gc.json"

    def steal(operation: str, key: str) -> None:
        if operation == "list" and lock in store.objects:
            store.objects[lock] = Stored(b"another's", store.now)

    store.hook = steal
    result = run(store)
    assert "took over" in result.skipped  # type: ignore[attr-defined]
    assert shard("data", "orphan") in store.held()
    assert store.objects[lock].data == b"another's"


def test_the_name_of_a_removed_release_is_not_free_until_it_is_swept(store: MemoryBucket, tmp_path: Path) -> None:
    run(store, KEEP_ONE)

    def begin() -> None:
        with announced(store, "data", "v1", tmp_path):
            pass

    with pytest.raises(ConflictError, match="give another --version"):
        begin()
    store.passed(days=4)
    run(store, KEEP_ONE)
    begin()


@pytest.fixture
def check(store: MemoryBucket) -> Callable[[], object]:
    from tasks.announce import Announcement, check_stored

    manifest = parse(store.get(release_key("data", "v3", MANIFEST)))
    store.put(f"{lock_prefix('data')}release-v3-0.json", b"{}")
    return lambda: check_stored(store, manifest, Announcement(f"{lock_prefix('data')}release-v3-0.json"))


def test_a_release_that_lacks_a_shard_is_not_published(store: MemoryBucket, check: Callable[[], object]) -> None:
    check()
    store.delete(shard("data", "bc"))
    with pytest.raises(IntegrityError, match="1 of 2 shards are not in the store"):
        check()


def test_a_release_that_slept_through_a_collection_is_not_published(
    store: MemoryBucket, check: Callable[[], object]
) -> None:
    store.passed(hours=2)
    run(store)
    with pytest.raises(ConflictError, match="run the same command again"):
        check()


def test_a_release_that_lost_a_shard_at_the_last_moment_is_taken_back(store: MemoryBucket) -> None:
    from tasks.announce import Announcement, confirm_stored

    put_release(store, "data", "v4", ["d"])
    manifest = parse(store.get(release_key("data", "v4", MANIFEST)))
    confirm_stored(store, manifest, Announcement("data/locks/gone"))
    store.delete(shard("data", "d"))
    with pytest.raises(ConflictError, match="taken back"):
        confirm_stored(store, manifest, Announcement("data/locks/gone"))
    assert "v4" not in versions(store)
