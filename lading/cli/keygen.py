"""`lading keygen`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lading.errors import ConflictError
from lading.signing import generate_key, public_jwk, thumbprint

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def command(path: Annotated[Path, typer.Argument(help="File for the private key; it must not exist.")]) -> None:
    """Make an Ed25519 key that signs manifests, and print its key id."""
    try:
        key = generate_key(path)
    except FileExistsError:
        raise ConflictError(f"{path} exists", "give another path: a key is never overwritten") from None
    print(thumbprint(public_jwk(key.public_key())))
