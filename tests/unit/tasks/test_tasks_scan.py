from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tasks_releases import rows

from lading.errors import SourceError
from tasks.scan import ScanSummary, scan


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "file").write_bytes(b"data")
    return folder


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "entries.parquet"


def test_entries_are_listed_by_path_with_their_facts(source: Path, table: Path) -> None:
    (source / "sub").mkdir()
    (source / "sub" / "tool").write_bytes(b"#!")
    (source / "sub" / "tool").chmod(0o755)
    (source / "sub" / "link").symlink_to("tool")
    (source / "empty").mkdir()
    assert scan(source, table) == ScanSummary(files=2, entries=4, bytes=6, warnings=())
    assert rows(table, "path, type, target, size") == [
        ("empty", "dir", None, 0),
        ("file", "file", None, 4),
        ("sub/link", "symlink", "tool", 0),
        ("sub/tool", "file", None, 2),
    ]
    status = (source / "sub" / "tool").stat()
    (found,) = [row for row in rows(table, "path, mode, mtime, mtime_ns, inode") if row[0] == "sub/tool"]
    assert found[1:] == (0o755, int(status.st_mtime), status.st_mtime_ns, status.st_ino)


def test_special_mode_bits_are_dropped(source: Path, table: Path) -> None:
    (source / "file").chmod(0o4755)
    scan(source, table)
    assert rows(table, "mode") == [(0o755,)]


@pytest.mark.parametrize("content", ["nothing", "folder", "link"])
def test_a_source_without_a_file_is_refused(source: Path, table: Path, content: str) -> None:
    (source / "file").unlink()
    if content == "folder":
        (source / "folder").mkdir()
    if content == "link":
        (source / "link").symlink_to("elsewhere")
    with pytest.raises(SourceError, match="no files"):
        scan(source, table)


def test_a_pipe_is_refused_without_opening_it(source: Path, table: Path) -> None:
    os.mkfifo(source / "pipe")
    with pytest.raises(SourceError, match="'pipe' is a device, socket or pipe"):
        scan(source, table)


def test_a_socket_is_refused(source: Path, table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(source)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket")
        with pytest.raises(SourceError, match="'socket' is a device, socket or pipe"):
            scan(source, table)


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("link", "/etc/passwd"),
        ("link", ".."),
        ("link", "../elsewhere"),
        ("link", "./../elsewhere"),
        ("sub/link", "../../elsewhere"),
        ("link", "sub/../../elsewhere"),
        ("link", "sub/.."),
    ],
)
def test_a_link_that_may_lead_out_is_refused(source: Path, table: Path, path: str, target: str) -> None:
    (source / "sub").mkdir()
    (source / path).symlink_to(target)
    with pytest.raises(SourceError, match="may lead out of the source"):
        scan(source, table)


def test_a_link_that_leads_out_through_another_link_is_refused(source: Path, table: Path) -> None:
    """`trick` looks as if it stayed inside, but `deep/up` is the root already."""
    (source / "deep").mkdir()
    (source / "deep" / "up").symlink_to("..")
    (source / "trick").symlink_to("deep/up/../secret")
    with pytest.raises(SourceError, match="'trick' may lead out"):
        scan(source, table)


@pytest.mark.parametrize(("path", "target"), [("link", "file"), ("link", "dangling"), ("sub/link", "../file")])
def test_a_link_that_stays_inside_is_listed(source: Path, table: Path, path: str, target: str) -> None:
    (source / "sub").mkdir()
    (source / path).symlink_to(target)
    scan(source, table)
    assert (path, target) in rows(table, "path, target")


def test_linked_folders_are_not_followed(source: Path, table: Path) -> None:
    (source / "sub").mkdir()
    (source / "sub" / "loop").symlink_to(".")
    (source / "alias").symlink_to("sub")
    assert scan(source, table).entries == 3


def test_the_source_itself_may_be_a_link(source: Path, table: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(source)
    assert scan(tmp_path / "alias", table).files == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda name: Path(os.fsdecode(name)).write_bytes(b""),
        lambda name: Path(os.fsdecode(name)).mkdir(),
        lambda name: Path("link").symlink_to(os.fsdecode(name)),
    ],
    ids=["file", "folder", "target of a link"],
)
def test_a_name_that_is_not_utf8_is_refused(
    source: Path, table: Path, make: Callable[[bytes], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(source)
    make(b"bad\xff")
    with pytest.raises(SourceError, match="not UTF-8"):
        scan(source, table)


@pytest.mark.parametrize("kind", ["folder", "file", "link", "dangling link"])
def test_ladings_own_name_at_the_top_is_refused(source: Path, table: Path, kind: str) -> None:
    own = source / ".lading"
    match kind:
        case "folder":
            own.mkdir()
        case "file":
            own.write_bytes(b"")
        case "link":
            own.symlink_to("file")
        case "dangling link":
            own.symlink_to("nowhere")
    with pytest.raises(SourceError, match=r"top-level '\.lading'"):
        scan(source, table)


def test_ladings_own_name_further_down_is_a_name_like_any_other(source: Path, table: Path) -> None:
    (source / "sub" / ".lading").mkdir(parents=True)
    (source / "sub" / ".lading" / "file").write_bytes(b"")
    assert scan(source, table).files == 2


@pytest.mark.parametrize("pair", [("readme", "Readme"), ("é", "e\u0301")])
def test_names_that_some_file_systems_take_for_one_are_reported(
    source: Path, table: Path, pair: tuple[str, str]
) -> None:
    for name in pair:
        (source / name).write_bytes(b"")
    (warning,) = scan(source, table).warnings
    assert all(repr(name) in warning for name in pair)


def test_names_with_any_legal_character_survive(source: Path, table: Path) -> None:
    names = ["new\nline", 'quo"te', "apo'strophe", "back\\slash", "-dash", " space ", "\u2028", "日本", "*?[x]"]
    for name in names:
        (source / name).write_bytes(b"")
    scan(source, table)
    assert {row[0] for row in rows(table, "path")} == {*names, "file"}


@pytest.fixture
def as_nobody() -> Iterator[Path]:
    """A folder of an ordinary user, and that user's rights for the test."""
    if os.geteuid() != 0:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
        return
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, 65534, 65534)
        os.seteuid(65534)
        try:
            yield Path(folder)
        finally:
            os.seteuid(0)


def test_a_folder_that_cannot_be_read_is_an_error_that_names_it(as_nobody: Path) -> None:
    closed = as_nobody / "source" / "closed"
    closed.mkdir(parents=True)
    closed.chmod(0)
    try:
        with pytest.raises(SourceError, match=r"source/closed cannot be read") as caught:
            scan(as_nobody / "source", as_nobody / "entries.parquet")
        assert "permissions" in str(caught.value.hint)
    finally:
        closed.chmod(0o700)
