"""Ships issuance events to the log bucket.

They go as gzip NDJSON to `logs/issuer/dt=YYYY-MM-DD/hh=HH/<id>.ndjson.gz` (UTC, by the event's time) at least once: the
exporter marks events after the store has taken them, so a store that is down only delays, and readers drop repeats by
`id`.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import threading
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby

from sqlalchemy import select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from issuer.audit import ISSUE
from issuer.clock import utc_now
from issuer.database import Database
from issuer.models import AuditEvent
from lading.errors import ConflictError, LadingError
from lading.objectstore import Bucket

FLUSH_SECONDS = 1.0
FLUSH_ROWS = 500
BATCH_ROWS = 5_000
"""Rows read at a time, about 2 MB."""

MAX_BACKOFF_SECONDS = 30.0
STOP_SECONDS = 15.0
"""How long shutting down waits for the last flush; what is left is shipped after the next start."""

_log = logging.getLogger("issuer.exporter")


def to_ndjson(rows: Iterable[AuditEvent]) -> bytes:
    """One compact JSON object per line."""
    return b"".join(
        json.dumps(row.body, ensure_ascii=False, separators=(",", ":")).encode(errors="replace") + b"\n" for row in rows
    )


def log_key(hour: datetime, lines: bytes) -> str:
    """Key of a log object. It follows from the content, so shipping the same events twice makes one object."""
    return f"logs/issuer/dt={hour:%Y-%m-%d}/hh={hour:%H}/{hashlib.sha256(lines).hexdigest()[:32]}.ndjson.gz"


class Exporter:
    """A thread that ships events to the log bucket every second, or sooner when many wait."""

    def __init__(self, database: Database, bucket: Bucket) -> None:
        self._database = database
        self._bucket = bucket
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._since_flush = 0
        self._thread = threading.Thread(target=self._run, name="audit-exporter", daemon=True)

    def start(self) -> None:
        """Begin shipping."""
        self._thread.start()

    def stop(self) -> None:
        """Ship what waits and end; gives up after STOP_SECONDS."""
        self._stopping.set()
        self._wake.set()
        self._thread.join(STOP_SECONDS)

    def notify(self) -> None:
        """One more event waits. A lost count between threads costs nothing but a moment."""
        self._since_flush += 1
        if self._since_flush >= FLUSH_ROWS:
            self._wake.set()

    def flush(self) -> int:
        """Ship every event that waits; returns their number. Raises LadingError if the store fails."""
        shipped = 0
        while True:
            self._since_flush = 0
            count = self._ship_batch()
            shipped += count
            if count < BATCH_ROWS:
                return shipped

    def _ship_batch(self) -> int:
        with self._database.read() as session:
            rows = list(
                session.scalars(
                    select(AuditEvent)
                    .where(AuditEvent.exported_at.is_(None), AuditEvent.type == ISSUE)
                    .order_by(AuditEvent.seq)
                    .limit(BATCH_ROWS)
                )
            )
        for hour, group in groupby(sorted(rows, key=lambda row: (_hour(row.ts), row.seq)), lambda row: _hour(row.ts)):
            batch = list(group)
            lines = to_ndjson(batch)
            try:
                self._bucket.put_if_absent(log_key(hour, lines), gzip.compress(lines, mtime=0))
            except ConflictError:
                _log.info("%d events were in the log bucket already", len(batch))
            with self._database.write() as session:
                _mark(session, batch)
        return len(rows)

    def _run(self) -> None:
        wait = FLUSH_SECONDS
        while True:
            self._wake.wait(wait)
            self._wake.clear()
            last = self._stopping.is_set()
            try:
                self.flush()
                if wait > FLUSH_SECONDS:
                    _log.warning("the log bucket works again")
                wait = FLUSH_SECONDS
            except (LadingError, SQLAlchemyError) as error:
                wait = min(MAX_BACKOFF_SECONDS, wait * 2)
                _log.warning("issuance events wait in the database, next try in %.0f s: %s", wait, error)
            if last:
                return


def _mark(session: Session, rows: Sequence[AuditEvent]) -> None:
    seqs = [row.seq for row in rows]
    session.execute(update(AuditEvent).where(AuditEvent.seq.in_(seqs)).values(exported_at=utc_now()))


def _hour(ts: datetime) -> datetime:
    return ts.replace(minute=0, second=0, microsecond=0)
