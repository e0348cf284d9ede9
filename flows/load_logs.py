"""Flow: bring new gateway and issuer logs into the analytics database."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

from prefect import State, Task, flow, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun
from pydantic import Field

import analytics
from analytics.formats import format_bytes
from lading.errors import ConflictError, TransferError
from lading.objectstore import Bucket, s3_client
from lading.settings import Settings


def is_passing(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Whether a failure may pass by itself: the store did not answer, or another process has the database open."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, TransferError | ConflictError)


# A retry is safe: what is loaded is known by object and by event, and a batch is loaded as a whole or not at all.
@task(
    name="load-log-objects",
    retries=2,
    retry_delay_seconds=[10, 60],
    retry_condition_fn=is_passing,
    cache_policy=NO_CACHE,
)
def load_log_objects(database: Path, logs_folder: Path | None, since: date | None) -> analytics.LoadResult:
    """Load every new log object of the log bucket, or of `logs_folder` if it is given."""
    source: analytics.LogSource
    if logs_folder is not None:
        source = analytics.DirectoryLogSource(logs_folder)
    else:
        settings = Settings.from_env()
        source = analytics.S3LogSource(Bucket(s3_client(settings), settings.logs_bucket), since=since)
    with analytics.open_store(database) as connection:
        return analytics.load_logs(connection, source)


@flow(name="load-logs", persist_result=False)
def load_logs(
    database: Path | None = None,
    logs_folder: Path | None = None,
    max_age_days: Annotated[int | None, Field(ge=1)] = None,
) -> dict[str, int]:
    """Load new request and token events from the log bucket, each exactly once.

    Safe to run at any time and again: objects and events that are known are left out. Returns the counts of this run.

    Args:
        database: DuckDB file to load into; by default analytics.duckdb in LADING_HOME.
        logs_folder: Folder with log files to load instead of the log bucket.
        max_age_days: Look only at logs of this many UTC days back; by default at all, which lists more.
    """
    since = None if max_age_days is None else datetime.now(UTC).date() - timedelta(days=max_age_days)
    result = load_log_objects(database or Settings.from_env().home / "analytics.duckdb", logs_folder, since)
    create_table_artifact(
        key="load-logs",
        table=[
            {"what": "objects loaded", "count": result.objects},
            {"what": "objects known already", "count": result.skipped},
            {"what": "new events", "count": result.events},
            {"what": "duplicate events dropped", "count": result.duplicates},
            {"what": "bad lines kept aside", "count": result.bad_lines},
        ],
        description=f"{format_bytes(result.stored_bytes)} of logs, {format_bytes(result.text_bytes)} as text",
    )
    return asdict(result)
