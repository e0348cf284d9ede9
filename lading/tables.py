"""The one place that opens DuckDB for Lading's own tables.

Tables pass between steps as Parquet files: they are small next to the data, any step can be run again, and a reader
never meets a writer's lock.
"""

from __future__ import annotations

import atexit
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lading.duck import duckdb

SCHEMA = "tables"
"""Everything is made in here, so that all of it goes at once."""

_idle: list[tuple[tuple[str, int | None], duckdb.DuckDBPyConnection]] = []
"""A database that is empty again, with what it was made for: making one takes as long as ten small queries, and the
steps of a release need one after the other."""


@atexit.register
def _close_idle() -> None:
    """The engine complains about what is left when the interpreter ends."""
    while _idle:
        _idle.pop()[1].close()


class Tables:
    """An in-memory DuckDB that spills to a folder; used as a context manager."""

    def __init__(self, spill: Path | None = None, memory_limit: str = "1GB", threads: int | None = None) -> None:
        self._made_for = (memory_limit, threads)
        self._spill = spill
        self.connection = self._reused() or self._made()
        self.connection.execute(f"CREATE SCHEMA {SCHEMA}; USE {SCHEMA}")

    def _made(self) -> duckdb.DuckDBPyConnection:
        memory_limit, threads = self._made_for
        config: dict[str, Any] = {
            "memory_limit": memory_limit,
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "preserve_insertion_order": "true",
        }
        if self._spill is not None:
            self._spill.mkdir(parents=True, exist_ok=True)
            config["temp_directory"] = str(self._spill)
        if threads is not None:
            config["threads"] = threads
        connection = duckdb.connect(":memory:", config=config)
        connection.execute("SET TimeZone = 'UTC'")
        return connection

    def _reused(self) -> duckdb.DuckDBPyConnection | None:
        """The idle database, if it was made for the same and never spilled: its folder cannot be changed then."""
        try:
            made_for, connection = _idle.pop()
        except IndexError:
            return None
        try:
            if made_for == self._made_for:
                if self._spill is not None:
                    self._spill.mkdir(parents=True, exist_ok=True)
                connection.execute(f"SET temp_directory = {literal(self._spill or '')}")
                return connection
        except duckdb.Error:
            pass
        connection.close()
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # After an error a query may still be running, or a result be held.
        if error is not None or _idle:
            self.connection.close()
            return
        self.connection.execute(f"USE main; DROP SCHEMA {SCHEMA} CASCADE")
        _idle.append((self._made_for, self.connection))

    def run(self, sql: str, *parameters: Any) -> None:
        """Run a statement whose result does not matter."""
        self.connection.execute(sql, parameters or None)

    def row(self, sql: str, *parameters: Any) -> tuple[Any, ...]:
        """The one row of a query that has one."""
        result = self.connection.execute(sql, parameters or None).fetchone()
        assert result is not None, "the query was to give one row"
        return result

    def rows(self, sql: str, *parameters: Any, batch: int = 10_000) -> Iterable[tuple[Any, ...]]:
        """The rows of a query, fetched in batches. Other queries may run between."""
        cursor = self.cursor()
        cursor.execute(sql, parameters or None)
        while rows := cursor.fetchmany(batch):
            yield from rows

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A cursor of its own, that sees the same tables."""
        cursor = self.connection.cursor()
        cursor.execute(f"USE {SCHEMA}")
        return cursor

    def view(self, name: str, parquet: Path) -> None:
        """Name a Parquet file."""
        self.run(f"CREATE OR REPLACE VIEW {name} AS SELECT * FROM read_parquet({literal(parquet)})")

    def load(self, name: str, ndjson: Path, columns: Mapping[str, str], *, torn: bool = False) -> None:
        """Name an NDJSON file with explicit columns (name to SQL type).

        With `torn`, lines that a crash left incomplete become rows of NULLs instead of an error.
        """
        listed = ", ".join(f"{column}: '{kind}'" for column, kind in columns.items())
        self.run(
            f"CREATE OR REPLACE VIEW {name} AS SELECT * FROM "
            f"read_ndjson({literal(ndjson)}, columns = {{{listed}}}, maximum_object_size = 16777216, "
            f"ignore_errors = {str(torn).lower()})"
        )

    def save(self, query: str, parquet: Path) -> int:
        """Write a query's rows to a Parquet file, atomically; returns their number."""
        partial = parquet.with_name(parquet.name + ".partial")
        count = self.row(
            f"COPY ({query}) TO {literal(partial)} (FORMAT parquet, PARQUET_VERSION v2, COMPRESSION zstd)"
        )[0]
        partial.replace(parquet)
        return int(count)


class NdjsonWriter:
    """Writes rows for `Tables.load`; used as a context manager."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8")
        self._encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True).encode

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, row: Mapping[str, Any]) -> None:
        """Add a row; keys are column names."""
        self._file.write(self._encode(row) + "\n")


def literal(value: Path | str) -> str:
    """A string as an SQL literal, for places where DuckDB takes no parameter."""
    return "'" + str(value).replace("'", "''") + "'"


def identifier(name: str) -> str:
    """A column name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
