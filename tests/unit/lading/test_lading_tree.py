from __future__ import annotations

from pathlib import Path

import pytest

from lading.tree import walk


def test_files_links_and_empty_folders_are_found_and_links_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_bytes(b"")
    (tmp_path / "a" / "empty").mkdir()
    (tmp_path / "up").symlink_to(".")
    found = dict(walk(tmp_path))
    assert set(found) == {"a/b/file", "a/empty", "up"}
    assert found["a/empty"] is None
    assert found["up"] is not None
    assert found["up"].is_symlink()


def test_an_empty_root_has_nothing(tmp_path: Path) -> None:
    assert list(walk(tmp_path)) == []


def test_names_are_left_out_at_the_top_only(tmp_path: Path) -> None:
    for path in (".lading/file", "sub/.lading/file"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_bytes(b"")
    assert [path for path, _ in walk(tmp_path, skip=frozenset({".lading"}))] == ["sub/.lading/file"]


def test_a_folder_that_vanished_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(walk(tmp_path / "gone"))
