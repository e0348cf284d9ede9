from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import duckdb
import pytest
from analytics_events import issue, refused, request, write_log

from analytics.codes import GATEWAY_CODES, GROUPS, gateway_meaning, issuer_meaning
from analytics.files import report_json, write_report
from analytics.load import load_logs
from analytics.page import headline_markdown, render_html
from analytics.periods import Period
from analytics.prices import Prices
from analytics.report import Report, Row, build_report, fold
from analytics.sources import DirectoryLogSource
from analytics.usage import Usage

WEEK = Period.week("2026-W47")
AFTER = datetime(2026, 11, 23, 6, tzinfo=UTC)


def report_of(
    connection: duckdb.DuckDBPyConnection,
    logs: Path,
    events: list[Any],
    issued: list[Any] | None = None,
    **options: Any,
) -> Report:
    write_log(logs, "a", events)
    write_log(logs, "b", [issue()] if issued is None else issued, producer="issuer")
    load_logs(connection, DirectoryLogSource(logs))
    return build_report(connection, WEEK, Prices.load(), **{"now": AFTER} | options)


class TextOf(HTMLParser):
    """The text that a reader sees, and the elements that are there."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._hidden = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._hidden += tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag == "style"

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.text += data


def test_figures_are_summed_by_dataset_version_and_user(connection: duckdb.DuckDBPyConnection, logs: Path) -> None:
    report = report_of(
        connection,
        logs,
        [
            request(),
            request(cache="hit", origin_requests=0, origin_bytes=0),
            request(bytes_sent=400, completed=False),
            request(
                dataset="other", key="other/releases/r2/manifest.json", sub="grace", bytes_sent=50, bytes_expected=50
            ),
            request(method="HEAD", bytes_expected=0, bytes_sent=0),
            refused("token_expired", 403),
            refused("origin_error", 502),
        ],
    )
    total = report.total
    assert (total.requests, total.bytes_sent, total.refused, total.failed) == (7, 2450, 1, 1)
    assert (total.bodies, total.completed, total.interrupted, total.cache_hits) == (4, 3, 1, 1)
    assert [(row.usage.parts, row.usage.bytes_sent) for row in report.datasets] == [
        (("imagenet-mini",), 2400),
        (("other",), 50),
    ]
    assert [(row.usage.parts, row.usage.requests) for row in report.versions] == [
        (("imagenet-mini", "v1"), 6),
        (("other", "r2"), 1),
    ]
    assert [(row.usage.name, row.usage.refused) for row in report.users] == [("ada", 1), ("grace", 0)]
    assert [(one.code, one.status, one.requests) for one in report.refused] == [
        ("origin_error", 502, 1),
        ("token_expired", 403, 1),
    ]
    [lost] = report.interrupted
    assert (lost.transfers, lost.missing_bytes, lost.mean_percent) == (1, 600, 40)
    assert report.time_to_first_byte == (3.5, 3.5)
    assert report.unattributed.requests == 0


def test_only_requests_of_the_period_count(connection: duckdb.DuckDBPyConnection, logs: Path) -> None:
    times = ["2026-11-15T23:59:59.999Z", "2026-11-16T00:00:00Z", "2026-11-22T23:59:59.999Z", "2026-11-23T00:00:00Z"]
    report = report_of(connection, logs, [request(ts=ts) for ts in times])
    assert report.total.requests == 2
    assert report.previous.requests == 1
    assert [day.requests for day in report.days] == [1, 0, 0, 0, 0, 0, 1]
    assert len(report.hours) == 168
    assert sum(hour.requests for hour in report.hours) == 2


def test_times_with_an_offset_count_in_utc(connection: duckdb.DuckDBPyConnection, logs: Path) -> None:
    report = report_of(connection, logs, [request(ts="2026-11-16T01:30:00+02:00")])
    assert report.total.requests == 0


def test_cost_of_the_parts_is_the_cost_of_the_whole(connection: duckdb.DuckDBPyConnection, logs: Path) -> None:
    stored = {"imagenet-mini": 10**12, "idle": 10**12}
    report = report_of(connection, logs, [request(), request(sub="grace", dataset="other")], stored_bytes=stored)
    assert report.cost == sum(line.amount for line in report.lines)
    assert sum(row.cost for row in report.datasets) == pytest.approx(report.cost)
    assert {row.usage.name: row.stored_bytes for row in report.datasets} == stored | {"other": 0}
    # Two terabytes for 7 of 30 days at 0.015 dollars per GB, and next to nothing for two requests.
    assert report.cost == pytest.approx(Decimal(7), abs=Decimal("0.001"))
    delivery = Decimal("0.66") * 2 / 10**6
    assert sum(row.cost for row in report.users) == pytest.approx(delivery)
    assert sum(row.cost for row in report.versions) == pytest.approx(delivery)


def test_storage_of_a_running_week_is_priced_until_now(connection: duckdb.DuckDBPyConnection, logs: Path) -> None:
    now = datetime(2026, 11, 17, 12, tzinfo=UTC)
    report = report_of(connection, logs, [], stored_bytes={"a": 2 * 10**12}, now=now)
    assert report.cost == Decimal("1.5")
    assert not report.complete
    assert "not over yet" in TextOf(render_html(report)).text


HOSTILE = '<script>alert("x")</script><img src=x onerror=alert(1)>\u202e\x00'


def test_text_from_logs_is_only_ever_text(connection: duckdb.DuckDBPyConnection, logs: Path) -> None:
    fields = dict.fromkeys(("dataset", "key", "sub", "prj", "cache", "user_agent", "country", "jti"), HOSTILE)
    report = report_of(
        connection,
        logs,
        [request(**fields), request(**fields, bytes_sent=1, completed=False), refused(HOSTILE, 403, **fields), HOSTILE],
        [issue(granted=False, code=HOSTILE, sub=HOSTILE, reason=HOSTILE)],
        stored_bytes={HOSTILE: 1},
    )
    page = TextOf(render_html(report))
    assert {tag for tag, _ in page.tags} & {"script", "img", "iframe", "link", "object", "a"} == set()
    assert [name for _, attributes in page.tags for name in attributes if name.startswith("on")] == []
    assert '<script>alert("x")' in page.text
    assert "\u202e" not in page.text
    json.dumps(report_json(report))


def test_page_needs_nothing_from_outside(connection: duckdb.DuckDBPyConnection, logs: Path) -> None:
    page = render_html(report_of(connection, logs, [request(), refused("token_expired", 403)]))
    outside = re.sub(r'xmlns="http://www\.w3\.org/2000/svg"', "", page)
    assert re.findall(r"https?://|src=|@import|url\(", outside) == []
    assert "default-src 'none'" in page


def test_ids_of_the_page_are_unique_and_references_hold(connection: duckdb.DuckDBPyConnection, logs: Path) -> None:
    page = TextOf(render_html(report_of(connection, logs, [request(), refused("token_expired", 403)])))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    labels = [str(a["aria-labelledby"]) for _, a in page.tags if "aria-labelledby" in a]
    assert labels
    assert {part for label in labels for part in label.split()} <= set(ids)


def test_refusals_are_explained(connection: duckdb.DuckDBPyConnection, logs: Path) -> None:
    report = report_of(
        connection,
        logs,
        [refused("token_expired", 403), refused("rate_limited", 429), refused("invented", 418)],
        [issue(granted=False, code="no_grant", jti=None)],
    )
    text = TextOf(render_html(report)).text
    for expected in ("token_expired", "lifetime was over", "rate_limited", "status 418", "no_grant", "no grant"):
        assert expected in text


def test_refusals_of_a_smoke_test_are_shown_apart_and_count_for_its_user(
    connection: duckdb.DuckDBPyConnection, logs: Path
) -> None:
    nobody = {"sub": None, "prj": None, "jti": None, "kid": None}
    signed = {**nobody, "user_agent": "lading/0.1.0 smoke/j1"}
    report = report_of(
        connection,
        logs,
        [
            *(refused("token_invalid", 403, **signed) for _ in range(2)),
            refused("token_missing", 401, **nobody),
            refused("token_missing", 401, **nobody, user_agent="lading/0.1.0 smoke/guessed"),
            refused("token_missing", 401, **{**signed, "dataset": "another"}),
        ],
    )
    assert {(one.code, one.status): one.requests for one in report.refused} == {
        ("token_missing", 401): 3,
        ("smoke_test", 403): 2,
    }
    assert {row.usage.name: row.usage.refused for row in report.users} == {"ada": 2, "unknown": 3}
    assert "2 smoke tests" in headline_markdown(report)


def test_nobody_hides_more_refusals_behind_a_token_than_a_smoke_test_makes(
    connection: duckdb.DuckDBPyConnection, logs: Path
) -> None:
    report = report_of(
        connection, logs, [refused("token_invalid", 403, user_agent="x smoke/j1", sub=None) for _ in range(100)]
    )
    assert {one.code: one.requests for one in report.refused} == {"token_invalid": 95, "smoke_test": 5}


def test_week_without_requests_says_so(connection: duckdb.DuckDBPyConnection, logs: Path) -> None:
    report = build_report(connection, WEEK, Prices.load(), now=AFTER)
    text = TextOf(render_html(report)).text
    assert "No requests" in text
    assert "load the logs first" in text
    assert "No requests" in headline_markdown(report)
    assert report_json(report)["total"]["requests"] == 0


def test_bad_lines_and_duplicates_are_reported(connection: duckdb.DuckDBPyConnection, logs: Path) -> None:
    twice = request()
    report = report_of(connection, logs, [twice, twice, "no event"])
    assert (report.quality.objects, report.quality.duplicates, report.quality.bad_lines) == (2, 1, 1)
    text = " ".join(TextOf(render_html(report)).text.split())
    assert "1 duplicate events dropped" in text
    assert "1 × not JSON" in text


def test_unattributed_traffic_is_reported(connection: duckdb.DuckDBPyConnection, logs: Path) -> None:
    report = report_of(connection, logs, [request(jti="not in the log")])
    assert (report.unattributed.requests, report.unattributed.bytes_sent) == (1, 1000)


def test_both_files_hold_the_same_figures(connection: duckdb.DuckDBPyConnection, logs: Path, tmp_path: Path) -> None:
    written = write_report(report_of(connection, logs, [request(bytes_sent=123_000_000)]), tmp_path / "reports")
    assert written.html == tmp_path / "reports/2026-W47/report.html"
    figures = json.loads(written.json.read_text("utf-8"))
    assert figures["total"]["bytes_sent"] == 123_000_000
    assert figures["versions"][0]["version"] == "v1"
    assert "123 MB" in written.html.read_text("utf-8")
    assert sorted(path.name for path in written.html.parent.iterdir()) == ["report.html", "report.json"]


def test_report_is_made_from_a_database_opened_for_reading(
    connection: duckdb.DuckDBPyConnection, logs: Path, database: Path
) -> None:
    from analytics.store import open_store

    report_of(connection, logs, [request()])
    connection.close()
    with open_store(database, read_only=True) as reader:
        assert build_report(reader, WEEK, Prices.load(), now=AFTER).total.requests == 1


def test_long_period_and_many_groups_are_folded(connection: duckdb.DuckDBPyConnection, logs: Path) -> None:
    events = [request(sub=f"user{n}", dataset=f"set{n}", bytes_sent=1000 - n) for n in range(100)]
    write_log(logs, "a", events)
    load_logs(connection, DirectoryLogSource(logs))
    period = Period.days(datetime(2026, 1, 1).date(), datetime(2026, 12, 31).date())
    report = build_report(connection, period, Prices.load(), now=AFTER)
    text = TextOf(render_html(report)).text
    assert "80 others" in text
    assert "Requests by day" in text
    assert len(report_json(report)["users"]) == 100


def test_folding_keeps_the_sums() -> None:
    rows = [Row(Usage((str(n),), requests=n, bytes_sent=10 * n), Decimal(n)) for n in range(10)]
    folded = fold(rows, 3)
    assert len(folded) == 4
    assert folded[-1].usage.parts == ("7 others",)
    assert sum(row.usage.requests for row in folded) == 45
    assert sum(row.cost for row in folded) == 45
    assert fold(rows, 9) == rows


def test_every_code_has_a_known_group() -> None:
    assert {meaning.group for meaning in GATEWAY_CODES.values()} <= set(GROUPS)
    assert gateway_meaning("new_code", 503).group == "failure"
    assert gateway_meaning("http_404", 404).text == GATEWAY_CODES["not_found"].text
    assert gateway_meaning("new_code", 429).group == "limits"
    assert issuer_meaning("new_code").group == "access"
