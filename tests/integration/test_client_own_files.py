"""Files of DEST that Lading did not write: kept, taken over, or an error before anything is changed; never replaced
without being asked for."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from running_stack import RunningStack
from trees import listing

import lading
from lading.client.filesystem import FileSystem
from lading.client.pull import pull
from lading.client.selection import Selection
from lading.client.state import State
from lading.errors import ConflictError

V1 = {"a.txt": b"one", "b.txt": b"two", "sub/c.txt": b"three", "sub/deep/d.txt": b"four", "large.bin": b"5" * 100_000}


@pytest.fixture(scope="module")
def released(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The source trees of a dataset `own` with two versions; v2 changes every file's content and keeps its size."""
    from flows.release import release

    root = tmp_path_factory.mktemp("own")
    for version in ("v1", "v2"):
        for path, data in V1.items():
            place = root / version / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data if version == "v1" else data[::-1] + b"2")
            os.utime(place, (1_600_000_000, 1_600_000_000))
        (root / version / "link").symlink_to("a.txt" if version == "v1" else "b.txt")
        release(source=str(root / version), dataset="own", version=version, smoke=False)
    return lambda version: root / version


def test_a_file_of_the_user_that_differs_is_one_clear_line_and_nothing_is_changed(
    stack: RunningStack, released: Callable[[str], Path], tmp_path: Path
) -> None:
    dest = tmp_path / "dest"
    (dest / "sub").mkdir(parents=True)
    for name in ("a.txt", "b.txt", "sub/c.txt", "large.bin", "mine.txt"):
        (dest / name).write_bytes(b"mine: " + name.encode())
    before = listing(dest)

    done = stack.lading("pull", "own@v1", str(dest))

    assert (done.returncode, done.stdout) == (6, "")
    assert done.stderr.splitlines()[-1] == (
        f"lading: {dest} has 4 files that Lading did not write and that differ from the release: "
        "a.txt, b.txt, large.bin and 1 more; move them away, or give --overwrite to replace them; nothing was changed"
    )
    assert listing(dest) == before

    assert stack.lading("pull", "own@v1", str(dest), "--overwrite").returncode == 0

    assert listing(dest) == {**listing(released("v1")), "mine.txt": before["mine.txt"]}


def test_the_python_interface_has_the_same_choice(
    stack: RunningStack, released: Callable[[str], Path], tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_bytes(b"mine")
    with pytest.raises(lading.ConflictError, match=r"1 file that Lading did not write .* release: a\.txt"):
        lading.pull("own@v1", tmp_path)
    lading.pull("own@v1", tmp_path, overwrite=True)
    assert listing(tmp_path) == listing(released("v1"))


def test_files_of_the_user_with_the_same_content_are_taken_over_without_a_word(
    stack: RunningStack, released: Callable[[str], Path], tmp_path: Path
) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("a.txt", "sub/c.txt"):
        (tmp_path / name).write_bytes(V1[name])
    done = stack.lading("pull", "own@v1", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "Lading did not write" not in done.stderr
    assert listing(tmp_path) == listing(released("v1"))
    # From now on they are Lading's: the next version replaces them.
    pull("own@v2", tmp_path, stack.settings)
    assert listing(tmp_path) == listing(released("v2"))


@pytest.mark.parametrize("kind", ["file in place of a folder", "link in place of a file", "file in place of a link"])
def test_what_is_of_another_kind_is_in_the_way_too(
    stack: RunningStack, released: Callable[[str], Path], tmp_path: Path, kind: str
) -> None:
    match kind:
        case "file in place of a folder":
            (tmp_path / "sub").write_bytes(b"mine")
        case "link in place of a file":
            (tmp_path / "a.txt").symlink_to("elsewhere")
        case "file in place of a link":
            (tmp_path / "link").write_bytes(b"mine")
    before = listing(tmp_path)
    with pytest.raises(ConflictError, match="1 file that Lading did not write"):
        pull("own@v1", tmp_path, stack.settings)
    assert listing(tmp_path) == before
    pull("own@v1", tmp_path, stack.settings, overwrite=True)
    assert listing(tmp_path) == listing(released("v1"))


def test_files_that_lading_wrote_are_made_right_again_and_the_pull_says_so(
    stack: RunningStack, released: Callable[[str], Path], tmp_path: Path
) -> None:
    pull("own@v1", tmp_path, stack.settings)
    (tmp_path / "a.txt").write_bytes(b"damaged, of another size")
    (tmp_path / "b.txt").write_bytes(b"owt")
    (tmp_path / "sub/c.txt").unlink()
    (tmp_path / "link").unlink()
    # verify finds them before the pull does: they stay Lading's all the same.
    assert stack.lading("verify", str(tmp_path)).returncode == 5

    done = stack.lading("pull", "own@v1", str(tmp_path))

    assert done.returncode == 0, done.stderr
    assert "lading: replacing what was changed here since it was pulled: a.txt, b.txt\n" in done.stderr
    assert listing(tmp_path) == listing(released("v1"))


def test_files_that_a_killed_pull_left_unrecorded_are_no_strangers(
    stack: RunningStack, released: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pull of v1 dies, and the last lines of its journal are lost, as in a power cut; then v2 is pulled."""
    with monkeypatch.context() as patched:
        patched.setattr(State, "finish", lambda *_, **__: (_ for _ in ()).throw(SystemExit("killed")))
        with pytest.raises(SystemExit):
            pull("own@v1", tmp_path, stack.settings)
    lines = (tmp_path / ".lading/journal.ndjson").read_bytes().splitlines(keepends=True)
    kept = random.Random(1).sample(lines, 2)
    (tmp_path / ".lading/journal.ndjson").write_bytes(b"".join(kept))

    pull("own@v2", tmp_path, stack.settings)

    assert listing(tmp_path) == listing(released("v2"))


def test_a_file_that_was_kept_for_the_user_stays_the_users(
    stack: RunningStack, dataset: str, make_tree: Callable[..., Path]
) -> None:
    from flows.release import release

    for version, files in (("v1", {"a": b"a", "b": b"b"}), ("v2", {"a": b"a"}), ("v3", {"a": b"a", "b": b"new"})):
        release(source=str(make_tree(version, files)), dataset=dataset, version=version, smoke=False)
    dest = make_tree("dest", {})
    pull(f"{dataset}@v1", dest, stack.settings)
    (dest / "b").write_bytes(b"worked on")
    pull(f"{dataset}@v2", dest, stack.settings)
    with pytest.raises(ConflictError, match="1 file that Lading did not write"):
        pull(f"{dataset}@v3", dest, stack.settings)
    assert (dest / "b").read_bytes() == b"worked on"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_the_users_in_a_files_place_is_an_error_before_anything_is_changed(
    stack: RunningStack, released: Callable[[str], Path], tmp_path: Path, overwrite: bool
) -> None:
    dest = tmp_path / "dest"
    pull("own@v1", dest, stack.settings)
    (dest / "large.bin").unlink()
    (dest / "large.bin").mkdir()
    (dest / "large.bin" / "mine").write_bytes(b"mine")
    before = listing(dest)

    with pytest.raises(
        ConflictError, match=r"large\.bin is a folder that holds 'large\.bin/mine'.*nothing was changed"
    ):
        pull("own@v2", dest, stack.settings, overwrite=overwrite)

    assert listing(dest) == before


def test_names_that_the_file_system_cannot_hold_are_an_error_before_anything_is_changed(
    stack: RunningStack,
    dataset: str,
    make_tree: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on Windows, whose rules are applied to this system's folder."""
    from flows.release import release

    files = {"a.txt": b"a", "train/x.txt": b"x", "nul.csv": b"n", "README.md": b"r"}
    release(source=str(make_tree("source", files)), dataset=dataset, version="v1", smoke=False)
    monkeypatch.setattr(FileSystem, "of", lambda _: FileSystem(windows=True, folds_case=True))
    dest = tmp_path / "dest"
    dest.mkdir()
    (dest / "readme.md").write_bytes(b"of the user")

    with pytest.raises(ConflictError, match=r"cannot hold a file called 'nul.csv'.*--exclude"):
        pull(dataset, dest, stack.settings)
    no_device = Selection(exclude=("nul.csv",))
    with pytest.raises(ConflictError, match=r"takes 'README.md' and 'readme.md' for one name"):
        pull(dataset, dest, stack.settings, selection=no_device, overwrite=True)

    assert listing(dest, mtimes=False).keys() == {"readme.md"}
    pull(dataset, dest, stack.settings, selection=Selection(exclude=("nul.csv", "README.md")))
    assert sorted(listing(dest)) == ["a.txt", "readme.md", "train/x.txt"]


def test_a_link_that_was_changed_since_it_was_pulled_is_made_right_again(
    stack: RunningStack, released: Callable[[str], Path], tmp_path: Path
) -> None:
    dest = tmp_path / "dest"
    pull("own@v1", dest, stack.settings)
    (dest / "link").unlink()
    (dest / "link").symlink_to("elsewhere")

    done = stack.lading("pull", "own@v1", str(dest))

    assert done.returncode == 0, done.stderr
    assert "replacing what was changed here since it was pulled: link" in done.stderr
    assert listing(dest) == listing(released("v1"))


def test_a_link_of_the_user_is_not_taken_for_one_that_lading_made(
    stack: RunningStack, released: Callable[[str], Path], tmp_path: Path
) -> None:
    dest = tmp_path / "dest"
    pull("own@v1", dest, stack.settings, selection=Selection(include=("*.txt",)))
    (dest / "link").symlink_to("elsewhere")
    with pytest.raises(ConflictError, match=r"1 file that Lading did not write .* release: link"):
        pull("own@v1", dest, stack.settings)
    assert (dest / "link").readlink() == Path("elsewhere")


@pytest.mark.parametrize("junk", [b"", b"junk", b"PAR1" + bytes(100) + b"PAR1"])
def test_a_damaged_record_of_what_was_pulled_is_made_anew(
    stack: RunningStack, released: Callable[[str], Path], tmp_path: Path, junk: bytes
) -> None:
    dest = tmp_path / "dest"
    pull("own@v1", dest, stack.settings)
    (dest / ".lading" / "installed.parquet").write_bytes(junk)

    result = pull("own@v1", dest, stack.settings)

    assert (result.made_files, listing(dest)) == (0, listing(released("v1")))
    (dest / "a.txt").unlink()
    assert pull("own@v1", dest, stack.settings).made_files == 1


@pytest.mark.parametrize(
    "arguments", [("pull", "own@v1", ""), ("verify", ""), ("release", "", "own", "--version", "v")]
)
def test_an_empty_name_is_not_the_current_folder(stack: RunningStack, arguments: tuple[str, ...]) -> None:
    done = stack.lading(*arguments)
    assert (done.returncode, done.stderr) == (
        2,
        "lading: the name of the folder is empty; give a folder; '.' is the current one\n",
    )
