"""`lading yank`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from lading.errors import UsageError
from lading.names import check_dataset, check_version
from lading.objectstore import bucket
from lading.settings import Settings
from tasks.yank import offer_again, yank

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def command(
    dataset: Annotated[str, typer.Argument(metavar="DATASET")],
    version: Annotated[str, typer.Argument(metavar="VERSION")],
    undo: Annotated[bool, typer.Option("--undo", help="Offer the release again.")] = False,
    reason: Annotated[str | None, typer.Option(help="Why, for those who meet the mark.")] = None,
) -> None:
    """Keep VERSION but no longer offer it: whoever names it still gets it."""
    if undo and reason:
        raise UsageError("--reason says why a release is yanked, and --undo offers it again", "give one of them")
    check_dataset(dataset), check_version(version)
    store = bucket(Settings.from_env())
    if undo:
        state = "is offered again" if offer_again(store, dataset, version) else "was not yanked"
    else:
        state = "is yanked now" if yank(store, dataset, version, reason) else "was yanked already"
    print(f"lading: {dataset}@{version} {state}", file=sys.stderr)
