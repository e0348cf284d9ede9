"""Traffic, cost and refusals of the gateway, from its own request logs, in one DuckDB file.

How the modules build on each other (each imports only those above it):

    periods, formats, codes, prices   plain values: time ranges, display, meaning of codes, price list
    store                             the DuckDB file: schema, migrations, views
    sources, staging                  where log objects come from, and how one becomes clean lines
    load                              log objects -> tables, exactly once
    usage, cost, storage              figures of a period, and what they cost
    charts, report                    the weekly HTML page and its JSON
    cli                               `lading report`

Nothing here imports Prefect; `flows.load_logs` and `flows.weekly_report` schedule these functions.
"""

from analytics.files import WrittenReport, write_report
from analytics.load import LoadResult, load_logs
from analytics.periods import Period
from analytics.prices import Prices
from analytics.report import Report, build_report
from analytics.sources import DirectoryLogSource, LogSource, S3LogSource
from analytics.storage import stored_bytes_by_dataset
from analytics.store import open_store

__all__ = [
    "DirectoryLogSource",
    "LoadResult",
    "LogSource",
    "Period",
    "Prices",
    "Report",
    "S3LogSource",
    "WrittenReport",
    "build_report",
    "load_logs",
    "open_store",
    "stored_bytes_by_dataset",
    "write_report",
]
