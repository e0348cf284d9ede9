"""`lading ls`."""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from lading.cli.progress import print_line
from lading.cli.pull import selection_of
from lading.client.catalog import datasets, releases
from lading.client.reader import FileInfo, Reader
from lading.errors import UsageError
from lading.http import session as http_session
from lading.paths import printable
from lading.settings import Settings

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def command(
    reference: Annotated[
        str | None,
        typer.Argument(metavar="[DATASET[@VERSION]]", help="Nothing: datasets; DATASET: its releases; with @: files."),
    ] = None,
    include: Annotated[list[str] | None, typer.Option(metavar="GLOB", help="List files that match only.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(metavar="GLOB", help="Leave out files that match.")] = None,
    where: Annotated[str | None, typer.Option(metavar="SQL", help="List files that this holds for only.")] = None,
    long: Annotated[bool, typer.Option("--long", "-l", help="Mode, size and time of files, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array on stdout.")] = False,
) -> None:
    """List datasets, the releases of one, or the files of a release (DATASET@VERSION, DATASET@latest)."""
    if reference is None or "@" not in reference:
        if include or exclude or where:
            raise UsageError("--include, --exclude and --where are for files", "name a release: DATASET@VERSION")
        _list_catalog(reference, as_json)
        return
    with Reader(reference, note=print_line) as reader:
        found = reader.files(selection_of(include, exclude, None, where))
        if as_json:
            _print_array(found)
            return
        for info in found:
            print(_line(info) if long else printable(info.path))


def _list_catalog(dataset: str | None, as_json: bool) -> None:
    settings = Settings.from_env()
    with http_session() as session:
        if dataset is None:
            names = datasets(session, settings)
            print(json.dumps(names) if as_json else "\n".join(names), end="\n" if names or as_json else "")
            return
        listed = releases(session, settings, dataset)
    if as_json:
        print(
            json.dumps(
                [{**release, "latest": release["version"] == listed["latest"]} for release in listed["releases"]]
            )
        )
        return
    for release in listed["releases"]:
        mark = "latest" if release["version"] == listed["latest"] else ""
        created = release["created_at"][:10]
        print(f"{release['version']}\t{created}\t{release['files']} files\t{release['bytes']} bytes\t{mark}".rstrip())


def _print_array(found: Any) -> None:
    """A JSON array, one element a line: a release may have more files than memory takes."""
    separator = "["
    for info in found:
        print(separator + json.dumps(_plain(info), default=str), end="")
        separator = ",\n"
    print("]" if separator != "[" else "[]")


def _plain(info: FileInfo) -> dict[str, Any]:
    return {
        "path": info.path,
        "type": info.type,
        "size": info.size,
        "sha256": info.sha256,
        "mode": info.mode,
        "mtime": info.mtime,
        "target": info.target,
        "labels": info.labels,
    }


def _line(info: FileInfo) -> str:
    kind = {"file": stat.S_IFREG, "symlink": stat.S_IFLNK, "dir": stat.S_IFDIR}[info.type]
    moment = datetime.fromtimestamp(info.mtime, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    name = printable(f"{info.path} -> {info.target}" if info.target else info.path)
    return f"{stat.filemode(kind | info.mode)}\t{info.size}\t{moment}\t{name}"
