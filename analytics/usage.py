"""The figures of a period, from the events. Times are UTC, sizes are bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import duckdb

from analytics.periods import Period
from analytics.store import sql

UNKNOWN = "unknown"
"""Dataset, version, user or project of a request that says none, such as one that was refused without a token."""

Dimension = Literal[
    "all",
    "day",
    "hour",
    "dataset",
    "version",
    "user",
    "project",
    "cache",
    "client",
    "day_dataset",
    "dataset_version_user",
]

MAX_INTERRUPTED = 10


@dataclass(frozen=True, slots=True)
class Usage:
    """Traffic of one group of requests.

    parts           what the group is, for example (dataset, version)
    requests        all requests
    bytes_sent      bytes of bodies handed to clients
    refused         requests answered with a 4xx status
    failed          requests answered with a 5xx status
    bodies          requests whose answer has a body
    completed       those of `bodies` whose last byte was sent
    cache_hits      those of `bodies` that needed nothing from the object store
    origin_requests requests to the object store
    origin_bytes    bytes read from the object store
    """

    parts: tuple[str, ...] = ()
    requests: int = 0
    bytes_sent: int = 0
    refused: int = 0
    failed: int = 0
    bodies: int = 0
    completed: int = 0
    cache_hits: int = 0
    origin_requests: int = 0
    origin_bytes: int = 0

    @property
    def name(self) -> str:
        return self.parts[0] if self.parts else ""

    @property
    def interrupted(self) -> int:
        return self.bodies - self.completed

    @property
    def served(self) -> int:
        return self.requests - self.refused - self.failed


@dataclass(frozen=True, slots=True)
class Refused:
    """Refused or failed requests with one code and status, and how many users and datasets they concern."""

    code: str
    status: int
    requests: int
    users: int
    datasets: int


@dataclass(frozen=True, slots=True)
class RefusedOnDay:
    """Refused or failed requests of one UTC day ('YYYY-MM-DD')."""

    day: str
    code: str
    status: int
    requests: int


@dataclass(frozen=True, slots=True)
class Issued:
    """Answers of the issuer with one code."""

    granted: bool
    code: str
    requests: int
    users: int


@dataclass(frozen=True, slots=True)
class Interrupted:
    """Transfers that broke off; `mean_percent` is how far they had come on average."""

    dataset: str
    version: str
    user: str
    transfers: int
    missing_bytes: int
    mean_percent: float


@dataclass(frozen=True, slots=True)
class BadLines:
    """Bad lines with one reason: how many, in how many objects, and the key of one of these."""

    reason: str
    lines: int
    objects: int
    example: str


@dataclass(frozen=True, slots=True)
class DataQuality:
    """What loading met: counts of objects, new events, dropped duplicates and bad lines."""

    objects: int
    events: int
    duplicates: int
    bad_lines: int
    reasons: tuple[BadLines, ...]


class PeriodUsage:
    """Queries over the requests of one period. They run on a temporary table that this makes when it is built."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, period: Period) -> None:
        self._connection = connection
        self._range = {"start": period.start.isoformat(), "end": period.end.isoformat()}
        connection.execute(sql("period_requests"), self._range)

    def by(self, dimension: Dimension) -> list[Usage]:
        """One row per group, most bytes first."""
        rows = self._rows("usage_by", {"by": dimension})
        return [Usage(tuple(row[0]), *row[1:]) for row in rows]

    def total(self) -> Usage:
        rows = self.by("all")
        return rows[0] if rows else Usage()

    def refused(self) -> list[Refused]:
        return [Refused(*row) for row in self._rows("refused_requests")]

    def refused_by_day(self) -> list[RefusedOnDay]:
        return [RefusedOnDay(*row) for row in self._rows("refused_by_day")]

    def issued(self) -> list[Issued]:
        return [Issued(*row) for row in self._rows("issued_tokens", self._range)]

    def interrupted(self) -> list[Interrupted]:
        return [Interrupted(*row) for row in self._rows("interrupted_transfers", {"limit": MAX_INTERRUPTED})]

    def time_to_first_byte(self) -> tuple[float, float] | None:
        """Median and 95th percentile in milliseconds, or None if no answer had a body."""
        [(median, p95)] = self._rows("latency")
        return None if median is None else (float(median), float(p95))

    def data_quality(self) -> DataQuality:
        [(objects, events, duplicates, bad_lines)] = self._rows("data_quality", self._range)
        reasons = tuple(BadLines(*row) for row in self._rows("bad_lines_by_reason", self._range))
        return DataQuality(objects, events, duplicates, bad_lines, reasons)

    def _rows(self, name: str, parameters: Mapping[str, str | int] | None = None) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql(name), dict(parameters or {})).fetchall()
