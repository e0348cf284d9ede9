from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from tasks_releases import File, Folder, Link, Tree, make_release, rows, write_tree

from lading.errors import SourceError, UsageError

TREE: Tree = {"a.txt": File(b"a"), "b.txt": File(b"b"), "sub/c.txt": File(b"c"), "dir": Folder(), "ln": Link("a.txt")}


def labelled(tmp_path: Path, name: str, text: str | bytes, tree: Tree = TREE) -> list[tuple[object, ...]]:
    """files.parquet of a release with these labels, without the columns that every release has but `path`."""
    labels = tmp_path / name
    labels.write_bytes(text.encode() if isinstance(text, str) else text)
    release = make_release(write_tree(tmp_path / "source", tree), tmp_path / "made", labels=labels)
    return rows(release.index.files.path, "* EXCLUDE (file_id, type, target, size, sha256, mode, mtime)")


EXPECTED = [
    ("a.txt", "cat", 1),
    ("b.txt", None, None),
    ("dir", None, None),
    ("ln", None, None),
    ("sub/c.txt", "dog", 2),
]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.csv", "path,label,n\nsub/c.txt,dog,2\na.txt,cat,1\n"),
        ("labels.CSV", "path;label;n\na.txt;cat;1\nsub/c.txt;dog;2\n"),
        ("labels.jsonl", '{"path":"a.txt","label":"cat","n":1}\n{"path":"sub/c.txt","label":"dog","n":2}\n'),
        ("labels.ndjson", '{"n":1,"path":"a.txt","label":"cat"}\n{"path":"sub/c.txt","label":"dog","n":2}'),
    ],
)
def test_labels_join_by_path_and_other_paths_have_nulls(tmp_path: Path, name: str, text: str) -> None:
    found = labelled(tmp_path, name, text)
    assert sorted(sorted(map(str, row)) for row in found) == sorted(sorted(map(str, row)) for row in EXPECTED)


def test_labels_may_come_as_parquet(tmp_path: Path) -> None:
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT 'a.txt' AS path, 'cat' AS label, 1 AS n UNION ALL SELECT 'sub/c.txt', 'dog', 2) "
            f"TO '{tmp_path / 'made-elsewhere.parquet'}'"
        )
    assert labelled(tmp_path, "labels.parquet", (tmp_path / "made-elsewhere.parquet").read_bytes()) == EXPECTED


@pytest.mark.parametrize("names", [["1", "2"], ["1.10", "1.20"], ["2024-01-01", "2024-01-02"], ["true", "false"]])
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_path_that_looks_like_another_type_is_text(tmp_path: Path, names: list[str], kind: str) -> None:
    tree: Tree = {name: File(b"") for name in [*names, "readme.txt"]}
    text = {
        "csv": "path,label\n" + "".join(f"{name},x\n" for name in names),
        "jsonl": "".join(f'{{"path":"{name}","label":"x"}}\n' for name in names),
    }
    found = dict(labelled(tmp_path, f"labels.{kind}", text[kind], tree))
    assert found == {**dict.fromkeys(names, "x"), "readme.txt": None}


def test_column_names_may_hold_any_character(tmp_path: Path) -> None:
    labelled(tmp_path, "labels.csv", 'path,"a ""quoted"" one","select; --"\na.txt,1,2\n')
    columns = [row[0] for row in duckdb.read_parquet(str(tmp_path / "made/work/index/files.parquet")).description]
    assert columns[-2:] == ['a "quoted" one', "select; --"]


def test_labels_without_a_path_column_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no column 'path'") as caught:
        labelled(tmp_path, "labels.csv", "file,label\na.txt,cat\n")
    assert "file, label" in str(caught.value.hint)


def test_a_label_for_an_unknown_path_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"not in the source: 'missing\.txt'"):
        labelled(tmp_path, "labels.csv", "path,label\na.txt,cat\nmissing.txt,dog\n")


def test_two_labels_for_one_path_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"names a path twice: 'a\.txt'"):
        labelled(tmp_path, "labels.csv", "path,label\na.txt,cat\na.txt,dog\nb.txt,dog\n")


@pytest.mark.parametrize("column", ["size", "sha256", "file_id", "Mode"])
def test_a_column_of_the_index_itself_is_refused(tmp_path: Path, column: str) -> None:
    with pytest.raises(SourceError, match=f"columns of the index itself: {column}"):
        labelled(tmp_path, "labels.csv", f"path,{column}\na.txt,1\n")


@pytest.mark.parametrize(
    ("name", "text"),
    [("labels.parquet", "no parquet"), ("labels.jsonl", '{"path":'), ("labels.csv", b"path,label\na.txt,\xff\xfe\n")],
)
def test_a_malformed_labels_file_is_an_error_that_names_it(tmp_path: Path, name: str, text: str | bytes) -> None:
    with pytest.raises(SourceError, match=name):
        labelled(tmp_path, name, text)


def test_a_labels_file_of_unknown_kind_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"labels\.xlsx"):
        labelled(tmp_path, "labels.xlsx", "")


def test_a_missing_labels_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no labels file"):
        make_release(write_tree(tmp_path / "source", TREE), tmp_path / "made", labels=tmp_path / "labels.csv")
