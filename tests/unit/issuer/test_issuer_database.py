from __future__ import annotations

import stat
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, select, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import IntegrityError, StatementError
from sqlalchemy.schema import CreateIndex, CreateTable

import issuer.migrations
from issuer.audit import Issuance
from issuer.database import Database
from issuer.models import AuditEvent, Base, Grant, SigningKey, User
from lading.errors import LadingError, UsageError

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def empty(tmp_path: Path) -> Database:
    return Database(f"sqlite:///{tmp_path / 'deep' / 'issuer.db'}")


def test_head_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(issuer.migrations.__file__).parent))
    assert ScriptDirectory.from_config(config).get_current_head() == issuer.migrations.HEAD


def test_migrations_make_what_the_models_say_and_undo_it(empty: Database) -> None:
    empty.migrate()
    with empty.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
        names = {item["name"] for item in inspect(connection).get_indexes("audit_events")}
        assert "ix_audit_events_outbox" in names
    empty.migrate("base")
    with empty.engine.connect() as connection:
        assert inspect(connection).get_table_names() == ["alembic_version"]
    empty.migrate()
    empty.require_current()


def test_the_tables_compile_for_postgresql() -> None:
    dialect = postgresql.dialect()
    for table in Base.metadata.sorted_tables:
        assert str(CreateTable(table).compile(dialect=dialect))
        for index in table.indexes:
            assert str(CreateIndex(index).compile(dialect=dialect))


def test_an_empty_database_is_a_clear_error(empty: Database) -> None:
    with pytest.raises(UsageError, match=r"is empty.*bootstrap"):
        empty.require_current()


def test_only_its_owner_may_read_the_database(empty: Database, tmp_path: Path) -> None:
    assert stat.S_IMODE((tmp_path / "deep" / "issuer.db").stat().st_mode) == 0o600


@pytest.mark.parametrize("url", ["nonsense", "oracle+nodriver://x/y"])
def test_a_url_that_is_none_is_a_clear_error(url: str) -> None:
    with pytest.raises(UsageError, match="LADING_DATABASE_URL"):
        Database(url)


def test_a_file_that_is_no_database_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(LadingError, match="cannot be opened"):
        Database(f"sqlite:///{tmp_path / 'x.db'}").revision()


def test_times_come_back_aware_and_naive_ones_are_refused(database: Database) -> None:
    with database.write() as session:
        session.add(User(name="ann", created_at=NOW))
    with database.read() as session:
        assert session.scalars(select(User.created_at)).one() == NOW
    with pytest.raises(StatementError, match="without a zone"), database.write() as session:
        session.add(User(name="bob", created_at=NOW.replace(tzinfo=None)))


def test_constraints_hold(database: Database) -> None:
    with database.write() as session:
        session.add(User(name="ann", created_at=NOW))
    bad = [
        User(name="ann", created_at=NOW),
        Grant(user_id=999, dataset="cats", project_id=1, created_at=NOW),
        Grant(user_id=1, dataset="cats", project_id=999, created_at=NOW),
        SigningKey(kid="k", algorithm="none", sealed=b"", public_x="", created_at=NOW, activates_at=NOW),
    ]
    for row in bad:
        with pytest.raises(IntegrityError), database.write() as session:
            session.add(row)
    with database.write() as session:
        session.add(Grant(user_id=1, dataset="cats", project_id=1, created_at=NOW))
    with pytest.raises(IntegrityError), database.write() as session:
        session.add(Grant(user_id=1, dataset="cats", project_id=1, created_at=NOW))


def test_deleting_a_user_takes_their_grants_along(database: Database) -> None:
    with database.write() as session:
        session.add(User(name="ann", created_at=NOW))
        session.flush()
        session.add(Grant(user_id=1, dataset="cats", project_id=1, created_at=NOW))
    with database.write() as session:
        session.execute(text("DELETE FROM users"))
    with database.read() as session:
        assert session.scalars(select(Grant)).all() == []


def test_writers_wait_for_each_other(database: Database) -> None:
    def write_many() -> None:
        for _ in range(25):
            with database.write() as session:
                session.scalars(select(User)).all()  # reads first, as admin acts do
                session.add(Issuance(ts=NOW, granted=True, code="ok").row())

    threads = [threading.Thread(target=write_many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as session:
        assert len(session.scalars(select(AuditEvent).where(AuditEvent.type == "issue")).all()) == 100
