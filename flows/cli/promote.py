"""`lading promote`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from lading.names import check_dataset, check_version
from lading.objectstore import bucket
from lading.settings import Settings
from tasks.publish import promote

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def command(
    dataset: Annotated[str, typer.Argument(metavar="DATASET")],
    version: Annotated[str, typer.Argument(metavar="VERSION")],
) -> None:
    """Make VERSION the dataset's latest; also the way back to an older one."""
    changed = promote(bucket(Settings.from_env()), check_dataset(dataset), check_version(version))
    state = "is the latest now" if changed else "was the latest already"
    print(f"lading: {dataset}@{version} {state}", file=sys.stderr)
