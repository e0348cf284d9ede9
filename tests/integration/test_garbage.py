"""Yank, retention and garbage on the real store, issuer and gateway."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from running_stack import RunningStack
from trees import listing

from lading.client.pull import pull
from lading.errors import LadingError
from lading.manifest import Manifest, parse
from lading.names import MANIFEST, YANKED, latest_key, release_key, shard_key
from lading.objectstore import Bucket, bucket
from tasks.announce import announced
from tasks.garbage import collect
from tasks.preflight import work_dir
from tasks.retention import Policy

LATER = timedelta(days=30)


def release(source: Path, dataset: str, version: str, **options: object) -> dict[str, object]:
    from flows.release import release as flow

    result: dict[str, object] = flow(source=str(source), dataset=dataset, version=version, smoke=False, **options)
    return result


def manifest_of(store: Bucket, dataset: str, version: str) -> Manifest:
    return parse(store.get(release_key(dataset, version, MANIFEST)))


def keys(store: Bucket, dataset: str) -> set[str]:
    return {item.key for item in store.list(f"{dataset}/")}


@pytest.fixture
def store(stack: RunningStack) -> Bucket:
    return bucket(stack.settings)


@pytest.fixture
def three(stack: RunningStack, dataset: str, make_tree: Callable[..., Path]) -> list[Path]:
    """Releases v1 to v3; each keeps a part of the one before and changes another."""
    noise = [random.Random(number).randbytes(300_000) for number in range(4)]
    trees = []
    for number in range(3):
        files = {"kept.bin": noise[0], "changed.bin": noise[number + 1], f"only-{number}.txt": b"%d" % number}
        trees.append(make_tree(f"v{number + 1}", files))
        release(trees[-1], dataset, f"v{number + 1}")
    return trees


def test_a_yanked_release_is_not_offered_but_given_to_those_who_name_it(
    stack: RunningStack, dataset: str, three: list[Path], tmp_path: Path
) -> None:
    def offered() -> list[str]:
        answer = requests.get(
            f"{stack.settings.issuer_url}/v1/datasets/{dataset}/releases",
            headers={"Authorization": f"Bearer {stack.settings.api_key}"},
            timeout=10,
        )
        return sorted(item["version"] for item in answer.json()["releases"])

    done = stack.lading("yank", dataset, "v2", "--reason", "wrong labels")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", f"lading: {dataset}@v2 is yanked now\n")
    assert offered() == ["v1", "v3"]
    pull(f"{dataset}@v2", tmp_path / "dest", stack.settings)
    assert listing(tmp_path / "dest", mtimes=False) == listing(three[1], mtimes=False)

    refused = stack.lading("promote", dataset, "v2")
    assert refused.returncode == 6
    assert "was yanked" in refused.stderr
    assert "wrong labels" in refused.stderr
    latest = stack.lading("yank", dataset, "v3")
    assert latest.returncode == 6
    assert "promote another one first" in latest.stderr

    assert stack.lading("yank", dataset, "v2", "--undo").returncode == 0
    assert offered() == ["v1", "v2", "v3"]
    assert stack.lading("promote", dataset, "v2").returncode == 0


def test_the_command_says_what_would_go_and_does_it_only_with_apply(
    stack: RunningStack, store: Bucket, dataset: str, three: list[Path]
) -> None:
    before = keys(store, dataset)
    done = stack.lading("gc", dataset, "--keep-last", "1")
    assert done.returncode == 0, done.stderr
    assert keys(store, dataset) == before
    alone = {
        version: sum(
            item.size
            for item in (*manifest.files, manifest.index.files, manifest.index.chunks, manifest.index.lookup)
            if item is not None and item.key not in {shard.key for shard in manifest_of(store, dataset, "v3").files}
        )
        for version in ("v1", "v2")
        for manifest in [manifest_of(store, dataset, version)]
    }
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["DATASET", "WHAT", "OBJECTS", "BYTES", "WHY"]
    assert [line.split()[:5] for line in lines[1:]] == [
        [dataset, "expire", "v1", "1", f"{alone['v1']:,}"],
        [dataset, "expire", "v2", "1", f"{alone['v2']:,}"],
    ]
    assert done.stderr.endswith("lading: nothing is removed yet; --apply does it\n")

    short = {"LADING_TOKEN_MAX_TTL": "1"}
    assert stack.lading("gc", dataset, "--keep-last", "1", "--apply", "--grace", "0.0003", **short).returncode == 0
    assert {item for item in keys(store, dataset) if item.endswith(MANIFEST)} == {release_key(dataset, "v3", MANIFEST)}
    time.sleep(3)  # ages go by the clock of the store, in whole seconds
    done = stack.lading("gc", dataset, "--apply", "--json", "--grace", "0.0003", **short)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)[0]
    assert result["done"]["swept_objects"] == len(result["sweep"]) > 0
    manifest = manifest_of(store, dataset, "v3")
    assert keys(store, dataset) == {
        *(shard.key for shard in manifest.files),
        *(item for item in before if item.startswith(f"{dataset}/releases/v3/")),
        latest_key(dataset),
    }


def test_a_grace_period_below_a_tokens_lifetime_is_refused(stack: RunningStack, dataset: str) -> None:
    done = stack.lading("gc", dataset, "--grace", "0.5")
    assert done.returncode == 2
    assert "shorter than a token may live (3600 s); give 1 hours or more" in done.stderr


def test_what_is_kept_is_pulled_whole_after_a_collection(
    stack: RunningStack, store: Bucket, dataset: str, three: list[Path], tmp_path: Path
) -> None:
    for later in (LATER, 2 * LATER):
        collect(store, dataset, Policy(keep_last=2), apply=True, now=datetime.now(UTC) + later)
    for version, tree in (("v2", three[1]), ("v3", three[2])):
        pull(f"{dataset}@{version}", tmp_path / version, stack.settings)
        assert listing(tmp_path / version, mtimes=False) == listing(tree, mtimes=False)
    with pytest.raises(LadingError):
        pull(f"{dataset}@v1", tmp_path / "v1-again", stack.settings)


def test_a_shard_that_a_running_release_found_is_not_swept(
    stack: RunningStack,
    store: Bucket,
    dataset: str,
    make_tree: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The dangerous case: an old orphan that a new release does not send again, and a collection at that moment."""
    import flows.release as module

    source = make_tree("source", {"a.bin": random.Random(7).randbytes(100_000)})
    with monkeypatch.context() as patched:
        patched.setattr(module, "publish_task", lambda *_: (_ for _ in ()).throw(SystemExit("killed")))
        with pytest.raises(SystemExit):
            release(source, dataset, "v1")
    orphans = keys(store, dataset)
    assert {key.split("/")[1] for key in orphans} == {"shards"}

    real, results = module.publish_task, []

    def collect_then_publish(*arguments: object) -> object:
        results.append(collect(store, dataset, Policy(), apply=True, now=datetime.now(UTC) + LATER))
        return real(*arguments)

    monkeypatch.setattr(module, "publish_task", collect_then_publish)
    again = release(source, dataset, "v1")

    assert again["uploaded_bytes"] == 0
    assert f"a release of {dataset}@v1 is running" in str(results[0].skipped)
    assert {item.kind for item in results[0].plan.sweep} == {"shards"}
    assert orphans <= keys(store, dataset)
    pull(dataset, tmp_path / "dest", stack.settings)
    assert listing(tmp_path / "dest", mtimes=False) == listing(source, mtimes=False)


def test_an_orphan_that_nobody_uses_again_is_swept(stack: RunningStack, store: Bucket, dataset: str) -> None:
    orphan = shard_key(dataset, "0" * 64)
    store.put(orphan, b"orphan")
    assert collect(store, dataset, Policy(), apply=True).swept_objects == 0
    result = collect(store, dataset, Policy(), apply=True, now=datetime.now(UTC) + LATER)
    assert (result.swept_objects, result.swept_bytes) == (1, 6)
    assert not keys(store, dataset)


def test_the_command_ends_with_a_conflict_while_a_release_runs(
    stack: RunningStack, store: Bucket, dataset: str, three: list[Path]
) -> None:
    with announced(store, dataset, "v4", work_dir(stack.settings, dataset, "v4").root):
        done = stack.lading("gc", dataset, "--keep-last", "1", "--apply")
    assert done.returncode == 6
    assert f"a release of {dataset}@v4 is running" in done.stderr
    assert store.head(release_key(dataset, "v1", MANIFEST)) is not None


def test_a_run_whose_parent_was_removed_meanwhile_says_so(
    stack: RunningStack, store: Bucket, dataset: str, three: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run is killed, its parent goes, the run is repeated: it compares with the latest of now."""
    import flows.release as module

    with monkeypatch.context() as patched:
        patched.setattr(module, "plan_task", lambda *_, **__: (_ for _ in ()).throw(SystemExit("killed")))
        with pytest.raises(SystemExit):
            release(three[0], dataset, "v5")
    release(three[1], dataset, "v4")
    collect(store, dataset, Policy(keep_last=1), apply=True)
    assert store.head(release_key(dataset, "v3", MANIFEST)) is None
    assert release(three[0], dataset, "v5")["parent"] == "v4"


def test_the_flow_reports_and_returns_what_goes(stack: RunningStack, dataset: str, three: list[Path]) -> None:
    from flows.collect_garbage import collect_garbage

    found = collect_garbage(dataset=dataset, keep_last=2)
    assert [(item["dataset"], item["applied"]) for item in found] == [(dataset, False)]
    assert [item["version"] for item in found[0]["expire"]] == ["v1"]
    assert YANKED not in json.dumps(found)
