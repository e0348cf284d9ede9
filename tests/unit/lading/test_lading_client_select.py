"""Selections: which files of a release a partial pull wants."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading.client.select import glob_regex, select, where_ids
from lading.client.selection import EVERYTHING, Selection, read_paths
from lading.errors import NotFoundError, UsageError
from lading.tables import Tables

PATHS = ["a.txt", "b.jpg", "train/a.jpg", "train/deep/b.jpg", "train/deep/c.txt", "test/a.jpg", "odd [1].txt", "x'y"]


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """files.parquet with a label column."""
    path = tmp_path / "files.parquet"
    with Tables() as tables:
        tables.run("CREATE TABLE t (file_id BIGINT, path VARCHAR, size BIGINT, split VARCHAR)")
        for number, name in enumerate(PATHS):
            tables.run("INSERT INTO t VALUES (?, ?, ?, ?)", number, name, 100 * number, name.partition("/")[0])
        tables.save("SELECT * FROM t", path)
    return path


@pytest.fixture
def chosen(index: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """The paths that a selection holds."""

    def run(**conditions: object) -> list[str]:
        with Tables() as tables:
            select(tables, index, Selection(**conditions), tmp_path)  # type: ignore[arg-type]
            return [row[0] for row in tables.rows("SELECT path FROM files ORDER BY file_id")]

    return run


@pytest.fixture(scope="module")
def re2() -> Iterator[Tables]:
    with Tables() as tables:
        yield tables


@pytest.mark.parametrize(
    ("pattern", "matches", "differs"),
    [
        ("*.jpg", ["b.jpg", "train/deep/b.jpg"], ["b.jpgx", "jpg"]),
        ("train", ["train/a.jpg", "train/deep/b.jpg", "x/train/a"], ["trainer/a", "a/strain"]),
        ("train/", ["train/a.jpg"], ["trainer"]),
        ("train/*", ["train/a.jpg", "train/deep/b.jpg"], ["x/train/a.jpg"]),
        ("train/*.jpg", ["train/a.jpg"], ["train/deep/b.jpg"]),
        ("train/**/*.jpg", ["train/a.jpg", "train/deep/b.jpg", "train/x/y/b.jpg"], ["test/a.jpg"]),
        ("**/deep", ["train/deep/b.jpg", "deep/x"], ["train/deeper/b"]),
        ("train/**", ["train/a.jpg", "train/deep/b.jpg"], ["train", "test/a"]),
        ("?.txt", ["a.txt", "d/b.txt"], ["ab.txt", "/.txt"]),
        ("[ab].txt", ["a.txt"], ["c.txt"]),
        ("[!ab].txt", ["c.txt"], ["a.txt"]),
        ("[].txt", ["[].txt"], ["a.txt"]),
        ("a+b(c).{x}", ["a+b(c).{x}"], ["aab(c).{x}"]),
        ("./a.txt", ["a.txt"], ["b.txt"]),
        ("new\nline", ["new\nline"], ["new line"]),
    ],
)
def test_a_glob_matches_as_documented(pattern: str, matches: list[str], differs: list[str]) -> None:
    regex = re.compile(glob_regex(pattern))
    assert [path for path in matches if not regex.fullmatch(path)] == []
    assert [path for path in differs if regex.fullmatch(path)] == []


@given(pattern=st.text("ab/*?[]!^\\-.&~'(){}|", min_size=1, max_size=12))
def test_any_pattern_is_a_regular_expression_or_a_usage_error(re2: Tables, pattern: str) -> None:
    try:
        regex = glob_regex(pattern)
    except UsageError:
        return
    re2.row("SELECT regexp_full_match('a/b', ?)", regex)


@given(path=st.text("ab/*?[]!^\\-.&~'() é", min_size=1, max_size=12).filter(lambda p: not p.startswith(("/", "./"))))
def test_a_path_with_its_magic_in_brackets_matches_itself(path: str) -> None:
    pattern = "".join(f"[{letter}]" if letter in "*?[" else letter for letter in path)
    if path.rstrip("/"):
        assert re.fullmatch(glob_regex(pattern), path.rstrip("/"))


@pytest.mark.parametrize("pattern", ["", "/", "/etc", "//"])
def test_a_pattern_that_cannot_match_is_a_usage_error(pattern: str) -> None:
    with pytest.raises(UsageError, match="matches nothing"):
        glob_regex(pattern)


def test_without_conditions_everything_is_selected(chosen: Callable[..., list[str]]) -> None:
    assert chosen() == PATHS
    assert EVERYTHING.everything
    assert not Selection(paths=()).everything


def test_includes_are_alternatives_and_excludes_take_away(chosen: Callable[..., list[str]]) -> None:
    assert chosen(include=("train/**", "a.txt")) == ["a.txt", "train/a.jpg", "train/deep/b.jpg", "train/deep/c.txt"]
    assert chosen(include=("train/**",), exclude=("*.txt", "train/a*")) == ["train/deep/b.jpg"]
    assert chosen(exclude=("*.jpg", "*.txt")) == ["x'y"]
    assert chosen(include=("x'y",)) == ["x'y"]
    assert chosen(include=("odd [[]1].txt",)) == ["odd [1].txt"]


def test_listed_paths_are_files_or_folders(chosen: Callable[..., list[str]]) -> None:
    assert chosen(paths=("x'y", "train/deep", "b.jpg")) == ["b.jpg", "train/deep/b.jpg", "train/deep/c.txt", "x'y"]


def test_a_listed_path_that_is_not_there_is_an_error(chosen: Callable[..., list[str]]) -> None:
    with pytest.raises(NotFoundError, match=r"no 'train/dee'"):
        chosen(paths=("a.txt", "train/dee"))


def test_where_sees_the_labels_too(chosen: Callable[..., list[str]]) -> None:
    assert chosen(where="split = 'train' AND size >= 300 -- of the larger ones") == [
        "train/deep/b.jpg",
        "train/deep/c.txt",
    ]
    assert chosen(where="size = (SELECT max(size) FROM files)") == ["x'y"]


def test_all_conditions_have_to_hold(chosen: Callable[..., list[str]]) -> None:
    assert chosen(include=("*.jpg",), exclude=("test",), paths=("train", "test"), where="size > 200") == [
        "train/deep/b.jpg"
    ]


def test_a_selection_of_nothing_is_an_error(chosen: Callable[..., list[str]]) -> None:
    with pytest.raises(NotFoundError, match="nothing in the release is selected"):
        chosen(where="size < 0")


@pytest.mark.parametrize(
    "where",
    [
        "",
        "size >",
        "size > 1; SELECT 1",
        "1=1) UNION SELECT 1 --",
        "size > 1 FROM files",
        "size, path",
        "nosuch = 1",
        "path",
        "sum(size) > 1",
        "path IN (SELECT content FROM read_text('/etc/passwd'))",
        "path IN (SELECT * FROM read_csv('/etc/passwd'))",
        "path IN (SELECT * FROM glob('/*'))",
        "path IN (SELECT * FROM 'https://example.com/x.csv')",
        "path IN (INSERT INTO files VALUES (1))",
        "path IN (COPY files TO '/tmp/stolen.csv')",
        "path IN (SELECT getenv('LADING_API_KEY'))",
    ],
)
def test_where_is_one_expression_that_opens_nothing(index: Path, where: str) -> None:
    before = index.read_bytes()
    with pytest.raises(UsageError, match="cannot be evaluated"):
        list(where_ids(index, where))
    assert index.read_bytes() == before


def test_lists_of_paths_may_have_empty_lines_and_dots() -> None:
    assert read_paths(["./a\n", "\n", "b/\r\n", " c\n", "a\n"]) == ("a", "b", " c")
