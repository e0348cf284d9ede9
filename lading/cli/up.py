"""`lading up`."""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer

from lading.settings import Settings
from lading.stack.config import GATEWAY_PORT, ISSUER_PORT, prepare
from lading.stack.supervisor import Stack

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def command(
    gateway_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of gateway and store; 0: any.")
    ] = GATEWAY_PORT,
    issuer_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the issuer; 0: any.")] = ISSUER_PORT,
) -> None:
    """Run gateway, object store and issuer on this machine until Ctrl-C; they keep their state in LADING_HOME."""
    signal.signal(signal.SIGTERM, _stop)
    try:
        config = prepare(Settings.from_env(), gateway_port, issuer_port)
        with Stack(config, note=lambda message: print(f"lading: {message}", file=sys.stderr, flush=True)) as stack:
            print(f"lading: state and logs are in {config.home}", file=sys.stderr)
            print(
                'lading: in another shell: eval "$(lading env --export)"; Ctrl-C ends it', file=sys.stderr, flush=True
            )
            stack.watch()
    except KeyboardInterrupt:
        print("lading: stopped", file=sys.stderr)


def _stop(*_: object) -> None:
    """SIGTERM ends the stack as Ctrl-C does."""
    raise KeyboardInterrupt
