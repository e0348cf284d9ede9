from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from analytics.store import open_store


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """An empty folder for log files."""
    folder = tmp_path / "log-bucket"
    folder.mkdir()
    return folder


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "analytics.duckdb"


@pytest.fixture
def connection(database: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A new analytics database."""
    with open_store(database) as opened:
        yield opened
