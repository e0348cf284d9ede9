"""Releases that are killed or race: nothing visible is half there, and a re-run makes what an undisturbed one makes."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from running_stack import RunningStack
from trees import changed, listing, text, varied

from issuer.catalog import StoreCatalog
from lading.client.pull import pull
from lading.errors import ConflictError
from lading.manifest import Manifest, parse
from lading.names import CROISSANT, MANIFEST, SIGNATURE, latest_key, release_key
from lading.objectstore import Bucket, bucket
from tasks.announce import missing_shards
from tasks.preflight import work_dir
from tasks.publish import promote
from tasks.work import WorkDir

KILLS = int(os.environ.get("TESTS_RELEASE_KILLS", "12"))
"""TESTS_RELEASE_KILLS=100 takes half an hour."""

PAUSE_S = 0.15
"""A kill comes up to this long after the event that it waits for: about as long as a step takes."""


def release(source: Path, dataset: str, version: str) -> dict[str, object]:
    from flows.release import release as flow

    result: dict[str, object] = flow(source=str(source), dataset=dataset, version=version, smoke=False)
    return result


def command(source: Path, dataset: str, version: str) -> list[str]:
    return [sys.executable, "-m", "lading", "release", str(source), dataset, "--version", version, "--no-smoke"]


def manifest_of(store: Bucket, dataset: str, version: str) -> Manifest:
    return parse(store.get(release_key(dataset, version, MANIFEST)))


def comparable(store: Bucket, dataset: str, version: str) -> bytes:
    """The manifest without what differs between two equal releases: the moment, and here the dataset's name."""
    manifest = manifest_of(store, dataset, version)
    document = json.loads(manifest.to_bytes().replace(f'"{dataset}'.encode(), b'"DATASET'))
    return json.dumps({**document, "created_at": None}, sort_keys=True).encode()


def assert_visible_is_whole(store: Bucket, dataset: str, version: str) -> bool:
    """Whoever is given the release can read all of it; returns whether it is given."""
    given = StoreCatalog(store).release(dataset, version)
    if given is None:
        return False
    assert not missing_shards(store, given.manifest)
    for fact in given.files:
        found = store.head(fact.key)
        assert found is not None, fact.key
        assert (found.size, found.sha256) == (fact.size, fact.sha256)
    assert store.head(release_key(dataset, version, CROISSANT)) is not None
    return True


@pytest.fixture(scope="module")
def store(stack: RunningStack) -> Bucket:
    return bucket(stack.settings)


@pytest.fixture(scope="module")
def undisturbed(
    stack: RunningStack, store: Bucket, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path, bytes]:
    """Two trees, and what the second one's manifest is after the first when nothing goes wrong."""
    root = tmp_path_factory.mktemp("races")
    first, second = varied(root / "first"), changed(varied(root / "second"))
    for number in range(3):
        (second / f"more-{number}.bin").write_bytes(random.Random(number).randbytes(20_000_000))
        (second / f"more-{number}.txt").write_bytes(text(number, 20_000_000))
    release(first, "undisturbed", "v1")
    release(second, "undisturbed", "v2")
    return first, second, comparable(store, "undisturbed", "v2")


def moments(stack: RunningStack, store: Bucket, dataset: str) -> dict[str, Callable[[], object]]:
    """Events of a release of v2, in their order, each as a question whether it has happened."""
    work = work_dir(stack.settings, dataset, "v2")

    def stored(name: str) -> Callable[[], object]:
        return lambda: store.head(release_key(dataset, "v2", name))

    shards = len(list(store.list(f"{dataset}/shards/")))
    return {
        "announced": lambda: list(store.list(f"{dataset}/locks/")),
        "scanned": work.entries.exists,
        "hashed": work.pieces.exists,
        "planned": work.members.exists,
        "packing": lambda: list(work.shards.glob("*")),
        "packed": lambda: list(work.root.glob("placements-*.parquet")),
        "uploaded": lambda: len(list(store.list(f"{dataset}/shards/"))) > shards,
        "indexed": lambda: list((work.root / "index").glob("*.parquet")),
        "index stored": lambda: list(store.list(f"{dataset}/releases/v2/")),
        "manifest stored": stored(MANIFEST),
        "signed": stored(SIGNATURE),
        "promoted": lambda: b'"v2"' in store.get(latest_key(dataset)),
    }


def kill_at(
    stack: RunningStack, store: Bucket, source: Path, dataset: str, moment: str, pause: float
) -> tuple[bool, set[str], int]:
    """Kill a release of v2 `pause` seconds after an event; whether it was alive then, the shards stored, and the bytes
    of others that the store has in parts."""
    reached = moments(stack, store, dataset)[moment]
    process = subprocess.Popen(
        command(source, dataset, "v2"), env=stack.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and not reached():
        time.sleep(0.002)
    time.sleep(pause)
    alive = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    there = {item.key for item in store.list(f"{dataset}/shards/")}
    return alive, there, in_parts(work_dir(stack.settings, dataset, "v2"), there)


def in_parts(work: WorkDir, there: set[str]) -> int:
    """Bytes of unfinished uploads, by their journals: a line for the upload, and one for each part."""
    size = 0
    for journal in (work.root / "uploads").glob("*.ndjson"):
        begun, *parts = [json.loads(line) for line in journal.read_bytes().split(b"\n")[:-1]] or [None]
        if begun is not None and begun["key"] not in there:
            size += sum(
                min(begun["part_bytes"], begun["size"] - (part["PartNumber"] - 1) * begun["part_bytes"])
                for part in parts
            )
    return size


def kill_and_repeat(
    stack: RunningStack,
    store: Bucket,
    undisturbed: tuple[Path, Path, bytes],
    dataset: str,
    moment: str,
    pause: float,
) -> bool:
    """One kill and what must hold after it; returns whether the run was still alive."""
    first, second, expected = undisturbed
    release(first, dataset, "v1")
    alive, there, sent_before = kill_at(stack, store, second, dataset, moment, pause)

    visible = assert_visible_is_whole(store, dataset, "v2")
    latest = json.loads(store.get(latest_key(dataset)))["version"]
    assert latest == "v1" or visible

    # Killed when all was done but its last table in Prefect: there is nothing to repeat.
    done = latest == "v2" and work_dir(stack.settings, dataset, "v2").started() is None
    if not done:
        before = store.get(release_key(dataset, "v2", MANIFEST)) if visible else None
        again = release(second, dataset, "v2")
        manifest = manifest_of(store, dataset, "v2")
        missing = [shard for shard in manifest.files if shard.key not in there]
        assert again["uploaded_bytes"] == sum(shard.size for shard in missing) - sent_before
        assert before in (None, manifest.to_bytes())
        # The announcement of the killed run was taken over, so nothing blocks a collection.
        assert not list(store.list(f"{dataset}/locks/"))
    assert comparable(store, dataset, "v2") == expected
    assert assert_visible_is_whole(store, dataset, "v2")
    assert json.loads(store.get(latest_key(dataset)))["version"] == "v2"
    return alive


@pytest.mark.parametrize("moment", ["hashed", "packed", "uploaded", "index stored", "manifest stored"])
def test_a_release_killed_at_a_step_is_repeated_as_it_was(
    stack: RunningStack, store: Bucket, undisturbed: tuple[Path, Path, bytes], dataset: str, moment: str
) -> None:
    assert kill_and_repeat(stack, store, undisturbed, dataset, moment, 0)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_release_killed_at_random_moments_is_repeated_as_it_was(
    stack: RunningStack, store: Bucket, undisturbed: tuple[Path, Path, bytes], dataset: str
) -> None:
    chosen = random.Random(3)
    alive = 0
    for attempt in range(KILLS):
        name = f"{dataset[:50]}-{attempt}"
        release_moments = list(moments(stack, store, name))
        alive += kill_and_repeat(
            stack, store, undisturbed, name, chosen.choice(release_moments), chosen.uniform(0, PAUSE_S)
        )
    assert alive >= KILLS / 2, "most of the releases were over before they could be killed"


def test_of_two_runs_at_once_on_one_machine_one_is_refused(
    stack: RunningStack, store: Bucket, undisturbed: tuple[Path, Path, bytes], dataset: str, tmp_path: Path
) -> None:
    first, _, _ = undisturbed
    runs = [
        subprocess.Popen(command(first, dataset, "v1"), env=stack.environment, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [run.communicate(timeout=120)[1] for run in runs]
    assert sorted(run.returncode for run in runs) == [0, 6], outputs
    loser = next(output for run, output in zip(runs, outputs, strict=True) if run.returncode)
    assert "another run of this release is at work" in loser or "exists already" in loser
    assert assert_visible_is_whole(store, dataset, "v1")
    pull(dataset, tmp_path / "dest", stack.settings)
    assert listing(tmp_path / "dest") == listing(first)


@pytest.fixture
def elsewhere(stack: RunningStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """This process works on another machine, so to speak; the environment is that of the first one."""
    monkeypatch.setenv("LADING_HOME", str(tmp_path / "elsewhere"))
    return stack.environment


@pytest.mark.parametrize("step", ["check_stored", "publish_task", "confirm_stored"])
def test_of_two_machines_one_wins_and_its_release_is_intact(
    stack: RunningStack,
    store: Bucket,
    elsewhere: dict[str, str],
    dataset: str,
    make_tree: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    """Both have found the version free; one releases it while the other is about to, or has just done so."""
    import flows.release as module

    here, there = make_tree("here", {"a.txt": b"here", "same": b"s"}), make_tree("there", {"a.txt": b"there"})
    real = getattr(module, step)
    others: list[subprocess.CompletedProcess[str]] = []

    def race(*arguments: object) -> object:
        others.append(
            subprocess.run(
                command(there, dataset, "v1"), env=elsewhere, capture_output=True, text=True, timeout=120, check=False
            )
        )
        return real(*arguments)

    monkeypatch.setattr(module, step, race)
    if step == "confirm_stored":
        release(here, dataset, "v1")
        winner = here
        assert others[0].returncode == 6
        assert "exists already" in others[0].stderr
    else:
        with pytest.raises(ConflictError, match=r"exists already.*give another --version"):
            release(here, dataset, "v1")
        winner = there
        assert others[0].returncode == 0, others[0].stderr
    assert assert_visible_is_whole(store, dataset, "v1")
    pull(dataset, tmp_path / "dest", stack.settings)
    assert listing(tmp_path / "dest", mtimes=False) == listing(winner, mtimes=False)


def test_two_machines_at_the_same_moment(
    stack: RunningStack, store: Bucket, dataset: str, make_tree: Callable[..., Path], tmp_path: Path
) -> None:
    trees = [make_tree(name, {"a.txt": name.encode() * 1000}) for name in ("one", "other")]
    runs = [
        subprocess.Popen(
            command(tree, dataset, "v1"),
            env={**stack.environment, "LADING_HOME": str(tmp_path / f"home-{tree.name}")},
            stderr=subprocess.PIPE,
            text=True,
        )
        for tree in trees
    ]
    outputs = [run.communicate(timeout=120)[1] for run in runs]
    assert sorted(run.returncode for run in runs) == [0, 6], outputs
    winner = next(tree for run, tree in zip(runs, trees, strict=True) if run.returncode == 0)
    assert assert_visible_is_whole(store, dataset, "v1")
    pull(dataset, tmp_path / "dest", stack.settings)
    assert listing(tmp_path / "dest", mtimes=False) == listing(winner, mtimes=False)


def test_two_promotions_at_once_leave_what_one_of_them_wrote(
    stack: RunningStack, store: Bucket, dataset: str, make_tree: Callable[..., Path]
) -> None:
    tree = make_tree("tree", {"a": b"a"})
    for version in ("v0", "v1", "v2"):
        release(tree, dataset, version)
    hashes = {version: store.head(release_key(dataset, version, MANIFEST)) for version in ("v1", "v2")}
    conflicts = 0
    for _ in range(10):
        promote(store, dataset, "v0")
        barrier = threading.Barrier(2)

        def run(version: str, barrier: threading.Barrier = barrier) -> str | None:
            barrier.wait()
            try:
                return version if promote(store, dataset, version) else None
            except ConflictError:
                return None

        with ThreadPoolExecutor(2) as pool:
            won = [version for version in pool.map(run, ("v1", "v2")) if version]
        latest = json.loads(store.get(latest_key(dataset)))
        assert latest["version"] in won
        expected = hashes[latest["version"]]
        assert expected is not None
        assert latest["manifest_sha256"] == expected.sha256
        conflicts += len(won) == 1
    assert conflicts, "the promotions never met"


def test_a_promotion_that_read_an_older_latest_is_refused(
    stack: RunningStack, store: Bucket, dataset: str, make_tree: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import tasks.publish as module

    tree = make_tree("tree", {"a": b"a"})
    for version in ("v1", "v2", "v3"):
        release(tree, dataset, version)
    real = module.read_latest

    def read_then_wait(*arguments: object) -> object:
        latest = real(*arguments)  # type: ignore[arg-type]
        monkeypatch.setattr(module, "read_latest", real)
        promote(store, dataset, "v1")
        return replace(latest) if latest else None

    monkeypatch.setattr(module, "read_latest", read_then_wait)
    with pytest.raises(ConflictError, match="somebody else promoted"):
        promote(store, dataset, "v2")
    assert json.loads(store.get(latest_key(dataset)))["version"] == "v1"
