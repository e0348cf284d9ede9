"""`lading diff`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from lading.cli.progress import print_line
from lading.client.diff import Diff
from lading.names import parse_reference
from lading.paths import printable
from lading.settings import Settings

app = typer.Typer(add_completion=False, rich_markup_mode=None)

SIGNS = {"added": "+", "modified": "M", "removed": "-", "moved": "R"}


@app.command()
def command(
    old: Annotated[str, typer.Argument(metavar="DATASET@OLD", help="The release to compare with.")],
    new: Annotated[str, typer.Argument(metavar="[DATASET@]NEW", help="The newer release; DATASET may be left out.")],
    summary: Annotated[bool, typer.Option("--summary", help="Print the sums only.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Say what changed between two releases: + added, M modified, - removed, R moved."""
    if "@" not in new:
        new = f"{parse_reference(old)[0]}@{new}"
    with Diff(old, new, Settings.from_env(), print_line) as diff:
        totals = diff.totals()
        if as_json:
            changes = [] if summary else [asdict(change) for change in diff.changes()]
            print(json.dumps({**asdict(totals), "changes": changes}))
            return
        if not summary:
            for change in diff.changes():
                moved = f"{change.source} -> " if change.source else ""
                print(f"{SIGNS[change.kind]} {printable(moved + change.path)}")
    print(
        f"{totals.added:,} added, {totals.modified:,} modified, {totals.removed:,} removed, {totals.moved:,} moved, "
        f"{totals.unchanged:,} unchanged; an update has {totals.new_bytes / 1e6:,.1f} MB of new chunks, "
        f"{totals.fetch_bytes / 1e6:,.1f} MB to fetch",
        file=sys.stderr,
    )
