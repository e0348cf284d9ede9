"""The weekly report as files: the page, and `report.json` with the same figures."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from analytics.page import render_html
from analytics.report import Report, Row
from analytics.usage import Usage

JSON_SCHEMA = "lading-report/1"
JSON_ROWS = 1000


@dataclass(frozen=True, slots=True)
class WrittenReport:
    """Where a report was written."""

    html: Path
    json: Path


def write_report(report: Report, folder: Path) -> WrittenReport:
    """Write `{folder}/{period}/report.html` and `report.json`; each replaces an earlier one as a whole."""
    target = folder / report.period.name
    target.mkdir(parents=True, exist_ok=True)
    written = WrittenReport(target / "report.html", target / "report.json")
    _replace(written.html, render_html(report))
    _replace(written.json, json.dumps(report_json(report), indent=2, ensure_ascii=False) + "\n")
    return written


def report_json(report: Report) -> dict[str, Any]:
    """The figures as JSON values: bytes and counts are whole numbers, money is US dollars, times are UTC."""

    def row(one: Row, *names: str) -> dict[str, Any]:
        figures = asdict(one.usage)
        parts = figures.pop("parts")
        stored = {} if one.stored_bytes is None else {"stored_bytes": one.stored_bytes}
        return dict(zip(names, parts, strict=True)) | figures | {"cost_usd": _usd(one.cost)} | stored

    def usage(one: Usage, *names: str) -> dict[str, Any]:
        figures = asdict(one)
        return dict(zip(names, figures.pop("parts"), strict=True)) | figures

    return {
        "schema": JSON_SCHEMA,
        "period": {
            "name": report.period.name,
            "start": report.period.start.isoformat(),
            "end": report.period.end.isoformat(),
            "complete": report.complete,
        },
        "generated_at": report.generated_at.isoformat(timespec="seconds"),
        "total": usage(report.total),
        "previous_total": usage(report.previous),
        "cost": {
            "total_usd": _usd(report.cost),
            "s3_egress_usd": _usd(report.s3_cost),
            "cloudfront_egress_usd": _usd(report.cloudfront_cost),
            "prices_as_of": report.prices.as_of,
            "lines": [
                {
                    "item": line.item,
                    "quantity": float(line.quantity),
                    "unit": line.unit,
                    "unit_price_usd": float(line.unit_price),
                    "amount_usd": _usd(line.amount),
                    "source": line.source,
                }
                for line in report.lines
            ],
        },
        "datasets": [row(one, "dataset") for one in report.datasets[:JSON_ROWS]],
        "versions": [row(one, "dataset", "version") for one in report.versions[:JSON_ROWS]],
        "users": [row(one, "user") for one in report.users[:JSON_ROWS]],
        "projects": [row(one, "project") for one in report.projects[:JSON_ROWS]],
        "details": [row(one, "dataset", "version", "user") for one in report.details[:JSON_ROWS]],
        "days": [usage(one, "day") for one in report.days],
        "hours": [usage(one, "hour") for one in report.hours],
        "cache": [usage(one, "cache") for one in report.caches[:JSON_ROWS]],
        "clients": [usage(one, "client") for one in report.clients[:JSON_ROWS]],
        "refused": [asdict(one) for one in report.refused[:JSON_ROWS]],
        "issued": [asdict(one) for one in report.issued[:JSON_ROWS]],
        "interrupted": [asdict(one) for one in report.interrupted],
        "time_to_first_byte_ms": report.time_to_first_byte
        and dict(zip(("median", "p95"), report.time_to_first_byte, strict=True)),
        "data_quality": asdict(report.quality) | {"unattributed": usage(report.unattributed)},
    }


def _usd(amount: Decimal) -> float:
    return round(float(amount), 8)


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(text, "utf-8")
    partial.replace(path)
