"""`lading logout`."""

from __future__ import annotations

import sys

import typer

from lading.credentials import remove
from lading.settings import Settings

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def command() -> None:
    """Forget the API key that `lading login` kept. The key itself stays valid: its issuer can revoke it."""
    settings = Settings.from_env(kept=False)
    gone = remove(settings.credentials)
    said = f"signed out: {settings.credentials} is removed" if gone else "nobody was signed in"
    print(f"lading: {said}", file=sys.stderr)
