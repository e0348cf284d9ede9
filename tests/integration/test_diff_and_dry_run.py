"""Looking before leaping: what changed, and what a release would store."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from running_stack import RunningStack
from trees import changed, text, varied

from lading.client.pull import pull
from lading.objectstore import bucket


def release(source: Path, dataset: str, version: str) -> dict:
    from flows.release import release as flow

    return flow(source=str(source), dataset=dataset, version=version, smoke=False)


def test_diff_names_every_change_and_the_bytes_of_an_update(stack: RunningStack, dataset: str, tmp_path: Path) -> None:
    source = varied(tmp_path / "source")
    release(source, dataset, "v1")
    pull(dataset, tmp_path / "dest", stack.settings)
    release(changed(source), dataset, "v2")

    done = stack.lading("diff", f"{dataset}@v1", "v2")

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "+ added.txt",
        "M large.bin",
        "M link.txt",
        "R small/008.txt -> moved.txt",
        "M small/007.txt",
        "- small/009.txt",
    ]
    totals = json.loads(stack.lading("diff", f"{dataset}@v1", f"{dataset}@v2", "--summary", "--json").stdout)
    assert (totals["added"], totals["modified"], totals["removed"], totals["moved"]) == (1, 3, 1, 1)
    update = pull(dataset, tmp_path / "dest", stack.settings)
    overhead = update.fetched_bytes - totals["fetch_bytes"]
    assert 0 <= overhead < 60_000, "the rest is manifest, signature and index"


def test_diff_of_a_release_with_itself_is_empty(
    stack: RunningStack, dataset: str, make_tree: Callable[..., Path]
) -> None:
    release(make_tree("v1", {"a": b"a"}), dataset, "v1")
    done = stack.lading("diff", f"{dataset}@v1", "latest")
    assert (done.returncode, done.stdout) == (0, "")
    assert "0 added, 0 modified, 0 removed, 0 moved, 1 unchanged" in done.stderr


def test_a_dry_run_says_what_the_release_then_does(
    stack: RunningStack, dataset: str, make_tree: Callable[..., Path]
) -> None:
    files = {f"{number}.txt": text(number, 50_000) for number in range(60)} | {"big.txt": text(99, 9_000_000)}
    source = make_tree("source", files)

    said = json.loads(stack.lading("release", str(source), dataset, "--version", "v1", "--dry-run", "--json").stdout)

    assert not list(bucket(stack.settings).list(f"{dataset}/"))
    made = release(source, dataset, "v1")
    assert said["plan"]["new_bytes"] == made["delta"]["new_bytes"]
    assert said["plan"]["files"] == made["totals"]["files"] == 61
    assert abs(said["upload_bytes"] - made["uploaded_bytes"]) < 0.15 * made["uploaded_bytes"]
    assert said["storage_usd_month"] > 0
    again = stack.lading("release", str(source), dataset, "--version", "v2", "--dry-run")
    assert "0 added, 0 modified, 0 removed" in again.stdout
    assert not list((stack.settings.home / "work" / dataset).glob("v2*/"))
