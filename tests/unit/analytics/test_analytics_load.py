from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import duckdb
import pytest
from analytics_events import SHARD, issue, ndjson, request, write_log

from analytics.load import FIELDS, LoadResult, batches, load_logs
from analytics.sources import DirectoryLogSource, LogObject
from analytics.store import sql


def load(connection: duckdb.DuckDBPyConnection, logs: Path, **options: Any) -> LoadResult:
    return load_logs(connection, DirectoryLogSource(logs), **options)


def rows(connection: duckdb.DuckDBPyConnection, query: str) -> list[tuple[Any, ...]]:
    return connection.execute(query).fetchall()


def test_events_of_both_producers_are_loaded(connection: duckdb.DuckDBPyConnection, logs: Path) -> None:
    write_log(logs, "a", [request(), request()])
    write_log(logs, "b", [issue(keys=["imagenet-mini/latest.json"])], producer="issuer")
    result = load(connection, logs)
    assert (result.objects, result.events, result.duplicates, result.bad_lines) == (2, 3, 0, 0)
    assert result.stored_bytes > 0
    assert result.text_bytes > result.stored_bytes
    assert rows(connection, "SELECT count(*), sum(bytes_sent) FROM events") == [(2, 2000)]
    assert rows(connection, "SELECT jti, version, granted, keys FROM issue_events") == [
        ("j1", "v1", True, '["imagenet-mini/latest.json"]')
    ]


def test_every_field_arrives_with_its_value(connection: duckdb.DuckDBPyConnection, logs: Path) -> None:
    event = request(id="one")
    write_log(logs, "a", [event])
    load(connection, logs)
    cursor = connection.execute("SELECT * EXCLUDE (ts, key_version), epoch_ms(ts) AS ts FROM events")
    stored = dict(zip([column[0] for column in cursor.description or []], cursor.fetchone() or (), strict=True))
    assert stored == {k: v for k, v in event.items() if k != "type"} | {"ts": 1795003200000}


def test_loading_again_changes_nothing(connection: duckdb.DuckDBPyConnection, logs: Path) -> None:
    write_log(logs, "a", [request(), "bad"])
    load(connection, logs)
    assert load(connection, logs) == LoadResult(skipped=1)
    assert rows(connection, "SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM bad_lines)") == [(1, 1)]


@pytest.mark.parametrize("batch_objects", [1, 10])
def test_event_delivered_in_two_objects_counts_once(
    connection: duckdb.DuckDBPyConnection, logs: Path, batch_objects: int
) -> None:
    twice = request()
    write_log(logs, "a", [twice, request()])
    write_log(logs, "b", [twice, twice, request()])
    result = load(connection, logs, batch_objects=batch_objects)
    assert (result.events, result.duplicates) == (3, 2)
    assert rows(connection, "SELECT count(*), count(DISTINCT id) FROM events") == [(3, 3)]
    assert rows(connection, "SELECT sum(events), sum(duplicates) FROM loaded_objects") == [(3, 2)]


def test_request_and_issue_event_may_share_an_id(connection: duckdb.DuckDBPyConnection, logs: Path) -> None:
    write_log(logs, "a", [request(id="same"), issue(id="same")])
    assert load(connection, logs).events == 2


def test_changed_object_is_loaded_again_without_its_known_events(
    connection: duckdb.DuckDBPyConnection, logs: Path
) -> None:
    first = request()
    path = write_log(logs, "a", [first])
    path.write_bytes(gzip.compress(ndjson([first]))[:-12])
    assert load(connection, logs).bad_lines == 1
    write_log(logs, "a", [first, request()])
    load(connection, logs)
    assert rows(connection, "SELECT count(*) FROM events") == [(2,)]
    assert rows(connection, "SELECT count(*) FROM bad_lines") == [(0,)]
    assert rows(connection, "SELECT events, bad_lines FROM loaded_objects") == [(2, 0)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not JSON"),
        ("[1]", "not a JSON object"),
        ("null", "not a JSON object"),
        ('{"id":"x"}', "no type"),
        (json.dumps(request(type="audit")), "unknown type"),
        (json.dumps(request(id=None)), "no id"),
        (json.dumps(request(id="")), "no id"),
        (json.dumps(request(ts="yesterday")), "no valid ts"),
        (json.dumps(request(ts="infinity")), "no valid ts"),
        (json.dumps(request(status=None)), "no status"),
        (json.dumps(request(status="abc")), "wrong value in status"),
        (json.dumps(request(bytes_sent=-1)), "wrong value in bytes_sent"),
        (json.dumps(request(bytes_sent=10**30)), "wrong value in bytes_sent"),
        (json.dumps(request(completed="maybe")), "wrong value in completed"),
        (json.dumps(request()) + "trailing", "not JSON"),
        ('{"id":"raw\x01control"}', "not JSON"),
    ],
)
def test_bad_line_is_kept_aside_with_its_reason(
    connection: duckdb.DuckDBPyConnection, logs: Path, line: str, reason: str
) -> None:
    write_log(logs, "a", [request(), line, request()])
    result = load(connection, logs)
    assert (result.events, result.bad_lines) == (2, 1)
    assert rows(connection, "SELECT reason, key FROM bad_lines") == [
        (reason, "logs/gateway/dt=2026-11-18/hh=12/a.ndjson.gz")
    ]
    [(kept,)] = rows(connection, "SELECT line FROM bad_lines")
    assert kept == line.replace("\x01", "\x03")


def test_missing_and_foreign_fields_are_tolerated(connection: duckdb.DuckDBPyConnection, logs: Path) -> None:
    minimal = {"type": "request", "id": "m", "ts": "2026-11-18T12:00:00Z", "status": 200, "new_field": {"a": [1]}}
    write_log(logs, "a", [minimal, {"type": "issue", "id": "n", "ts": "2026-11-18T12:00:00Z"}])
    result = load(connection, logs)
    assert (result.events, result.bad_lines) == (2, 0)
    assert rows(connection, "SELECT bytes_sent, completed, dataset, version FROM request_facts") == [
        (0, False, "unknown", "unknown")
    ]


def test_whole_lines_of_a_truncated_object_are_loaded(connection: duckdb.DuckDBPyConnection, logs: Path) -> None:
    path = write_log(logs, "a", [request(id=f"t{n}") for n in range(500)])
    path.write_bytes(path.read_bytes()[:-200])
    result = load(connection, logs)
    assert 0 < result.events < 500
    assert result.bad_lines == 1
    assert rows(connection, "SELECT reason FROM bad_lines") == [("truncated gzip object",)]


def test_failure_leaves_nothing_half_loaded(
    connection: duckdb.DuckDBPyConnection, logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_log(logs, "a", [request()])
    broken = "SELECT error('power cut'), $source, $loaded_at"
    monkeypatch.setattr("analytics.load.sql", lambda name: broken if name == "insert_loaded_objects" else sql(name))
    with pytest.raises(duckdb.Error, match="power cut"):
        load(connection, logs)
    assert rows(connection, "SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM loaded_objects)") == [(0, 0)]
    monkeypatch.undo()
    assert load(connection, logs).events == 1


def test_object_that_vanished_after_listing_is_left_out(connection: duckdb.DuckDBPyConnection, logs: Path) -> None:
    class Vanishing(DirectoryLogSource):
        def read(self, item: LogObject) -> bytes | None:
            (logs / item.key).unlink()
            return super().read(item)

    write_log(logs, "a", [request()])
    assert load_logs(connection, Vanishing(logs)) == LoadResult()
    assert rows(connection, "SELECT count(*) FROM loaded_objects") == [(0,)]


@pytest.mark.parametrize(
    ("key", "version"),
    [
        ("imagenet-mini/releases/2026-01-01/manifest.json", "2026-01-01"),
        (SHARD, None),
        ("imagenet-mini/latest.json", None),
        ("../releases/v1/x", None),
        (None, None),
    ],
)
def test_version_is_taken_from_release_keys(
    connection: duckdb.DuckDBPyConnection, logs: Path, key: str | None, version: str | None
) -> None:
    write_log(logs, "a", [request(key=key)])
    load(connection, logs)
    assert rows(connection, "SELECT key_version FROM events") == [(version,)]


def test_shard_request_counts_for_the_version_of_its_token(connection: duckdb.DuckDBPyConnection, logs: Path) -> None:
    write_log(
        logs,
        "a",
        [
            request(id="1", jti="j1"),
            request(id="2", jti="j2"),
            request(id="3", jti="never seen"),
            request(id="4", jti="j1", dataset="another"),
            request(id="5", jti="j1", key="imagenet-mini/releases/v9/manifest.json"),
            request(id="6", jti=None, dataset=None, sub=None, prj=None),
            request(id="7", jti="j3"),
        ],
    )
    write_log(
        logs,
        "b",
        [issue(), issue(jti="j2", version="v2"), issue(jti="j3", granted=False, version="v3"), issue(jti=None)],
        producer="issuer",
    )
    load(connection, logs)
    assert rows(connection, "SELECT count(*) FROM request_facts") == [(7,)]
    assert sorted(rows(connection, 'SELECT dataset, version, "user" FROM request_facts')) == [
        ("another", "unknown", "ada"),
        ("imagenet-mini", "unknown", "ada"),
        ("imagenet-mini", "unknown", "ada"),
        ("imagenet-mini", "v1", "ada"),
        ("imagenet-mini", "v2", "ada"),
        ("imagenet-mini", "v9", "ada"),
        ("unknown", "unknown", "unknown"),
    ]


def test_batches_keep_both_limits_and_lose_nothing() -> None:
    items = [LogObject(str(n), "e", size) for n, size in enumerate([5, 5, 20, 1, 1, 1])]
    cut = list(batches(items, max_bytes=10, max_objects=2))
    assert [[item.size for item in batch] for batch in cut] == [[5, 5], [20], [1, 1], [1]]


def test_parsing_reads_every_known_field() -> None:
    text = sql("parse_lines")
    assert [name for name in FIELDS if f"t.{name} " not in text and f't."{name}" ' not in text] == []
