"""The weekly report as a page: self-contained HTML, and the headline as Markdown.

Whatever comes from a log is untrusted text: the template escapes it, and the page forbids itself scripts and any
outside resource.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import jinja2
from markupsafe import Markup

from analytics import charts, codes, formats
from analytics.periods import Period
from analytics.report import Report, Row, fold

TABLE_ROWS = 20
"""Rows of a table on the page; the rest is folded into one row."""

BAR_ROWS = 8
HOURLY_DAYS = 14
"""Up to this many days, the page shows requests by hour; beyond it by day."""

_OTHER_COLOR = charts.MAX_SERIES - 1
_OUTCOME_COLORS = {"served": 0, "refused": 1, "failed": 3}
_GROUP_COLORS = {"access": 1, "limits": 4, "request": 2, "failure": 3, "test": 5}


def render_html(report: Report) -> str:
    """The page, as one file without scripts or outside resources."""
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            total=report.total,
            title=_title(report.period),
            range_text=_range_text(report.period),
            tiles=_tiles(report) if report.total.requests else [],
            figures=_figures(report) if report.total.requests else [],
            tables=[
                ("datasets", "Datasets", ("Dataset",), fold(report.datasets, TABLE_ROWS)),
                ("versions", "Versions", ("Dataset", "Version"), fold(report.versions, TABLE_ROWS)),
                ("users", "Users", ("User",), fold(report.users, TABLE_ROWS)),
                ("projects", "Projects", ("Project",), fold(report.projects, TABLE_ROWS)),
            ],
            details=fold(report.details, 2 * TABLE_ROWS),
            refused=[(one, codes.gateway_meaning(one.code, one.status)) for one in report.refused[:TABLE_ROWS]],
            not_issued=[(one, codes.issuer_meaning(one.code)) for one in report.issued if not one.granted][:TABLE_ROWS],
            tokens_issued=sum(one.requests for one in report.issued if one.granted),
            clients=report.clients[:10],
            group_titles=codes.GROUP_TITLES,
        )
    )


def headline_markdown(report: Report) -> str:
    """The headline figures as Markdown, for places that show no HTML. It holds no text from a log."""
    rows = [
        f"| {tile.label} | {tile.value} | {' · '.join(filter(None, (tile.note, tile.change)))} |"
        for tile in _tiles(report)
    ]
    lines = [f"## {_title(report.period)}", "", f"{_range_text(report.period)}.", ""]
    if not report.total.requests:
        return "\n".join([*lines, "No requests in this period.", ""])
    return "\n".join([*lines, "| | | |", "|---|---|---|", *rows, ""])


@dataclass(frozen=True, slots=True)
class Tile:
    """A headline figure; `change` compares it with the period before."""

    label: str
    value: str
    note: str
    change: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart with its heading and legend, pairs of a CSS class and a name."""

    heading: str
    note: str
    svg: Markup
    legend: tuple[tuple[str, str], ...] = ()
    wide: bool = False


def _tiles(report: Report) -> list[Tile]:
    total, previous = report.total, report.previous
    groups = _refused_groups(report)
    refused_note = ", ".join(
        f"{formats.format_count(count)} {codes.GROUP_TITLES[group].lower()}"
        for group, count in groups.items()
        if count and group != "failure"
    )
    ratio = report.s3_cost / report.cost if report.cost else Decimal(0)
    s3_note = f"CloudFront {formats.format_usd(report.cloudfront_cost)}; egress alone"
    if ratio >= 2:
        s3_note = f"{ratio:,.0f} times as much; CloudFront {formats.format_usd(report.cloudfront_cost)}"
    has_storage = any(line.item == "Storage" for line in report.lines)
    return [
        Tile(
            "Bytes delivered",
            formats.format_bytes(total.bytes_sent),
            f"{formats.format_share(total.cache_hits, total.bodies)} of transfers from cache",
            _change(total.bytes_sent, previous.bytes_sent),
        ),
        Tile(
            "Requests",
            formats.format_count(total.requests),
            f"{formats.format_share(total.served, total.requests)} served",
            _change(total.requests, previous.requests),
        ),
        Tile(
            "Refused requests",
            formats.format_count(total.refused),
            refused_note or "none",
            _change(total.refused, previous.refused),
        ),
        Tile(
            "Completed transfers",
            formats.format_share(total.completed, total.bodies),
            f"{formats.format_count(total.interrupted)} interrupted, {formats.format_count(total.failed)} failed",
        ),
        Tile(
            "Estimated cost",
            formats.format_usd(report.cost),
            "list prices, " + ("storage included" if has_storage else "without storage"),
        ),
        Tile("Same traffic from S3", formats.format_usd(report.s3_cost), s3_note),
    ]


def _figures(report: Report) -> list[Figure]:
    return [
        _bytes_figure(report),
        _requests_figure(report),
        _refused_figure(report),
        _cost_figure(report),
        _bars_figure("version-bytes", "Bytes by version", report.versions),
        _bars_figure("user-bytes", "Bytes by user", report.users),
        _refused_users_figure(report),
    ]


def _bytes_figure(report: Report) -> Figure:
    days = [day.isoformat() for day in report.period.all_days]
    names = [row.usage.name for row in report.datasets if row.usage.bytes_sent]
    top = names if len(names) <= charts.MAX_SERIES - 1 else names[: charts.MAX_SERIES - 1]
    values: dict[str, dict[str, int]] = {name: dict.fromkeys(days, 0) for name in top}
    others = dict.fromkeys(days, 0)
    for usage in report.days_by_dataset:
        day, dataset = usage.parts
        values.get(dataset, others)[day] += usage.bytes_sent
    series = [
        charts.Series(name, list(per_day.values()), color) for color, (name, per_day) in enumerate(values.items())
    ]
    if any(others.values()):
        series.append(charts.Series(f"{len(names) - len(top)} others", list(others.values()), _OTHER_COLOR))
    busiest = max(report.days, key=lambda day: day.bytes_sent)
    svg = charts.stacked_columns(
        "bytes-by-day",
        "Bytes delivered by day and dataset",
        f"{formats.format_bytes(report.total.bytes_sent)} in all; most on {busiest.name} with "
        f"{formats.format_bytes(busiest.bytes_sent)}.",
        _day_labels(report.period),
        series,
        formats.format_bytes,
        tooltips=days,
    )
    return Figure("Bytes delivered by day", "UTC days, by dataset", Markup(svg), _legend(series), wide=True)  # noqa: S704 - serialized XML


def _requests_figure(report: Report) -> Figure:
    hourly = len(report.days) <= HOURLY_DAYS
    slots = report.hours if hourly else report.days
    if hourly:
        day_labels = _day_labels(report.period)
        labels = [day_labels[n // 24] if n % 24 == 12 else "" for n in range(len(slots))]
    else:
        labels = _day_labels(report.period)
    series = [
        charts.Series("served", [slot.served for slot in slots], _OUTCOME_COLORS["served"]),
        charts.Series("refused", [slot.refused for slot in slots], _OUTCOME_COLORS["refused"]),
        charts.Series("failed", [slot.failed for slot in slots], _OUTCOME_COLORS["failed"]),
    ]
    unit = "hour" if hourly else "day"
    busiest = max(slots, key=lambda slot: slot.requests)
    svg = charts.stacked_columns(
        "requests",
        f"Requests by {unit} and outcome",
        f"{formats.format_count(report.total.requests)} requests in all; most in {busiest.name} (UTC) with "
        f"{formats.format_count(busiest.requests)}.",
        labels,
        series,
        formats.format_count,
        tooltips=[slot.name + (":00" if hourly else "") for slot in slots],
        whole_numbers=True,
    )
    return Figure(f"Requests by {unit}", "UTC, by outcome", Markup(svg), _legend(series), wide=True)  # noqa: S704 - serialized XML


def _refused_figure(report: Report) -> Figure:
    days = [day.isoformat() for day in report.period.all_days]
    values = {group: dict.fromkeys(days, 0) for group in codes.GROUPS}
    for one in report.refused_by_day:
        values[codes.gateway_meaning(one.code, one.status).group][one.day] += one.requests
    series = [
        charts.Series(codes.GROUP_TITLES[group].lower(), list(per_day.values()), _GROUP_COLORS[group])
        for group, per_day in values.items()
        if any(per_day.values())
    ]
    count = sum(one.requests for one in report.refused)
    svg = charts.stacked_columns(
        "refused-by-day",
        "Refused and failed requests by day",
        f"{formats.format_count(count)} requests were refused or failed.",
        _day_labels(report.period),
        series,
        formats.format_count,
        tooltips=days,
        whole_numbers=True,
    )
    return Figure("Refused and failed requests by day", "UTC days, by kind", Markup(svg), _legend(series), wide=True)  # noqa: S704 - serialized XML


def _cost_figure(report: Report) -> Figure:
    rows = sorted(report.datasets, key=lambda row: row.cost, reverse=True)
    bars = [charts.Bar(row.usage.name, float(row.cost), row.folded) for row in fold(rows, BAR_ROWS)]
    svg = charts.horizontal_bars(
        "cost", "Estimated cost by dataset", "US dollars at list prices.", bars, formats.format_usd
    )
    return Figure("Estimated cost by dataset", "US dollars at list prices", Markup(svg))  # noqa: S704 - serialized XML


def _bars_figure(chart_id: str, heading: str, rows: Sequence[Row]) -> Figure:
    bars = [charts.Bar(" @ ".join(row.usage.parts), row.usage.bytes_sent, row.folded) for row in fold(rows, BAR_ROWS)]
    svg = charts.horizontal_bars(chart_id, heading, "Bytes delivered, most first.", bars, formats.format_bytes)
    return Figure(heading, "bytes delivered", Markup(svg))  # noqa: S704 - serialized XML


def _refused_users_figure(report: Report) -> Figure:
    rows = sorted((row for row in report.users if row.usage.refused), key=lambda row: row.usage.refused, reverse=True)
    bars = [charts.Bar(row.usage.name, row.usage.refused, row.folded) for row in fold(rows, BAR_ROWS)]
    svg = charts.horizontal_bars(
        "user-refused", "Refused requests by user", "Number of requests, most first.", bars, formats.format_count
    )
    return Figure("Refused requests by user", "requests; unknown: no valid token", Markup(svg))  # noqa: S704 - serialized XML


def _legend(series: Sequence[charts.Series]) -> tuple[tuple[str, str], ...]:
    return tuple((f"s{one.color}", formats.clean_label(one.name)) for one in series)


def _refused_groups(report: Report) -> dict[str, int]:
    groups = dict.fromkeys(codes.GROUPS, 0)
    for one in report.refused:
        groups[codes.gateway_meaning(one.code, one.status).group] += one.requests
    return groups


def _day_labels(period: Period) -> list[str]:
    days = period.all_days
    style = "%a %-d %b" if len(days) <= HOURLY_DAYS else "%-d %b"
    return [day.strftime(style) for day in days]


def _title(period: Period) -> str:
    if "-W" in period.name:
        year, week = period.name.split("-W")
        return f"Delivery report, week {int(week)} of {year}"
    return "Delivery report"


def _range_text(period: Period) -> str:
    first, last = period.first_day, period.last_day
    return f"{first:%a} {first.day} {first:%B %Y} to {last:%a} {last.day} {last:%B %Y}, UTC"


def _change(now: int, before: int) -> str:
    if before == 0:
        return ""
    percent = 100 * (now - before) / before
    if abs(percent) < 0.5:
        return "as in the period before"
    if percent > 1000:
        return f"{now / before:,.0f} times the period before"
    return f"{'▲' if percent > 0 else '▼'} {abs(percent):.0f} % on the period before"


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("analytics", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "bytes": formats.format_bytes,
        "count": formats.format_count,
        "usd": formats.format_usd,
        "label": formats.clean_label,
    }
    environment.globals |= {"share": formats.format_share}
    return environment
