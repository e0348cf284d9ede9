"""Issuance events and their export."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import select

from issuer.audit import Issuance
from issuer.database import Database
from issuer.exporter import Exporter, log_key, to_ndjson
from issuer.models import AuditEvent
from lading.errors import StorageError
from lading.objectstore import Bucket, s3_client
from lading.settings import Settings

NOW = datetime(2026, 1, 1, 12, 30, 1, 999_999, tzinfo=UTC)


def test_the_event_has_the_shape_of_the_contract() -> None:
    event = Issuance(ts=NOW, granted=True, code="ok", keys=("cats/a",), ttl=300, user_agent="u" * 999).row().body
    assert list(event) == [
        *("v", "type", "id", "ts", "jti", "sub", "prj", "kid", "dataset", "version", "keys", "ttl_s"),
        *("granted", "code", "reason", "ip", "user_agent"),
    ]
    assert (event["v"], event["type"], event["ts"]) == (1, "issue", "2026-01-01T12:30:01.999Z")
    assert event["keys"] == ["cats/a"]
    assert len(event["user_agent"]) == 256


def test_times_are_written_in_utc() -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=9)))
    assert Issuance(ts=elsewhere, granted=False, code="no_grant").row().body["ts"] == "2026-01-01T12:30:01.999Z"


def test_lines_are_json_whatever_a_client_sends() -> None:
    rows = [Issuance(ts=NOW, granted=False, code="x", user_agent=agent).row() for agent in ('a"\n\x00b', "é\ud800")]
    lines = to_ndjson(rows).split(b"\n")
    assert len(lines) == 3
    assert json.loads(lines[0])["user_agent"] == 'a"\n\x00b'
    assert json.loads(lines[1])["user_agent"].startswith("é")


def test_the_same_events_go_to_the_same_key() -> None:
    hour = NOW.replace(minute=0, second=0, microsecond=0)
    key = log_key(hour, b"{}\n")
    assert key == log_key(hour, b"{}\n")
    assert key != log_key(hour, b"{} \n")
    assert key.startswith("logs/issuer/dt=2026-01-01/hh=12/")
    assert key.endswith(".ndjson.gz")


def test_events_wait_while_the_store_is_down(
    settings: Settings, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    exporter = Exporter(database, Bucket(s3_client(settings), settings.logs_bucket))
    with database.write() as session:
        session.add(Issuance(ts=NOW, granted=True, code="ok").row())
    with pytest.raises(StorageError):
        exporter.flush()
    with caplog.at_level(logging.WARNING):
        exporter.start()
        exporter.stop()
    assert "wait in the database" in caplog.text
    with database.read() as session:
        assert session.scalars(select(AuditEvent.exported_at).where(AuditEvent.type == "issue")).all() == [None]
