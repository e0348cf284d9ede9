"""`lading show`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from lading.cli.progress import print_line
from lading.client.access import Access
from lading.client.remote import fetch_manifest
from lading.client.transfer import Transfer
from lading.client.trust import TrustStore
from lading.http import session as http_session
from lading.manifest import Manifest
from lading.names import parse_reference
from lading.paths import printable
from lading.settings import Settings

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def command(
    reference: Annotated[str, typer.Argument(metavar="DATASET[@VERSION]", help="The latest release by default.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest itself, byte for byte.")] = False,
) -> None:
    """Describe a release: what it is, where it comes from, how large it is, and what is new in it."""
    settings = Settings.from_env()
    trust = TrustStore(settings.trust_store, print_line)
    with http_session() as session:
        access = Access(session, settings, *parse_reference(reference), note=print_line)
        manifest, digest = fetch_manifest(access, Transfer(session, access), trust)
    if as_json:
        sys.stdout.buffer.write(manifest.to_bytes())
        return
    for name, value in facts(manifest, digest).items():
        print(f"{name + ':':<10} {printable(value)}")


def facts(manifest: Manifest, digest: str) -> dict[str, str]:
    """What a person wants to know of a release; what it does not say is left out."""
    totals, delta = manifest.totals, manifest.delta
    sources = [f"{source.name} ({source.license})" if source.license else source.name for source in manifest.sources]
    told = {
        "release": f"{manifest.dataset}@{manifest.version}",
        "title": manifest.title,
        "created": manifest.created_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "license": manifest.license,
        "labels": ", ".join(f"{name}={value}" for name, value in manifest.labels.items()),
        "sources": ", ".join(sources),
        "files": f"{totals.files:,}, {_size(totals.bytes)}",
        "stored": f"{_size(totals.stored_bytes)} in {len(manifest.files):,} shards",
        "parent": manifest.parent,
        "delta": f"{delta.added:,} added, {delta.modified:,} modified, {delta.removed:,} removed; "
        f"{_size(delta.new_bytes)} new, {_size(delta.reused_bytes)} reused"
        if manifest.parent
        else None,
        "manifest": f"sha256:{digest}",
    }
    return {name: value for name, value in told.items() if value}


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
