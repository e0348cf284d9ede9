from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lading.tables import NdjsonWriter, Tables, identifier, literal


@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
@settings(max_examples=50, deadline=None)
def test_any_text_survives_as_literal_and_any_name_as_identifier(text: str) -> None:
    with duckdb.connect() as connection:
        result = connection.execute(f"SELECT {literal(text)} AS {identifier(text)}")
        assert [column[0] for column in result.description] == [text]
        assert result.fetchall() == [(text,)]


@pytest.mark.parametrize("name", ["plain", "with space", "quo'te", "star*", "[set]", "what?", "back\\slash", "日本"])
def test_tables_work_in_folders_of_any_name(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    with Tables(spill=folder / "spill") as tables:
        with NdjsonWriter(folder / "rows.ndjson") as rows:
            rows.write({"path": "a'\n\u2028é", "size": 2**40})
        tables.load("given", folder / "rows.ndjson", {"path": "VARCHAR", "size": "BIGINT"})
        assert tables.save("SELECT * FROM given", folder / "rows.parquet") == 1
        tables.view("saved", folder / "rows.parquet")
        assert tables.row("SELECT path, size FROM saved") == ("a'\n\u2028é", 2**40)
    assert not list(folder.glob("*.partial"))


def test_a_table_may_have_no_rows(tmp_path: Path) -> None:
    with Tables() as tables:
        NdjsonWriter(tmp_path / "rows").__exit__(None, None, None)
        tables.load("given", tmp_path / "rows", {"path": "VARCHAR"})
        assert list(tables.rows("SELECT * FROM given")) == []


def test_a_failed_save_leaves_the_old_table(tmp_path: Path) -> None:
    with Tables() as tables:
        tables.save("SELECT 1 AS a", tmp_path / "t.parquet")
        with pytest.raises(duckdb.Error):
            tables.save("SELECT error('broken') AS a", tmp_path / "t.parquet")
        tables.view("t", tmp_path / "t.parquet")
        assert tables.row("SELECT a FROM t") == (1,)


def test_rows_may_be_read_while_other_queries_run() -> None:
    with Tables() as tables:
        seen = []
        for (number,) in tables.rows("SELECT * FROM range(25)", batch=10):
            seen.append(number + tables.row("SELECT 100")[0])
        assert seen == list(range(100, 125))


def test_torn_lines_become_nulls_only_where_allowed(tmp_path: Path) -> None:
    (tmp_path / "rows").write_text('{"a":1}\n{"a":2')
    with Tables() as tables:
        tables.load("torn", tmp_path / "rows", {"a": "BIGINT"}, torn=True)
        assert list(tables.rows("SELECT a FROM torn WHERE a IS NOT NULL")) == [(1,)]
        with pytest.raises(duckdb.Error):
            tables.load("strict", tmp_path / "rows", {"a": "BIGINT"})
