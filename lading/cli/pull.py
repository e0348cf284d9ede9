"""`lading pull`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from lading.cli.progress import reporter
from lading.client.pull import JOBS, PullResult, pull

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def command(
    reference: Annotated[str, typer.Argument(metavar="DATASET[@VERSION]", help="What to pull; the latest by default.")],
    dest: Annotated[Path, typer.Argument(metavar="DEST", help="Folder to bring to that state.")],
    jobs: Annotated[int, typer.Option("--jobs", "-j", help="Parallel requests.")] = JOBS,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")] = False,
) -> None:
    """Bring DEST to the state of a release: resume what was interrupted, reuse what is there, verify every byte."""
    with reporter(quiet) as progress:
        result = pull(reference, dest, jobs=jobs, progress=progress)
    if as_json:
        print(json.dumps(result.to_json()))
    elif not quiet:
        print(summary(result, dest), file=sys.stderr)


def summary(result: PullResult, dest: Path) -> str:
    """The result in one line."""
    parts = [
        f"{result.files:,} files",
        f"{result.bytes / 1e6:,.1f} MB",
        f"fetched {result.fetched_bytes / 1e6:,.1f} MB",
    ]
    for name, count in (
        ("already there", result.already_bytes),
        ("resumed", result.resumed_bytes),
        ("copied locally", result.copied_bytes),
    ):
        if count:
            parts.append(f"{name} {count / 1e6:,.1f} MB")
    if result.removed_files:
        parts.append(f"removed {result.removed_files:,} files")
    return f"{result.dataset}@{result.version} -> {dest}: {', '.join(parts)} in {result.seconds:.1f} s, verified"
