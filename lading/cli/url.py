"""`lading url`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any

import requests
import typer

from lading.cli.progress import print_line
from lading.client.access import Access
from lading.client.reader import Reader, split_path
from lading.errors import TransferError, UsageError
from lading.http import TIMEOUT, error_of
from lading.http import session as http_session
from lading.names import parse_reference
from lading.settings import Settings

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def command(
    reference: Annotated[
        str,
        typer.Argument(metavar="DATASET[@VERSION][/PATH]", help="The latest release by default; one file of it."),
    ],
    path: Annotated[str | None, typer.Argument(metavar="[PATH]", help="A file, to be told where it lies.")] = None,
    ttl: Annotated[int | None, typer.Option(metavar="SECONDS", help="How long the URLs are to be valid.")] = None,
    aria2: Annotated[bool, typer.Option("--aria2", help="Print an input file for 'aria2c -i -'.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array on stdout.")] = False,
) -> None:
    """Print signed URLs for curl, wget, aria2 and other tools. Whoever has one can read until it expires.

    DATASET: one URL for each object of the release, its shards first. DATASET/PATH: the URL of that file, which the
    gateway takes out of its shard. DATASET PATH: where each part of that file lies; each line has a URL, the byte range
    of one zstd frame, and how many of its raw bytes to skip and to take.
    """
    settings = Settings.from_env()
    reference, file = split_path(reference)
    if file and path is not None:
        raise UsageError("a file is named twice", f"write {reference}/{file} for its URL, or {reference} {path}")
    with http_session() as session:
        access = Access(session, settings, *parse_reference(reference), ttl=ttl, note=print_line)
        token = access.grant.token
        if file:
            found = [_file(session, access, file, token)]
        elif path is None:
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
            name = str(entry.get("key") or file or path).rpartition("/")[2]
            print(f"  out={name}")
            if entry.get("sha256"):
                print(f"  checksum=sha-256={entry['sha256']}")
    else:
        for entry in found:
            parts = [entry["url"]]
            if path is not None:
                parts += [f"{entry['first']}-{entry['last']}", str(entry["skip"]), str(entry["take"])]
            print("\t".join(parts))
    print_line(f"valid until {expires}")


def _file(session: requests.Session, access: Access, path: str, token: str) -> dict[str, Any]:
    """The URL of a file, with what the gateway says about it. Raises NotFoundError, AccessError, TransferError."""
    url = access.file_url(path)
    headers = {"Authorization": f"Bearer {token}"}
    what = f"asking for {access.grant.dataset}@{access.grant.version}/{path}"
    try:
        answer = session.head(url, headers=headers, timeout=TIMEOUT)
        if answer.status_code != 200:
            # An answer to HEAD has no words.
            with session.get(url, headers=headers, timeout=TIMEOUT, stream=True) as refusal:
                raise error_of(refusal, what)
        size, sha256 = int(answer.headers["Content-Length"]), answer.headers["ETag"].strip('"')
    except (requests.RequestException, KeyError, ValueError) as error:
        raise TransferError(
            f"{what}: the gateway at {url} cannot be reached or is none", "check LADING_GATEWAY_URL"
        ) from error
    return {"url": f"{url}?token={token}", "path": path, "size": size, "sha256": sha256}


def _parts(reference: str, path: str, access: Access, token: str) -> list[dict[str, Any]]:
    """The frames that hold a file: in each, skip some raw bytes and take some."""
    with Reader(reference, note=print_line) as reader:
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
