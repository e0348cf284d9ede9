"""`lading report`."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from analytics.files import report_json, write_report
from analytics.load import LoadResult, load_logs
from analytics.periods import Period
from analytics.prices import Prices
from analytics.report import build_report
from analytics.sources import DirectoryLogSource, LogSource, S3LogSource
from analytics.storage import stored_bytes_by_dataset
from analytics.store import open_store
from lading.errors import LadingError, UsageError
from lading.objectstore import Bucket, s3_client
from lading.settings import Settings

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def command(
    week: Annotated[
        str | None, typer.Option(help="ISO week in UTC: 'current' (the default), 'last' or a week like 2026-W47.")
    ] = None,
    first: Annotated[
        datetime | None,
        typer.Option("--from", formats=["%Y-%m-%d"], help="First UTC day of another period; needs --to."),
    ] = None,
    last: Annotated[
        datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="Last UTC day of that period, included.")
    ] = None,
    logs: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Load log files below DIR instead of the log bucket.")
    ] = None,
    load: Annotated[bool, typer.Option("--load/--no-load", help="Load new logs first.")] = True,
    storage: Annotated[
        bool | None,
        typer.Option("--storage/--no-storage", help="Price what is stored now; by default unless --logs is given."),
    ] = None,
    prices: Annotated[Path | None, typer.Option(metavar="FILE", help="Price list to use instead of Lading's.")] = None,
    database: Annotated[
        Path | None, typer.Option(metavar="FILE", help="DuckDB file; LADING_HOME/analytics.duckdb by default.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for reports; LADING_HOME/reports by default.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the figures as JSON instead of the page's path.")
    ] = False,
) -> None:
    """Load new logs and write an HTML page about bytes, requests, cost and refused requests; prints its path."""
    settings = Settings.from_env()
    period = _period(week, first, last)
    price_list = Prices.load(prices)
    file = database or settings.home / "analytics.duckdb"
    if load:
        source: LogSource = (
            DirectoryLogSource(logs) if logs else S3LogSource(Bucket(s3_client(settings), settings.logs_bucket))
        )
        with open_store(file) as connection:
            _say(summary(load_logs(connection, source)))
    stored = _stored(settings) if (logs is None if storage is None else storage) else None
    with open_store(file, read_only=True) as connection:
        report = build_report(connection, period, price_list, stored_bytes=stored)
    written = write_report(report, out or settings.home / "reports")
    print(json.dumps(report_json(report), ensure_ascii=False) if as_json else written.html)


def summary(result: LoadResult) -> str:
    """The outcome of a load in one line."""
    parts = [f"loaded {result.events:,} events from {result.objects:,} new log objects"]
    if result.duplicates:
        parts.append(f"dropped {result.duplicates:,} duplicates")
    if result.bad_lines:
        parts.append(f"put {result.bad_lines:,} bad lines aside")
    return ", ".join(parts)


def _period(week: str | None, first: datetime | None, last: datetime | None) -> Period:
    if first is None and last is None:
        return Period.week(week or "current")
    if first is None or last is None or week is not None:
        raise UsageError("--from and --to go together, and without --week", "give a week, or both days")
    return Period.days(first.date(), last.date())


def _stored(settings: Settings) -> dict[str, int] | None:
    try:
        return stored_bytes_by_dataset(Bucket(s3_client(settings), settings.s3_bucket))
    except LadingError as error:
        _say(f"the report has no storage: {error}")
        return None


def _say(message: str) -> None:
    print(f"lading: {message}", file=sys.stderr)
