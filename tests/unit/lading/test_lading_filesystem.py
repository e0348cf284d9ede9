"""What Windows and case-insensitive file systems cannot hold, decided on any system."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lading.client.filesystem import PATH_MAX, FileSystem, refused_by_windows
from lading.errors import ConflictError
from lading.tables import Tables

ROOT = Path("/root")
WINDOWS = FileSystem(windows=True, folds_case=True)
LINUX = FileSystem(windows=False, folds_case=False)


@pytest.mark.parametrize(
    "path",
    [
        "a.txt",
        "a/b c/d.e.f",
        "ünïcode/名前.txt",
        ".hidden",
        "console.log",
        "auxiliary/null",
        "com.txt",
        "com10",
        "lpt",
        "my con",
        "CONIN",
        "a/lading~1",
        "~lading",
        "x" * 255,
        "a&b;c'd!e@f#g$h%i^j(k)l=m+n[o]{p},`",
    ],
)
def test_windows_holds_ordinary_names(path: str) -> None:
    assert refused_by_windows(path) is None


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        *((f"a/b{letter}c", "is not allowed") for letter in '<>:"\\|?*\x01\x1f\n'),
        ("C:", "':' is not allowed"),
        ("C:/Windows/x", "':' is not allowed"),
        ("..\\..\\x", "is not allowed"),
        ("file.txt:stream", "':' is not allowed"),
        ("a.", "dot or a space"),
        ("a /b", "dot or a space"),
        ("a/...", "dot or a space"),
        *((name, "name of a device") for name in ("CON", "con", "Prn", "aux", "nul", "COM1", "lpt9", "COM0", "conin$")),
        *((name, "name of a device") for name in ("nul.txt", "CON.tar.gz", "a/aux.c", "aux/b", "com¹", "nul .txt")),
        ("LADING~1/journal.ndjson", "another name of '.lading'"),
        ("x" * 256, "255 characters at most"),
        ("😀" * 128, "255 characters at most"),
    ],
)
def test_windows_refuses_names_that_it_cannot_hold(path: str, reason: str) -> None:
    assert reason in (refused_by_windows(path) or "it is taken")
    with pytest.raises(ConflictError, match="nothing was changed"):
        WINDOWS.check_path(ROOT, path)
    LINUX.check_path(ROOT, path)


def test_a_whole_path_fits_where_windows_takes_no_long_ones() -> None:
    short = FileSystem(windows=True, folds_case=True, path_max=PATH_MAX)
    folder = "d/" * 100
    longest = folder + "x" * (PATH_MAX - len(f"{ROOT}/{folder}"))
    short.check_path(ROOT, longest)
    WINDOWS.check_path(ROOT, longest + "x")
    with pytest.raises(ConflictError, match="259 characters at most: give a shorter DEST"):
        short.check_path(ROOT, longest + "x")


@pytest.mark.parametrize("target", ["..\\..\\x", "C:/x", "a:b"])
def test_a_link_that_would_lead_elsewhere_on_windows_is_refused(target: str) -> None:
    WINDOWS.check_link("link", "../a/b.txt")
    LINUX.check_link("link", target)
    with pytest.raises(ConflictError, match="Windows cannot hold the link"):
        WINDOWS.check_link("link", target)


@pytest.fixture
def tables() -> Iterator[Tables]:
    with Tables() as made:
        for name in ("files", "present", "obsolete", "trusted", "obsolete_entries"):
            made.run(f"CREATE TABLE {name} (path VARCHAR)")
        yield made


def fill(tables: Tables, **paths: str) -> None:
    for table, listed in paths.items():
        for path in listed.split():
            tables.run("INSERT INTO " + table + f" VALUES ('{path}')")


@pytest.mark.parametrize(
    ("paths", "one", "other"),
    [
        ({"files": "a.txt A.TXT"}, "A.TXT", "a.txt"),
        ({"files": "ünï ÜNÏ"}, "ÜNÏ", "ünï"),
        ({"files": "train/a Train/b"}, "Train", "train"),
        ({"files": "a A/b"}, "A", "a"),
        ({"files": "README.md", "present": "readme.md"}, "README.md", "readme.md"),
        ({"files": "data/x", "present": "Data/mine"}, "Data", "data"),
        ({"files": "A", "present": "a", "obsolete": "a"}, "A", "a"),
        ({"files": ".Lading/journal.ndjson"}, ".Lading", ".lading"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_names_that_would_be_one_are_refused_where_case_does_not_count(
    tables: Tables, paths: dict[str, str], one: str, other: str
) -> None:
    fill(tables, **paths)
    LINUX.check_cases(tables, ROOT)
    with pytest.raises(ConflictError) as caught:
        WINDOWS.check_cases(tables, ROOT)
    assert f"takes {one!r} and {other!r} for one name" in str(caught.value)


@pytest.mark.parametrize(
    "paths",
    [
        {},
        {"files": "a/b a/c b/a", "present": "a/b mine"},
        {"files": "New/a", "present": "new/a", "obsolete": "new/a", "trusted": "new/a"},
        {"files": "Folder", "present": "folder", "obsolete_entries": "folder"},
        {"files": "a", "present": "X x"},
    ],
    ids=str,
)
def test_names_that_differ_or_that_the_pull_itself_replaces_are_taken(tables: Tables, paths: dict[str, str]) -> None:
    fill(tables, **paths)
    WINDOWS.check_cases(tables, ROOT)


def test_a_file_system_is_asked_whether_case_counts(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    assert not FileSystem.of(tmp_path).folds_case
    (tmp_path / "LOCK").touch()
    assert FileSystem.of(tmp_path).folds_case, "as a file system looks that finds the one by the other's name"
