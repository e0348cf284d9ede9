"""The weekly report: all figures of a period, read from the database and priced.

`analytics.page` shows them, `analytics.files` writes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import duckdb

from analytics.cost import CostLine, cost_lines, egress_cost, request_cost, storage_cost
from analytics.periods import Period
from analytics.prices import Prices
from analytics.usage import (
    UNKNOWN,
    DataQuality,
    Interrupted,
    Issued,
    PeriodUsage,
    Refused,
    RefusedOnDay,
    Usage,
)


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a table: traffic of a group and its cost in US dollars. `folded`: the sum of all further groups."""

    usage: Usage
    cost: Decimal
    stored_bytes: int | None = None
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """All figures of a period. Money is in US dollars at list prices; rows are ordered by bytes, most first."""

    period: Period
    generated_at: datetime
    prices: Prices
    total: Usage
    previous: Usage
    lines: tuple[CostLine, ...]
    cost: Decimal
    s3_cost: Decimal
    cloudfront_cost: Decimal
    datasets: tuple[Row, ...]
    versions: tuple[Row, ...]
    users: tuple[Row, ...]
    projects: tuple[Row, ...]
    details: tuple[Row, ...]
    days: tuple[Usage, ...]
    hours: tuple[Usage, ...]
    days_by_dataset: tuple[Usage, ...]
    caches: tuple[Usage, ...]
    clients: tuple[Usage, ...]
    refused: tuple[Refused, ...]
    refused_by_day: tuple[RefusedOnDay, ...]
    issued: tuple[Issued, ...]
    interrupted: tuple[Interrupted, ...]
    time_to_first_byte: tuple[float, float] | None
    quality: DataQuality
    unattributed: Usage

    @property
    def complete(self) -> bool:
        """Whether the period was over when the report was made."""
        return self.generated_at >= self.period.end


def build_report(
    connection: duckdb.DuckDBPyConnection,
    period: Period,
    prices: Prices,
    *,
    stored_bytes: Mapping[str, int] | None = None,
    now: datetime | None = None,
) -> Report:
    """Read and price everything that the report shows; the connection may be read-only.

    `stored_bytes` is what each dataset keeps in the object store; without it the cost has no storage. `now` (UTC)
    is the time of making: of a period that is not over, only the days until then are priced.
    """
    generated_at = now or datetime.now(UTC)
    days = period.elapsed_days(generated_at)
    previous = PeriodUsage(connection, period.before()).total()
    usage = PeriodUsage(connection, period)
    total = usage.total()
    lines = cost_lines(
        prices,
        requests=total.requests,
        origin_requests=total.origin_requests,
        bytes_sent=total.bytes_sent,
        stored_bytes=None if stored_bytes is None else sum(stored_bytes.values()),
        days=days,
    )
    details = usage.by("dataset_version_user")

    def priced(rows: Iterable[Usage]) -> tuple[Row, ...]:
        return tuple(Row(row, delivery_cost(prices, row)) for row in rows)

    return Report(
        period=period,
        generated_at=generated_at,
        prices=prices,
        total=total,
        previous=previous,
        lines=tuple(lines),
        cost=sum((line.amount for line in lines), Decimal(0)),
        s3_cost=egress_cost(prices.s3.egress_tiers, total.bytes_sent, days),
        cloudfront_cost=egress_cost(prices.cloudfront.egress_tiers, total.bytes_sent, days),
        datasets=_with_storage(priced(usage.by("dataset")), prices, stored_bytes, days),
        versions=priced(usage.by("version")),
        users=priced(usage.by("user")),
        projects=priced(usage.by("project")),
        details=priced(details),
        days=_every(usage.by("day"), [day.isoformat() for day in period.all_days]),
        hours=_every(usage.by("hour"), _hours(period)),
        days_by_dataset=tuple(usage.by("day_dataset")),
        caches=tuple(usage.by("cache")),
        clients=tuple(usage.by("client")),
        refused=tuple(usage.refused()),
        refused_by_day=tuple(usage.refused_by_day()),
        issued=tuple(usage.issued()),
        interrupted=tuple(usage.interrupted()),
        time_to_first_byte=usage.time_to_first_byte(),
        quality=usage.data_quality(),
        unattributed=add_up(row for row in details if row.served and UNKNOWN in row.parts),
    )


def delivery_cost(prices: Prices, usage: Usage) -> Decimal:
    """US dollars for a group's requests, reads of the object store and egress; without storage."""
    egress = Decimal(usage.bytes_sent) / 10**9 * prices.r2.egress_gb
    return request_cost(prices, usage.requests, usage.origin_requests) + egress


def add_up(rows: Iterable[Usage], parts: tuple[str, ...] = ()) -> Usage:
    """The sum of several groups."""
    total = Usage(parts)
    for row in rows:
        total = Usage(
            parts,
            total.requests + row.requests,
            total.bytes_sent + row.bytes_sent,
            total.refused + row.refused,
            total.failed + row.failed,
            total.bodies + row.bodies,
            total.completed + row.completed,
            total.cache_hits + row.cache_hits,
            total.origin_requests + row.origin_requests,
            total.origin_bytes + row.origin_bytes,
        )
    return total


def fold(rows: Sequence[Row], limit: int) -> list[Row]:
    """The first `limit` rows, and one with the sum of the others if there are any."""
    if len(rows) <= limit + 1:
        return list(rows)
    rest = rows[limit:]
    stored = [row.stored_bytes for row in rest if row.stored_bytes is not None]
    summed = Row(
        add_up((row.usage for row in rest), (f"{len(rest):,} others",)),
        sum((row.cost for row in rest), Decimal(0)),
        sum(stored) if stored else None,
        folded=True,
    )
    return [*rows[:limit], summed]


def _with_storage(
    rows: tuple[Row, ...], prices: Prices, stored_bytes: Mapping[str, int] | None, days: float
) -> tuple[Row, ...]:
    """Add each dataset's storage to its row, and rows for datasets that nobody asked for."""
    if stored_bytes is None:
        return rows
    known = {row.usage.name for row in rows}
    idle = tuple(Row(Usage((name,)), Decimal(0)) for name in sorted(stored_bytes) if name not in known)
    return tuple(
        replace(
            row,
            cost=row.cost + storage_cost(prices, stored_bytes.get(row.usage.name, 0), days),
            stored_bytes=stored_bytes.get(row.usage.name, 0),
        )
        for row in rows + idle
    )


def _every(rows: Iterable[Usage], names: Iterable[str]) -> tuple[Usage, ...]:
    """One row per name, in order; an empty one where nothing happened."""
    found = {row.name: row for row in rows}
    return tuple(found.get(name) or Usage((name,)) for name in names)


def _hours(period: Period) -> list[str]:
    count = int((period.end - period.start) / timedelta(hours=1))
    return [(period.start + timedelta(hours=n)).strftime("%Y-%m-%dT%H") for n in range(count)]
