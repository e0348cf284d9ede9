"""`lading release`."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from lading.cli.arguments import folder
from lading.settings import Settings
from tasks.preflight import ReleaseRequest, check_release

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def command(
    source: Annotated[Path, typer.Argument(metavar="SRC", parser=folder, help="Folder that holds the files.")],
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="Name of the dataset.")],
    version: Annotated[str, typer.Option(help="Name of the new version, for example a date.")],
    labels: Annotated[Path | None, typer.Option(help="CSV, JSONL or Parquet file with labels by path.")] = None,
    card: Annotated[Path | None, typer.Option(help="TOML file with title, licence and sources.")] = None,
    full: Annotated[bool, typer.Option("--full", help="Store everything afresh instead of a delta.")] = False,
    rehash: Annotated[bool, typer.Option("--rehash", help="Read every file, whatever the hash cache says.")] = False,
    level: Annotated[int, typer.Option(min=1, max=22, help="zstd level.")] = 3,
    smoke: Annotated[bool, typer.Option(help="Test through the gateway before promoting.")] = True,
    promote: Annotated[bool, typer.Option(help="Make it the latest version.")] = True,
    patches: Annotated[
        bool, typer.Option("--patches", help="Make patches against the parent, for quick updates.")
    ] = False,
    lookup: Annotated[bool, typer.Option(help="Let the gateway serve single files.")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be stored, and store nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Release SRC as a new version of DATASET: only what is new is stored."""
    # Starting Prefect takes seconds: what can be refused is refused before.
    request: dict[str, Any] = {
        "source": str(source),
        "dataset": dataset,
        "version": version,
        "labels": str(labels) if labels else None,
        "card": str(card) if card else None,
    }
    settings = Settings.from_env()
    checked = check_release(settings, **request, smoke=smoke and not dry_run)
    # Prefect would log a traceback for what is one line to the user; it reads this when it is imported.
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    if dry_run:
        _dry_run(settings, checked, full=full, rehash=rehash, level=level, as_json=as_json)
        return
    from flows.cli.progress import shown
    from flows.cli.server import prefect_server

    with shown(quiet=quiet), prefect_server(settings):
        from flows.release import release

        result = release(
            **request,
            full=full,
            rehash=rehash,
            level=level,
            smoke=smoke,
            promote=promote,
            patches=patches,
            lookup=lookup,
        )
    for warning in result["warnings"]:
        print(f"lading: warning: {warning}", file=sys.stderr)
    if as_json:
        print(json.dumps(result))
    else:
        print(summary(result), file=sys.stderr)


def _dry_run(
    settings: Settings, request: ReleaseRequest, *, full: bool, rehash: bool, level: int, as_json: bool
) -> None:
    from analytics.prices import Prices
    from lading.parameters import Compression
    from tasks.dry_run import dry_run

    result = dry_run(settings, request, full=full, rehash=rehash, compression=Compression(level=level))
    for warning in result.warnings:
        print(f"lading: warning: {warning}", file=sys.stderr)
    prices = Prices.load()
    month = float(prices.r2.storage_gb_month) * result.stored_bytes / 1e9
    plan = result.plan
    if as_json:
        document = {**asdict(result), "storage_usd_month": month, "prices_as_of": prices.as_of}
        print(json.dumps(document))
        return
    against = f" against {result.parent}" if result.parent else ""
    rows = [
        ("files", f"{plan.files:,}, {plan.bytes / 1e6:,.1f} MB"),
        ("changes" + against, f"{plan.added:,} added, {plan.modified:,} modified, {plan.removed:,} removed"),
        ("chunks", f"{plan.chunks:,}, of which {plan.new_chunks:,} to store"),
        ("bytes to store", f"{plan.new_bytes / 1e6:,.1f} MB, in {plan.shards:,} {plan.kind} shards"),
        ("upload", f"about {result.upload_bytes / 1e6:,.1f} MB"),
        ("storage", f"about {result.stored_bytes / 1e6:,.1f} MB, ${month:,.4f} a month (list price, {prices.as_of})"),
    ]
    if plan.compacted_bytes:
        rows.insert(4, ("of which compaction", f"{plan.compacted_bytes / 1e6:,.1f} MB"))
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:<{width}}  {value}")


def summary(result: dict[str, Any]) -> str:
    """The result in one line."""
    totals, delta = result["totals"], result["delta"]
    seconds = sum(step["seconds"] for step in result["steps"])
    against = f" against {delta['from']}" if delta["from"] else ""
    return (
        f"{result['dataset']}@{result['version']}: {totals['files']:,} files, {totals['bytes'] / 1e6:,.1f} MB; "
        f"added {delta['added']:,}, modified {delta['modified']:,}, removed {delta['removed']:,}{against}; "
        f"uploaded {result['uploaded_bytes'] / 1e6:,.1f} MB in {seconds:.1f} s"
    )
