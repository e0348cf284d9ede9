"""`lading verify`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from lading.cli.arguments import folder
from lading.client.verify import verify
from lading.errors import IntegrityError
from lading.paths import printable

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def command(
    dest: Annotated[Path, typer.Argument(metavar="DEST", parser=folder, help="Folder that was pulled to.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")] = False,
) -> None:
    """Read every file that was pulled to DEST and compare it with its hash; needs no network.

    Prints one line for each file that is missing or was changed, and exits with 5 if there is any.
    """
    result = verify(dest)
    name = f"{result.dataset}@{result.version}" if result.dataset else "an unfinished pull"
    if as_json:
        print(json.dumps(result.to_json()))
    else:
        for finding in result.findings:
            print(f"{finding.problem}\t{printable(finding.path)}")
    if result.findings:
        raise IntegrityError(
            f"{dest} is not as it was pulled: {len(result.findings):,} missing or changed",
            f"make them right with: lading pull {name} {dest}" if result.dataset else "pull again",
        )
    part = "" if result.complete else ", a part of it"
    unfinished = "" if result.finished else "; a later pull was interrupted: run it again"
    size = f"{result.files:,} files, {result.bytes / 1e6:,.1f} MB"
    print(f"lading: {dest} holds {name}{part}: {size}, verified{unfinished}", file=sys.stderr)
