"""The DuckDB file that holds the events: opening, schema, and the SQL that is kept in files.

DuckDB takes one writer at a time and locks readers of other processes out meanwhile, so everybody opens it briefly.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import resources
from pathlib import Path

import duckdb

from lading.errors import ConflictError, NotFoundError, UsageError

MEMORY_LIMIT = "1GB"
"""Enough for batches of some million events; DuckDB spills what is above it to disk."""

LOCK_WAIT_SECONDS = 30.0
LOCK_POLL_SECONDS = 0.25


@cache
def sql(name: str) -> str:
    """The text of `analytics/sql/{name}.sql`."""
    return resources.files("analytics").joinpath("sql", f"{name}.sql").read_text("utf-8")


def _migrations() -> list[tuple[int, str]]:
    """(number, SQL) of every schema step, in order."""
    folder = resources.files("analytics").joinpath("sql", "schema")
    steps = [(int(file.name[:4]), file.read_text("utf-8")) for file in folder.iterdir() if file.name.endswith(".sql")]
    return sorted(steps)


@contextmanager
def open_store(
    path: Path, *, read_only: bool = False, lock_wait: float = LOCK_WAIT_SECONDS
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the analytics database, and create or upgrade it unless `read_only`.

    Waits up to `lock_wait` seconds for another process that has it open. Raises NotFoundError if it is to be read and
    not there, ConflictError if it stays locked, UsageError if it is no such database or a newer Lading wrote it.
    """
    if read_only and not path.exists():
        raise NotFoundError(f"there is no analytics database {path}", "load logs first")
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = _connect(path, read_only, lock_wait)
    try:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET preserve_insertion_order = true")
        _upgrade(connection, path, read_only)
        connection.execute(sql("views"))
        yield connection
    finally:
        connection.close()


def _connect(path: Path, read_only: bool, lock_wait: float) -> duckdb.DuckDBPyConnection:
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": MEMORY_LIMIT,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    deadline = time.monotonic() + lock_wait
    while True:
        try:
            return duckdb.connect(path, read_only=read_only, config=config)
        except duckdb.IOException as error:
            if "lock" not in str(error).lower():
                raise UsageError(f"{path} cannot be opened as a DuckDB database ({_first_line(error)})") from error
            if time.monotonic() >= deadline:
                raise ConflictError(
                    f"the analytics database {path} is in use by another process", "try again when it is done"
                ) from error
            time.sleep(LOCK_POLL_SECONDS)


def _upgrade(connection: duckdb.DuckDBPyConnection, path: Path, read_only: bool) -> None:
    """Bring the schema to the newest version, one transaction per step."""
    migrations = _migrations()
    known = connection.execute(
        "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'schema_versions' AND NOT temporary"
    ).fetchone()
    current = 0
    if known and known[0]:
        row = connection.execute("SELECT coalesce(max(version), 0) FROM schema_versions").fetchone()
        current = int(row[0]) if row else 0
    newest = migrations[-1][0]
    if current > newest:
        raise UsageError(
            f"{path} has schema {current}, and this Lading knows {newest}", "upgrade Lading, or use another file"
        )
    if current == newest:
        return
    if read_only:
        raise UsageError(f"{path} has schema {current}, and {newest} is needed", "load logs once to upgrade it")
    for number, text in migrations:
        if number <= current:
            continue
        connection.execute("BEGIN")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_versions (version INTEGER PRIMARY KEY, applied_at TIMESTAMPTZ)"
        )
        connection.execute(text)
        connection.execute("INSERT INTO schema_versions VALUES (?, now())", [number])
        connection.execute("COMMIT")


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
