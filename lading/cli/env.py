"""`lading env`."""

from __future__ import annotations

import json
import shlex
from typing import Annotated

import typer

from lading.settings import Settings
from lading.stack.config import recall

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def command(
    export: Annotated[bool, typer.Option("--export", help="Print 'export KEY=VALUE' lines for a shell.")] = False,
    admin: Annotated[bool, typer.Option("--admin", help="Add what 'lading admin' needs: the issuer's secret.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Print the settings of the local stack as KEY=VALUE lines. They hold secrets of that stack."""
    config = recall(Settings.from_env())
    environment = config.issuer_environment() if admin else config.environment()
    if as_json:
        print(json.dumps(environment))
        return
    for name, value in environment.items():
        print(f"export {name}={shlex.quote(value)}" if export else f"{name}={value}")
