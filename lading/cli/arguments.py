"""Arguments that several commands take."""

from __future__ import annotations

from pathlib import Path

from lading.errors import UsageError


def folder(value: str) -> Path:
    """A folder's path. An empty one, most often a shell variable that is not set, would mean the current folder."""
    if not value:
        raise UsageError("the name of the folder is empty", "give a folder; '.' is the current one")
    return Path(value)
