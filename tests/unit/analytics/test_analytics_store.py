from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from analytics.store import open_store
from lading.errors import ConflictError, NotFoundError, UsageError


def test_opening_twice_keeps_what_is_there(database: Path) -> None:
    with open_store(database) as connection:
        connection.execute("INSERT INTO bad_lines VALUES ('s', 'k', 'r', 'l', now())")
    with open_store(database) as connection:
        assert connection.execute("SELECT count(*) FROM bad_lines").fetchone() == (1,)
        assert connection.execute("SELECT version FROM schema_versions").fetchall() == [(1,)]


def test_reading_what_is_not_there_is_an_error(database: Path) -> None:
    with pytest.raises(NotFoundError), open_store(database, read_only=True):
        pass
    assert not database.exists()


def test_newer_schema_is_refused(database: Path) -> None:
    with open_store(database) as connection:
        connection.execute("INSERT INTO schema_versions VALUES (999, now())")
    with pytest.raises(UsageError, match="schema 999"), open_store(database):
        pass


def test_file_that_is_no_database_is_refused(database: Path) -> None:
    database.write_text("not a database " * 1000)
    with pytest.raises(UsageError), open_store(database):
        pass


def test_database_in_use_by_another_process_is_a_clear_error(database: Path) -> None:
    with open_store(database):
        pass
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(ConflictError, match="in use"), open_store(database, lock_wait=0.5):
            pass
        other.communicate(b"")
    with open_store(database):
        pass


def test_extensions_are_never_fetched(connection: duckdb.DuckDBPyConnection) -> None:
    settings = dict(
        connection.execute(
            "SELECT name, value FROM duckdb_settings() WHERE name LIKE 'auto%extensions' OR name = 'TimeZone'"
        ).fetchall()
    )
    assert settings == {
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "TimeZone": "UTC",
    }
