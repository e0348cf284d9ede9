"""The issuer's database: engine, transactions, schema version. SQLite by default, PostgreSQL by URL."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from issuer.migrations import HEAD
from lading.errors import LadingError, UsageError

_SQLITE_BUSY_SECONDS = 10
_WRITES = "lading_writes"


class Database:
    """Transactions over one engine; thread-safe. Reads and writes are told apart because SQLite has one writer."""

    def __init__(self, url: str) -> None:
        self.engine = _engine(url)
        self._writer = self.engine.execution_options(**{_WRITES: True})

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session for reading."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session in a transaction that is committed at the end, and rolled back by an exception."""
        with Session(self._writer, expire_on_commit=False) as session, session.begin():
            yield session

    def revision(self) -> str | None:
        """Revision of the schema, or None for an empty database. Raises LadingError if there is no connection."""
        try:
            with self.engine.connect() as connection:
                if not inspect(connection).has_table("alembic_version"):
                    return None
                return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
        except DBAPIError as error:
            raise LadingError(
                f"the issuer's database cannot be opened: {error.orig}", "check LADING_DATABASE_URL"
            ) from error

    def require_current(self) -> None:
        """Raise UsageError unless the schema is the one that this code needs."""
        revision = self.revision()
        if revision != HEAD:
            found = f"is at schema {revision}" if revision else "is empty"
            raise UsageError(
                f"the issuer's database {found}, but schema {HEAD} is needed", "run 'python -m issuer bootstrap'"
            )

    def migrate(self, revision: str = "head") -> None:
        """Bring the schema to a revision; `head` is the newest, `base` drops everything."""
        if revision == "head" and self.revision() == HEAD:
            return
        # Alembic is slow to import and a current schema does not need it.
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        with self._writer.begin() as connection:
            config.attributes["connection"] = connection
            (command.downgrade if revision == "base" else command.upgrade)(config, revision)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            return _sqlite(parsed.database, url)
        return create_engine(url, pool_pre_ping=True, pool_size=10, max_overflow=30)
    except ModuleNotFoundError as error:
        package = "psycopg[binary]" if error.name == "psycopg" else error.name
        raise UsageError(
            f"the driver {error.name!r} for LADING_DATABASE_URL is not installed", f"run \"pip install '{package}'\""
        ) from error
    except (ArgumentError, NoSuchModuleError) as error:
        raise UsageError(
            "LADING_DATABASE_URL is no database URL",
            "give sqlite:///PATH or postgresql+psycopg://USER:PASSWORD@HOST/NAME",
        ) from error


def _sqlite(path: str | None, url: str) -> Engine:
    if path and path != ":memory:":
        _create_private(Path(path))
    engine = create_engine(url, connect_args={"timeout": _SQLITE_BUSY_SECONDS})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _create_private(path: Path) -> None:
    """Make an empty database file that only its owner reads; SQLite gives its WAL the same mode."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    except OSError as error:
        raise UsageError(
            f"the issuer's database {path} cannot be made: {error.strerror}", "check LADING_DATABASE_URL"
        ) from error


def _prepare_sqlite(connection: Any, _entry: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # transactions are begun below, not by the driver's own rules
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # an audit trail survives a power cut
    connection.execute("PRAGMA foreign_keys = ON")


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later can fail at once, without any wait, when another one wrote in
    # between; taking the write lock at the start waits for it instead.
    writes = connection.get_execution_options().get(_WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
