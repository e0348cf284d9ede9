"""Flow: write the weekly report of traffic, cost and refusals."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from pydantic import Field

import analytics
from analytics.page import headline_markdown
from analytics.periods import WEEK_PATTERN
from flows.load_logs import is_passing
from lading.errors import LadingError, UsageError
from lading.objectstore import Bucket, s3_client
from lading.settings import Settings


@task(
    name="measure-storage", retries=2, retry_delay_seconds=[5, 30], retry_condition_fn=is_passing, cache_policy=NO_CACHE
)
def measure_storage() -> dict[str, int]:
    """Bytes that each dataset keeps in the object store."""
    settings = Settings.from_env()
    return analytics.stored_bytes_by_dataset(Bucket(s3_client(settings), settings.s3_bucket))


# A retry is safe: the database is only read, and a report replaces the earlier one of its period.
@task(
    name="build-report", retries=2, retry_delay_seconds=[10, 60], retry_condition_fn=is_passing, cache_policy=NO_CACHE
)
def write_period_report(
    database: Path,
    output_dir: Path,
    period: analytics.Period,
    prices: Path | None,
    stored_bytes: dict[str, int] | None,
) -> tuple[analytics.WrittenReport, str]:
    """Build and write the report; returns where, and its headline as Markdown."""
    with analytics.open_store(database, read_only=True) as connection:
        report = analytics.build_report(connection, period, analytics.Prices.load(prices), stored_bytes=stored_bytes)
    return analytics.write_report(report, output_dir), headline_markdown(report)


@flow(name="weekly-report", persist_result=False)
def weekly_report(
    week: Annotated[str, Field(pattern=WEEK_PATTERN)] = "last",
    first_day: date | None = None,
    last_day: date | None = None,
    database: Path | None = None,
    output_dir: Path | None = None,
    prices: Path | None = None,
    with_storage: bool = True,
) -> str:
    """Write an HTML page and its JSON about one week: bytes, requests, cost and refused requests.

    Reads what `load_logs` has loaded. Without access to the object store, the report leaves storage out. Returns the
    path of the HTML page.

    Args:
        week: ISO week in UTC, such as 2026-W47; 'last' is the last complete one, 'current' the one that runs.
        first_day: First UTC day of another period than a week; needs the last day, too.
        last_day: Last UTC day of that period, included.
        database: DuckDB file to read; by default analytics.duckdb in LADING_HOME.
        output_dir: Folder for reports; by default reports in LADING_HOME.
        prices: Price list (TOML) to use instead of the one that comes with Lading.
        with_storage: Measure what each dataset keeps in the object store, and price it.
    """
    if (first_day is None) != (last_day is None):
        raise UsageError("only one of first_day and last_day is given", "give both, or a week")
    if first_day is not None and last_day is not None:
        period = analytics.Period.days(first_day, last_day)
    else:
        period = analytics.Period.week(week)
    home = Settings.from_env().home
    stored_bytes: dict[str, int] | None = None
    if with_storage:
        try:
            stored_bytes = measure_storage()
        except LadingError as error:
            get_run_logger().warning("The report has no storage: %s", error)
    written, headline = write_period_report(
        database or home / "analytics.duckdb", output_dir or home / "reports", period, prices, stored_bytes
    )
    create_markdown_artifact(key="weekly-report", markdown=headline, description=f"Delivery report {period.name}")
    create_link_artifact(
        key="weekly-report-page", link=written.html.absolute().as_uri(), link_text=f"Delivery report {period.name}"
    )
    return str(written.html)
