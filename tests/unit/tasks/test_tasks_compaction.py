"""Old shards do not pile up: what is badly used, or many and small, is written afresh."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import tasks_releases
from tasks_releases import File, Release, make_release, write_tree

import tasks.plan


def noise(seed: int, size: int = 40_000) -> File:
    """Content that does not compress, so that stored sizes follow raw ones."""
    return File(random.Random(seed).randbytes(size), 0o644)


def release(tmp_path: Path, name: str, tree: tasks_releases.Tree, parent: Release | None = None) -> Release:
    return make_release(write_tree(tmp_path / name, tree), tmp_path / f"{name}-work", parent)


def test_a_well_used_shard_is_kept(tmp_path: Path) -> None:
    tree = {f"{number:02d}": noise(number) for number in range(20)}
    first = release(tmp_path, "v1", tree)

    second = release(tmp_path, "v2", {**tree, "00": noise(100)}, first)

    assert second.plan.compacted_bytes == 0
    assert set(first.index.shards) < set(second.index.shards)


def test_a_change_of_nearly_half_the_data_is_no_reason_to_store_the_other_half_again(tmp_path: Path) -> None:
    """The old shard is 55 % live, but with the new one 69 % of all that the release refers to are."""
    tree = {f"{number:02d}": noise(number) for number in range(20)}
    first = release(tmp_path, "v1", tree)
    changed = {f"{number:02d}": noise(100 + number) for number in range(9)}

    second = release(tmp_path, "v2", {**tree, **changed}, first)

    assert second.plan.compacted_bytes == 0
    assert second.plan.new_bytes == 9 * 40_000


def test_a_badly_used_shard_is_left_behind(tmp_path: Path) -> None:
    tree = {f"{number:03d}": noise(number) for number in range(150)}
    first = release(tmp_path, "v1", tree)
    kept = {path: tree[path] for path in list(tree)[:30]}

    second = release(tmp_path, "v2", {**kept, "new": noise(1000)}, first)

    assert second.plan.compacted_bytes == 30 * 40_000
    assert not set(first.index.shards) & set(second.index.shards)
    assert second.plan.kind == "base"


def test_only_the_badly_used_of_two_shards_is_left_behind(tmp_path: Path) -> None:
    one = {f"a{number:03d}": noise(number) for number in range(150)}
    other = {f"b{number:03d}": noise(1000 + number) for number in range(20)}
    first = release(tmp_path, "v1", one)
    second = release(tmp_path, "v2", {**one, **other}, first)
    (shard,) = set(second.index.shards) - set(first.index.shards)

    third = release(tmp_path, "v3", {**dict(list(one.items())[:10]), **other}, second)

    assert third.plan.kind == "delta"
    assert shard in third.index.shards
    assert not set(first.index.shards) & set(third.index.shards)
    assert third.plan.compacted_bytes == 10 * 40_000


def test_many_small_shards_become_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks.plan, "SMALL_SHARDS", 3)
    tree = {"0": noise(0)}
    last = release(tmp_path, "v0", tree)
    counts = []
    for number in range(1, 6):
        tree[str(number)] = noise(number)
        last = release(tmp_path, f"v{number}", tree, last)
        counts.append(len(last.index.shards))

    assert counts == [2, 3, 4, 1, 2]
