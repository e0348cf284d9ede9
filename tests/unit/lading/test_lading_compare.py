"""Compare: what is to be done, case by case. Content is named by a letter; its hash follows."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lading.client.compare import Work, compare, list_present, trusted_files, unknown_files
from lading.tables import Tables

SHARD = hashlib.sha256(b"shard").digest()


def sha(content: str) -> bytes:
    return hashlib.sha256(content.encode()).digest()


class Case:
    """The tables that compare reads, filled by hand, and those that it makes."""

    def __init__(self, tables: Tables, root: Path) -> None:
        self.tables = tables
        self.root = root
        self._old: list[Path] = []
        tables.run(
            "CREATE TABLE files (file_id BIGINT, path VARCHAR, type VARCHAR, target VARCHAR, size BIGINT, "
            "sha256 BLOB, mode INTEGER, mtime BIGINT)"
        )
        tables.run(
            "CREATE TABLE chunks (file_id BIGINT, seq INTEGER, chunk_sha256 BLOB, length BIGINT, shard BLOB, "
            "frame_offset BIGINT, frame_length BIGINT, inner_offset BIGINT)"
        )
        tables.run("CREATE TABLE installed (path VARCHAR, size BIGINT, mtime_ns BIGINT, sha256 BLOB)")
        tables.run("CREATE TABLE done (partial VARCHAR, seq INTEGER)")
        tables.run(
            "CREATE TABLE present "
            "(path VARCHAR, type VARCHAR, target VARCHAR, size BIGINT, mtime_ns BIGINT, mode INTEGER)"
        )

    def _add(self, path: str, kind: str, target: str | None, chunks: str) -> int:
        number: int = self.tables.row("SELECT count(*) FROM files")[0]
        content = sha(chunks) if kind == "file" else None
        self.tables.run(
            "INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, 420, 0)", number, path, kind, target, 10 * len(chunks), content
        )
        for seq, chunk in enumerate(chunks):
            offset = 100 * (ord(chunk) - ord("a"))
            self.tables.run(
                "INSERT INTO chunks VALUES (?, ?, ?, 10, ?, ?, 50, 0)", number, seq, sha(chunk), SHARD, offset
            )
        return number

    def wants(self, path: str, chunks: str) -> None:
        """A wanted file of these chunks, 10 bytes each; a file of one chunk has its chunk's hash."""
        self._add(path, "file", None, chunks)

    def wants_link(self, path: str, target: str) -> None:
        self._add(path, "symlink", target, "")

    def wants_folder(self, path: str) -> None:
        self._add(path, "dir", None, "")

    def has(self, path: str, chunks: str, *, installed: bool = True, touched: bool = False) -> None:
        """A file on disk; as Lading left it, touched since, or not from Lading at all."""
        size = 10 * len(chunks)
        self.tables.run("INSERT INTO present VALUES (?, 'file', NULL, ?, ?, 420)", path, size, 2 if touched else 1)
        if installed:
            self.tables.run("INSERT INTO installed VALUES (?, ?, 1, ?)", path, size, sha(chunks))

    def has_other(self, path: str, kind: str, target: str | None = None) -> None:
        self.tables.run("INSERT INTO present VALUES (?, ?, ?, NULL, NULL, NULL)", path, kind, target)

    def installed_but_gone(self, path: str, chunks: str) -> None:
        self.tables.run("INSERT INTO installed VALUES (?, ?, 1, ?)", path, 10 * len(chunks), sha(chunks))

    def old_release(self, **files: str) -> None:
        """The index of a release that was here before."""
        folder = self.root / f"old-{len(self._old)}"
        folder.mkdir()
        with Tables() as tables:
            other = Case(tables, folder)
            for path, chunks in files.items():
                other.wants(path, chunks)
            tables.save("SELECT * FROM files", folder / "files.parquet")
            tables.save("SELECT * FROM chunks", folder / "chunks.parquet")
        self._old.append(folder)

    def compare(self) -> Work:
        trusted_files(self.tables)
        return compare(self.tables, self._old)

    def paths(self, table: str) -> list[str]:
        return [row[0] for row in self.tables.rows(f"SELECT path FROM {table} ORDER BY path")]

    def partial(self, path: str) -> str:
        return str(self.tables.row("SELECT partial FROM todo WHERE path = ?", path)[0])

    def local(self) -> list[tuple[object, ...]]:
        """(path, seq, file offset, source, source offset)."""
        columns = "path, seq, file_offset, source, source_offset"
        return list(self.tables.rows(f"SELECT {columns} FROM local_pieces ORDER BY path, seq"))

    def remote(self) -> list[tuple[object, ...]]:
        """(path, seq, file offset, frame offset)."""
        columns = "path, seq, file_offset, frame_offset"
        return list(self.tables.rows(f"SELECT {columns} FROM remote_pieces ORDER BY path, seq"))


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    with Tables() as tables:
        yield Case(tables, tmp_path)


def test_into_an_empty_folder_everything_is_fetched(case: Case) -> None:
    case.wants("a", "a")
    case.wants("big", "bcd")
    case.wants_link("link", "a")
    case.wants_folder("folder")
    work = case.compare()
    assert case.paths("todo") == ["a", "big", "folder", "link"]
    assert case.remote() == [("a", 0, 0, 0), ("big", 0, 0, 100), ("big", 1, 10, 200), ("big", 2, 20, 300)]
    assert case.local() == []
    assert work == Work(
        files=2,
        bytes=40,
        todo_files=2,
        todo_bytes=40,
        done_bytes=0,
        local_bytes=0,
        remote_bytes=40,
        fetch_bytes=200,
        obsolete=0,
    )


def test_what_is_as_it_was_left_is_not_touched(case: Case) -> None:
    case.wants("a", "a")
    case.wants("big", "bcd")
    case.wants_link("link", "a")
    case.wants_folder("folder")
    case.has("a", "a")
    case.has("big", "bcd")
    case.has_other("link", "symlink", "a")
    case.has_other("folder", "dir")
    work = case.compare()
    assert case.paths("todo") == []
    assert (work.todo_bytes, work.remote_bytes, work.obsolete) == (0, 0, 0)


@pytest.mark.parametrize("state", ["touched", "not ours", "gone", "other content", "a link", "a folder"])
def test_a_file_that_is_not_certainly_right_is_made_again(case: Case, state: str) -> None:
    case.wants("file", "a")
    match state:
        case "touched":
            case.has("file", "a", touched=True)
        case "not ours":
            case.has("file", "a", installed=False)
        case "gone":
            case.installed_but_gone("file", "a")
        case "other content":
            case.has("file", "b")
        case "a link":
            case.has_other("file", "symlink", "elsewhere")
        case "a folder":
            case.has_other("file", "dir")
    case.compare()
    assert case.paths("todo") == ["file"]
    assert case.remote() == [("file", 0, 0, 0)]


@pytest.mark.parametrize("state", ["other target", "file", "folder", "gone"])
def test_a_link_that_differs_is_made_again(case: Case, state: str) -> None:
    case.wants_link("link", "a")
    match state:
        case "other target":
            case.has_other("link", "symlink", "b")
        case "file":
            case.has("link", "a")
        case "folder":
            case.has_other("link", "dir")
    case.compare()
    assert case.paths("todo") == ["link"]


def test_a_file_where_a_folder_is_wanted_is_to_be_made(case: Case) -> None:
    case.wants_folder("folder")
    case.has("folder", "a")
    case.compare()
    assert case.paths("todo") == ["folder"]


def test_chunks_that_a_half_made_file_holds_are_not_fetched(case: Case) -> None:
    case.wants("big", "abc")
    case.compare()
    partial = case.partial("big")
    case.tables.run("INSERT INTO done VALUES (?, 1), ('other', 0)", partial)
    work = case.compare()
    assert case.remote() == [("big", 0, 0, 0), ("big", 2, 20, 200)]
    assert work.done_bytes == 10


def test_half_made_files_of_another_path_or_content_are_not_mistaken(case: Case) -> None:
    case.wants("one", "abc")
    case.wants("other", "abc")
    case.wants("third", "abd")
    case.compare()
    assert len({case.partial(path) for path in ("one", "other", "third")}) == 3


def test_a_renamed_file_is_copied_and_the_old_one_obsolete(case: Case) -> None:
    case.wants("new", "a")
    case.has("old", "a")
    work = case.compare()
    assert case.local() == [("new", 0, 0, "old", 0)]
    assert case.remote() == []
    assert case.paths("obsolete") == ["old"]
    assert (work.local_bytes, work.obsolete) == (10, 1)


def test_chunks_of_an_older_release_of_a_large_file_are_copied_from_their_place(case: Case) -> None:
    case.old_release(big="abcd")
    case.has("big", "abcd")
    case.wants("big", "xbcy")
    case.compare()
    assert case.local() == [("big", 1, 10, "big", 10), ("big", 2, 20, "big", 20)]
    assert [row[:2] for row in case.remote()] == [("big", 0), ("big", 3)]


def test_an_old_index_counts_only_for_files_that_still_have_its_content(case: Case) -> None:
    case.old_release(big="abcd", touched="efgh")
    case.has("big", "wxyz")
    case.has("touched", "efgh", touched=True)
    case.wants("new", "aeb")
    case.compare()
    assert case.local() == []
    assert len(case.remote()) == 3


def test_a_chunk_in_several_places_is_copied_once_each(case: Case) -> None:
    case.old_release(one="aab", other="ba")
    case.has("one", "aab")
    case.has("other", "ba")
    case.wants("new", "ab")
    case.compare()
    (first, second) = case.local()
    assert first[:3] == ("new", 0, 0)
    assert first[3:] in {("one", 0), ("one", 10), ("other", 10)}
    assert second[3:] in {("one", 20), ("other", 0)}


def test_a_frame_that_several_chunks_share_is_fetched_once(case: Case) -> None:
    case.wants("one", "a")
    case.wants("two", "a")
    work = case.compare()
    assert (work.remote_bytes, work.fetch_bytes) == (20, 50)


def test_files_that_lading_did_not_write_are_never_obsolete(case: Case) -> None:
    case.has("mine", "a", installed=False)
    case.has("theirs", "b")
    case.compare()
    assert case.paths("obsolete") == ["theirs"]


def test_files_of_the_wanted_size_without_a_record_are_to_be_hashed(case: Case) -> None:
    case.wants("same-size", "a")
    case.wants("other-size", "ab")
    case.wants("ours", "c")
    case.wants("touched", "d")
    case.has("same-size", "x", installed=False)
    case.has("other-size", "x", installed=False)
    case.has("ours", "c")
    case.has("touched", "d", touched=True)
    trusted_files(case.tables)
    assert list(unknown_files(case.tables)) == [("same-size", sha("a"), 10), ("touched", sha("d"), 10)]


def test_what_is_present_is_listed_but_for_ladings_own_folder(tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    (dest / ".lading").mkdir(parents=True)
    (dest / ".lading" / "journal").write_bytes(b"")
    (dest / "sub" / "empty").mkdir(parents=True)
    (dest / "file").write_bytes(b"data")
    (dest / "file").chmod(0o640)
    os.utime(dest / "file", ns=(0, 123))
    (dest / "link").symlink_to("file")
    os.mkfifo(dest / "pipe")
    with Tables() as tables:
        list_present(tables, dest, tmp_path / "listing")
        assert sorted(tables.rows("SELECT * FROM present"), key=str) == [
            ("file", "file", None, 4, 123, 0o640),
            ("link", "symlink", "file", None, None, None),
            ("sub/empty", "dir", None, None, None, None),
        ]


def test_an_empty_folder_has_nothing_present(tmp_path: Path) -> None:
    (tmp_path / "dest").mkdir()
    with Tables() as tables:
        list_present(tables, tmp_path / "dest", tmp_path / "listing")
        assert tables.row("SELECT count(*) FROM present") == (0,)


def test_names_that_are_not_utf8_do_not_stop_a_pull(tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    dest.mkdir()
    (dest / "ä").write_bytes(b"")
    (dest / os.fsdecode(b"bad\xff")).write_bytes(b"")
    (dest / "link").symlink_to(os.fsdecode(b"bad\xff"))
    with Tables() as tables:
        list_present(tables, dest, tmp_path / "listing")
        assert sorted(tables.rows("SELECT path, type, target FROM present")) == [
            ("link", "symlink", None),
            ("ä", "file", None),
        ]
