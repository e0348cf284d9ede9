"""`lading trust`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from lading.client.access import Access
from lading.client.opening import fetch_signature
from lading.client.transfer import Transfer
from lading.client.trust import TrustStore
from lading.errors import IntegrityError
from lading.http import session as http_session
from lading.names import parse_reference
from lading.settings import Settings
from lading.signing import signer, thumbprint

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def command(
    reference: Annotated[str, typer.Argument(metavar="DATASET[@VERSION]")],
    key_id: Annotated[str, typer.Argument(help="Key id that the publisher told you.")],
) -> None:
    """Trust the key that signs a release from now on, if it is the one that the publisher named."""
    settings = Settings.from_env()
    dataset, version = parse_reference(reference)
    with http_session() as session:
        access = Access(session, settings, dataset, version)
        jwk = signer(fetch_signature(access, Transfer(session, access)))
    if thumbprint(jwk) != key_id:
        raise IntegrityError(
            f"{reference} is signed by key {thumbprint(jwk)}", "ask the publisher for the right key id"
        )
    TrustStore(settings.trust_store).trust(dataset, jwk)
    print(f"lading: trusting key {key_id} for dataset {dataset}", file=sys.stderr)
