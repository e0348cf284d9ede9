"""Log objects into the database, exactly once.

Logs arrive at least once: an object may be listed again, and an event may come in two objects. So objects are
remembered by key and ETag, and events by id. One batch of objects is one transaction: a crash leaves the batch out as
a whole, and the next run loads it.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from analytics.sources import LogObject, LogSource
from analytics.staging import BadLine, stage_object
from analytics.store import sql

BATCH_BYTES = 64 * 1024 * 1024
"""Stored bytes of one batch; text is about eight times as much on disk while it is loaded."""

BATCH_OBJECTS = 1000
FETCH_THREADS = 8

FIELDS = (
    *("v", "type", "id", "ts", "method", "dataset", "key", "status", "code", "range_start", "range_end"),
    *("object_size", "bytes_expected", "bytes_sent", "completed", "cache", "origin_requests", "origin_bytes"),
    *("origin_status", "ttfb_ms", "duration_ms", "jti", "sub", "prj", "kid", "ip", "country", "colo", "asn"),
    *("user_agent", "version", "keys", "ttl_s", "granted", "reason"),
)
"""Every field of request and issue events; others are ignored."""

_STRUCTURE = json.dumps(dict.fromkeys(FIELDS, "VARCHAR"))


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What one load did.

    objects      objects loaded, without those known already
    skipped      objects that were loaded by an earlier run
    events       new events, of requests and of issued or refused tokens
    duplicates   events dropped because their id was loaded already
    bad_lines    lines and pieces kept aside in the table `bad_lines`
    stored_bytes bytes of the loaded objects as stored, compressed
    text_bytes   bytes of their text
    """

    objects: int = 0
    skipped: int = 0
    events: int = 0
    duplicates: int = 0
    bad_lines: int = 0
    stored_bytes: int = 0
    text_bytes: int = 0

    def __add__(self, other: LoadResult) -> LoadResult:
        return LoadResult(
            objects=self.objects + other.objects,
            skipped=self.skipped + other.skipped,
            events=self.events + other.events,
            duplicates=self.duplicates + other.duplicates,
            bad_lines=self.bad_lines + other.bad_lines,
            stored_bytes=self.stored_bytes + other.stored_bytes,
            text_bytes=self.text_bytes + other.text_bytes,
        )


def load_logs(
    connection: duckdb.DuckDBPyConnection,
    source: LogSource,
    *,
    staging: Path | None = None,
    batch_bytes: int = BATCH_BYTES,
    batch_objects: int = BATCH_OBJECTS,
    now: datetime | None = None,
) -> LoadResult:
    """Load every log object of `source` that is new or has changed, in batches; safe to run again at any time.

    `staging` is the folder in which a temporary folder is made (by default the system's). `now` (UTC) is the time
    noted as the time of loading. Raises what the source raises when it cannot be listed or read; the batches before
    stay loaded.
    """
    loaded_at = now or datetime.now(UTC)
    known = dict(connection.execute("SELECT key, etag FROM loaded_objects WHERE source = ?", [source.name]).fetchall())
    listed = list(source.list())
    fresh = [item for item in listed if known.get(item.key) != item.etag]
    result = LoadResult(skipped=len(listed) - len(fresh))
    for batch in batches(fresh, batch_bytes, batch_objects):
        folder = Path(tempfile.mkdtemp(prefix="lading-logs-", dir=staging))
        try:
            result += _load_batch(connection, source, batch, folder, loaded_at)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return result


def batches(items: Iterable[LogObject], max_bytes: int, max_objects: int) -> Iterator[list[LogObject]]:
    """Cut a listing into runs of at most `max_objects` and `max_bytes`; one object above that is alone."""
    batch: list[LogObject] = []
    size = 0
    for item in items:
        if batch and (len(batch) >= max_objects or size + item.size > max_bytes):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += item.size
    if batch:
        yield batch


@dataclass(frozen=True, slots=True)
class _Staged:
    item: LogObject
    path: Path
    text_bytes: int
    bad_lines: tuple[BadLine, ...]


def _load_batch(
    connection: duckdb.DuckDBPyConnection,
    source: LogSource,
    batch: list[LogObject],
    folder: Path,
    loaded_at: datetime,
) -> LoadResult:
    def fetch(numbered: tuple[int, LogObject]) -> _Staged | None:
        number, item = numbered
        data = source.read(item)
        if data is None:
            return None
        path = folder / f"{number:06}.ndjson"
        staged = stage_object(data, path)
        return _Staged(item, path, staged.text_bytes, staged.bad_lines)

    with ThreadPoolExecutor(FETCH_THREADS) as pool:
        staged = [one for one in pool.map(fetch, enumerate(batch)) if one is not None]
    if not staged:
        return LoadResult()
    connection.execute("BEGIN")
    try:
        _insert(connection, source.name, staged, loaded_at)
        counts = connection.execute(
            "SELECT count(*) FILTER (fault IS NULL), count(*) FILTER (fault IS NOT NULL), "
            "(SELECT count(*) FROM new_events) FROM parsed"
        ).fetchone()
        connection.execute("DROP TABLE parsed")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    good, bad, new = counts or (0, 0, 0)
    return LoadResult(
        objects=len(staged),
        events=new,
        duplicates=good - new,
        bad_lines=bad + sum(len(one.bad_lines) for one in staged),
        stored_bytes=sum(one.item.size for one in staged),
        text_bytes=sum(one.text_bytes for one in staged),
    )


def _insert(
    connection: duckdb.DuckDBPyConnection, source_name: str, staged: list[_Staged], loaded_at: datetime
) -> None:
    """Write everything that the staged files hold; the caller owns the transaction."""
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE staged "
        "(filename VARCHAR, key VARCHAR, etag VARCHAR, size_bytes BIGINT, bad_lines BIGINT)"
    )
    connection.executemany(
        "INSERT INTO staged VALUES (?, ?, ?, ?, ?)",
        [(str(s.path), s.item.key, s.item.etag, s.item.size, len(s.bad_lines)) for s in staged],
    )
    connection.execute(sql("parse_lines"), {"files": [str(one.path) for one in staged], "structure": _STRUCTURE})
    connection.execute(sql("new_events"))
    connection.execute(sql("insert_events"))
    connection.execute(sql("insert_issue_events"))
    connection.execute("DELETE FROM bad_lines WHERE source = ? AND key IN (SELECT key FROM staged)", [source_name])
    moment = {"source": source_name, "loaded_at": loaded_at.isoformat()}
    connection.execute(sql("insert_bad_lines"), moment)
    pieces = [
        (source_name, one.item.key, bad.reason, bad.line, loaded_at.isoformat())
        for one in staged
        for bad in one.bad_lines
    ]
    if pieces:
        connection.executemany("INSERT INTO bad_lines VALUES (?, ?, ?, ?, ?)", pieces)
    connection.execute(sql("insert_loaded_objects"), moment)
