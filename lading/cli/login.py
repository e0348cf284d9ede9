"""`lading login`."""

from __future__ import annotations

import getpass
import sys
from dataclasses import replace
from typing import Annotated

import typer

from lading.cli.progress import print_line
from lading.client.catalog import datasets
from lading.credentials import Credentials, store
from lading.errors import AccessError, NotFoundError, TransferError, UsageError
from lading.http import session as http_session
from lading.settings import Settings, checked_url

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def command(
    issuer: Annotated[
        str | None, typer.Option(metavar="URL", help="The token issuer; LADING_ISSUER_URL by default, or asked for.")
    ] = None,
    gateway: Annotated[
        str | None, typer.Option(metavar="URL", help="The gateway, where it is not the one that the issuer names.")
    ] = None,
    stdin: Annotated[bool, typer.Option("--stdin", help="Read the API key from stdin, for scripts.")] = False,
) -> None:
    """Keep an API key for later commands, once the issuer has taken it. Environment variables win over what is kept."""
    settings = Settings.from_env(kept=False)
    url = checked_url("--issuer", issuer) or settings.issuer_url or checked_url("the issuer", _issuer_asked(stdin))
    if url is None:
        raise UsageError("no issuer is named", "give --issuer URL")
    key = _key_asked(stdin)
    elsewhere = settings.issuer_url not in (None, url)
    # A gateway goes with its issuer: that of the environment is another one's then.
    named = checked_url("--gateway", gateway) or (None if elsewhere else settings.gateway_url)
    with http_session() as session:
        try:
            found = datasets(session, replace(settings, issuer_url=url, api_key=key))
        except (AccessError, NotFoundError, TransferError) as error:
            raise type(error)(error.message, "check the key and the issuer's URL; nothing was kept") from None
    store(settings.credentials, Credentials(url, key, named))
    count = f"{len(found):,} dataset{'' if len(found) == 1 else 's'}"
    print_line(f"signed in to {url}, {count} to read; kept in {settings.credentials}")
    if elsewhere:
        print_line(f"LADING_ISSUER_URL names another issuer, {settings.issuer_url}: unset it to use what is kept")
    if settings.api_key:
        print_line("LADING_API_KEY is set, too, and wins over the key that is kept: unset it to use that")


def _issuer_asked(from_stdin: bool) -> str | None:
    if from_stdin or not sys.stdin.isatty():
        return None
    print("Issuer URL: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip() or None


def _key_asked(from_stdin: bool) -> str:
    """The key as typed, unseen, or as the first line of stdin. Raises UsageError."""
    if from_stdin:
        key = sys.stdin.readline().strip()
    elif sys.stdin.isatty():
        key = getpass.getpass("API key: ").strip()
    else:
        raise UsageError("there is no terminal to ask for the API key", "give it on stdin, with --stdin")
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise UsageError("that is no API key", "give the key that 'lading admin key create' printed")
    return key
