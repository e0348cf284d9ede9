"""`lading url`."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from lading.client.access import Access
from lading.client.reader import Reader
from lading.http import session as http_session
from lading.names import parse_reference
from lading.settings import Settings

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def command(
    reference: Annotated[str, typer.Argument(metavar="DATASET[@VERSION]", help="The latest release by default.")],
    path: Annotated[str | None, typer.Argument(metavar="[PATH]", help="A file of the release.")] = None,
    ttl: Annotated[int | None, typer.Option(metavar="SECONDS", help="How long the URLs are to be valid.")] = None,
    aria2: Annotated[bool, typer.Option("--aria2", help="Print an input file for 'aria2c -i -'.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array on stdout.")] = False,
) -> None:
    """Print signed URLs for curl, wget, aria2 and other tools. Whoever has one can read until it expires.

    Without PATH: one URL for each object of the release, its shards first. With PATH: where each part of that file
    lies. Each line has a URL, the byte range of one zstd frame, and how many of its raw bytes to skip and to take.
    """
    settings = Settings.from_env()
    with http_session() as session:
        access = Access(session, settings, *parse_reference(reference), ttl=ttl)
        token = access.grant.token
        if path is None:
            found = [
                {
                    "url": f"{access.url(key)}?token={token}",
                    "key": key,
                    "size": entry["size"],
                    "sha256": entry["sha256"],
                }
                for key, entry in sorted(access.grant.objects.items(), key=lambda item: "/shards/" not in item[0])
            ]
        else:
            found = _parts(f"{access.grant.dataset}@{access.grant.version}", path, access, token)
    expires = datetime.fromtimestamp(access.grant.expires_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if as_json:
        print(json.dumps([{**entry, "expires_at": expires} for entry in found]))
    elif aria2:
        for entry in found:
            print(entry["url"])
            name = str(entry.get("key", path)).rpartition("/")[2]
            print(f"  out={name}")
            if entry.get("sha256"):
                print(f"  checksum=sha-256={entry['sha256']}")
    else:
        for entry in found:
            parts = [entry["url"]]
            if path is not None:
                parts += [f"{entry['first']}-{entry['last']}", str(entry["skip"]), str(entry["take"])]
            print("\t".join(parts))
    print(f"lading: valid until {expires}", file=sys.stderr)


def _parts(reference: str, path: str, access: Access, token: str) -> list[dict[str, Any]]:
    """The frames that hold a file: in each, skip some raw bytes and take some."""
    with Reader(reference, note=lambda message: print(f"lading: {message}", file=sys.stderr)) as reader:
        shards = reader.release.shards
        return [
            {
                "url": f"{access.url(shards[place.shard].key)}?token={token}",
                "first": place.frame_offset,
                "last": place.frame_offset + place.frame_length - 1,
                "skip": place.inner_offset,
                "take": place.length,
            }
            for place in reader.open(path).places
        ]
