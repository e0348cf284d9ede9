"""`lading cat`."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from lading.cli.progress import print_line
from lading.client.reader import Reader, split_path
from lading.errors import UsageError

BLOCK_BYTES = 1024 * 1024

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def command(
    paths: Annotated[
        list[str], typer.Argument(metavar="DATASET[@VERSION]/PATH...", help="Files, of one release or of several.")
    ],
) -> None:
    """Write files of a release to stdout, verified, without pulling it."""
    readers: dict[str, Reader] = {}
    try:
        for text in paths:
            reference, path = split_path(text)
            if not path:
                raise UsageError(
                    f"{text!r} names no file", f"write {reference}/PATH; 'lading ls {reference}' lists them"
                )
            if reference not in readers:
                readers[reference] = Reader(reference, note=print_line)
            with readers[reference].open(path) as file:
                while block := file.read(BLOCK_BYTES):
                    sys.stdout.buffer.write(block)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        # Who reads the pipe has enough, as `head` has: that is no error. Python would complain when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    finally:
        for reader in readers.values():
            reader.close()
