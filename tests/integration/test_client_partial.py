"""Partial pulls on the real stack: the part is exact, the rest is left alone, and a full pull makes it whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from running_stack import RunningStack
from test_release_and_pull import pull_to, release
from trees import changed, listing, varied

from lading.client.pull import pull
from lading.client.selection import Selection
from lading.errors import ConflictError


@pytest.fixture
def labelled(stack: RunningStack, dataset: str, make_tree: Callable[..., Path], tmp_path: Path) -> Path:
    """A released tree whose files have a label."""
    names = ["train/a.jpg", "train/b.jpg", "test/a.jpg", "readme.txt"]
    source = make_tree("source", {name: name.encode() * 100 for name in names})
    labels = tmp_path / "labels.csv"
    labels.write_text("path,split\n" + "".join(f"{name},{name.partition('/')[0]}\n" for name in names[:3]))
    release(stack, source, dataset, "v1", labels=str(labels), smoke=False)
    return source


def part(tree: dict[str, tuple[object, ...]], keep: Callable[[str], bool]) -> dict[str, tuple[object, ...]]:
    return {path: entry for path, entry in tree.items() if keep(path)}


def test_the_command_line_pulls_a_part_by_every_condition(
    stack: RunningStack, dataset: str, labelled: Path, tmp_path: Path
) -> None:
    (tmp_path / "list").write_text("train\nreadme.txt\n")
    cases = {
        ("--include", "*.jpg", "--exclude", "test"): {"train/a.jpg", "train/b.jpg"},
        ("--files-from", str(tmp_path / "list")): {"train/a.jpg", "train/b.jpg", "readme.txt"},
        ("--where", "split = 'test' OR split IS NULL"): {"test/a.jpg", "readme.txt"},
    }
    whole = listing(labelled)
    for number, (options, expected) in enumerate(cases.items()):
        dest = tmp_path / f"dest-{number}"
        done = stack.lading("pull", dataset, str(dest), "--quiet", *options)
        assert (done.returncode, done.stderr) == (0, "")
        assert listing(dest) == part(whole, expected.__contains__)


def test_a_selection_that_is_wrong_is_one_clear_line(
    stack: RunningStack, dataset: str, labelled: Path, tmp_path: Path
) -> None:
    for options, code, words in (
        (("--where", "nosuch = 1"), 2, "cannot be evaluated"),
        (("--where", "path IN (SELECT content FROM read_text('/etc/passwd'))"), 2, "disabled by configuration"),
        (("--include", "*.png"), 4, "nothing in the release is selected"),
        (("--files-from", str(tmp_path / "missing")), 2, "cannot be read"),
    ):
        done = stack.lading("pull", dataset, str(tmp_path / "dest"), "--quiet", *options)
        assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
        assert words in done.stderr
    assert listing(tmp_path / "dest") == {".": ("folder",)}


def test_a_part_of_the_next_version_leaves_the_rest_and_a_full_pull_makes_it_whole(
    stack: RunningStack, dataset: str, tmp_path: Path
) -> None:
    source, dest = varied(tmp_path / "source"), tmp_path / "dest"
    release(stack, source, dataset, "v1", smoke=False)
    first = listing(source)
    pull_to(stack, dataset, dest)
    second = listing(changed(source))
    release(stack, source, dataset, "v2", smoke=False)

    result = pull(dataset, dest, stack.settings, selection=Selection(include=("small/**", "moved.txt")))

    wanted = part(second, lambda path: path.startswith("small/") or path == "moved.txt")
    assert listing(dest) == {**first, **wanted}
    assert result.removed_files == 0
    # Content that moved was copied from the file that a full pull would have removed.
    assert result.copied_bytes > 0

    result = pull_to(stack, dataset, dest)

    assert listing(dest) == second
    assert result.removed_files == 2
    # The index of v1 was kept: the large file of several chunks is still a source.
    assert result.copied_bytes > 6 * 1024 * 1024


def test_parts_add_up(stack: RunningStack, dataset: str, tmp_path: Path) -> None:
    source, dest = varied(tmp_path / "source"), tmp_path / "dest"
    release(stack, source, dataset, "v1", smoke=False)
    large = Selection(where="size > 1000000")
    for selection in (large, Selection(exclude=("small",)), Selection(include=("small",))):
        pull(dataset, dest, stack.settings, selection=selection)
    assert listing(dest) == listing(source)

    result = pull_to(stack, dataset, dest)

    assert result.made_files == 0
    assert result.fetched_bytes < 10_000


def test_another_dataset_is_not_pulled_over_this_one(
    stack: RunningStack, dataset: str, make_tree: Callable[..., Path], tmp_path: Path
) -> None:
    dest = tmp_path / "dest"
    for name in (dataset, f"{dataset}-b"):
        release(stack, make_tree(name, {f"{name}.txt": b"x"}), name, "v1", smoke=False)
    pull_to(stack, dataset, dest)
    with pytest.raises(ConflictError, match="holds dataset"):
        pull_to(stack, f"{dataset}-b", dest)
    assert list(listing(dest)) == [f"{dataset}.txt"]
