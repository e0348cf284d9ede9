"""`lading release`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from lading.settings import Settings
from tasks.preflight import check_release

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def command(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="Folder that holds the files.")],
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="Name of the dataset.")],
    version: Annotated[str, typer.Option(help="Name of the new version, for example a date.")],
    labels: Annotated[Path | None, typer.Option(help="CSV, JSONL or Parquet file with labels by path.")] = None,
    card: Annotated[Path | None, typer.Option(help="TOML file with title, licence and sources.")] = None,
    full: Annotated[bool, typer.Option("--full", help="Store everything afresh instead of a delta.")] = False,
    rehash: Annotated[bool, typer.Option("--rehash", help="Read every file, whatever the hash cache says.")] = False,
    level: Annotated[int, typer.Option(min=1, max=22, help="zstd level.")] = 3,
    smoke: Annotated[bool, typer.Option(help="Test through the gateway before promoting.")] = True,
    promote: Annotated[bool, typer.Option(help="Make it the latest version.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")] = False,
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
    check_release(Settings.from_env(), **request)
    # Prefect would log a traceback for what is one line to the user; it reads this when it is imported.
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
    from flows.release import release

    result = release(
        **request,
        full=full,
        rehash=rehash,
        level=level,
        smoke=smoke,
        promote=promote,
    )
    if as_json:
        print(json.dumps(result))
    else:
        print(summary(result), file=sys.stderr)


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
