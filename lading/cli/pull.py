"""`lading pull`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from lading.cli.arguments import folder
from lading.cli.progress import reporter
from lading.client.pace import parse_rate
from lading.client.pull import JOBS, PullResult, pull
from lading.client.selection import Selection, read_paths
from lading.errors import UsageError

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def command(
    reference: Annotated[str, typer.Argument(metavar="DATASET[@VERSION]", help="What to pull; the latest by default.")],
    dest: Annotated[Path, typer.Argument(metavar="DEST", parser=folder, help="Folder to bring to that state.")],
    include: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Pull what matches only, such as 'train/**' or '*.jpg'.")
    ] = None,
    exclude: Annotated[list[str] | None, typer.Option(metavar="GLOB", help="Leave out what matches.")] = None,
    files_from: Annotated[
        str | None, typer.Option(metavar="FILE", help="Pull the paths in this file only, one a line; '-' is stdin.")
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(metavar="SQL", help="Pull files that this expression over files.parquet holds for only."),
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", help="Parallel requests.")] = JOBS,
    limit_rate: Annotated[
        str | None, typer.Option(metavar="RATE", help="Bytes per second at most, such as 500k or 2.5M.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that Lading did not write and that differ, too.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")] = False,
) -> None:
    """Bring DEST to the state of a release: resume what was interrupted, reuse what is there, verify every byte.

    With --include, --exclude, --files-from or --where only a part is pulled, and no file of DEST is removed.
    """
    selection = selection_of(include, exclude, files_from, where)
    rate = None if limit_rate is None else parse_rate(limit_rate)
    with reporter(quiet) as progress:
        result = pull(
            reference,
            dest,
            selection=selection,
            jobs=jobs,
            rate_limit=rate,
            overwrite=overwrite,
            progress=progress,
        )
    if as_json:
        print(json.dumps(result.to_json()))
    elif not quiet:
        print(summary(result, dest), file=sys.stderr)


def selection_of(
    include: list[str] | None, exclude: list[str] | None, files_from: str | None, where: str | None
) -> Selection:
    """The selection that options ask for. Raises UsageError."""
    return Selection(tuple(include or ()), tuple(exclude or ()), _listed(files_from), where)


def _listed(files_from: str | None) -> tuple[str, ...] | None:
    """The paths in a file, or on stdin for '-'."""
    if files_from is None:
        return None
    try:
        if files_from == "-":
            return read_paths(sys.stdin)
        with Path(files_from).open(encoding="utf-8") as lines:
            return read_paths(lines)
    except UnicodeDecodeError:
        raise UsageError(f"{files_from} is not UTF-8", "save it as UTF-8, one path a line") from None
    except OSError as error:
        raise UsageError(f"{files_from} cannot be read: {error.strerror}", "check --files-from") from error


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
