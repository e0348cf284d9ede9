"""Paths from an index: untrusted until checked, written below a folder that may hold anything."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from lading.errors import ConflictError, IntegrityError

OWN_FOLDER = ".lading"
"""Where a pulled folder keeps Lading's own state."""


def check_path(path: str) -> str:
    """Return a relative POSIX path that stays below its root. Raises IntegrityError for any other."""
    parts = path.split("/")
    if "\0" in path or any(part in ("", ".", "..") for part in parts) or parts[0] == OWN_FOLDER:
        raise IntegrityError(f"the index holds an unsafe path {path!r}", "do not use this release; tell its publisher")
    return path


def link_is_safe(path: str, target: str) -> bool:
    """Whether a symbolic link at `path` can lead nowhere but below the root.

    `..` is allowed at the beginning only: behind a name that is itself a link, it would lead to where that link leads.
    """
    parts = PurePosixPath(target).parts
    climbs = next((count for count, part in enumerate(parts) if part != ".."), len(parts))
    return not (
        not target or target.startswith("/") or "\0" in target or ".." in parts[climbs:] or climbs > path.count("/")
    )


def printable(text: str) -> str:
    """Text for people, on one line: what would move the cursor or turn the direction of writing is escaped as Python
    escapes it. A joiner is left: it is part of words and of emoji."""
    if text.isprintable():
        return text
    import unicodedata

    return "".join(
        letter.encode("unicode_escape").decode()
        if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") and letter not in _JOINERS
        else letter
        for letter in text
    )


_JOINERS = "\u200c\u200d"


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Has errors of the operating system name `path` where they name nothing, as that of a write to a full disk."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


class Folders:
    """Makes parent folders below `root` and never follows a link on the way there."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._made: set[str] = {""}

    def ensure(self, folder: str) -> None:
        """Make a folder (relative, '' is the root). Raises ConflictError if something else stands in its place."""
        if folder in self._made:
            return
        self.ensure(folder.rpartition("/")[0])
        path = self._root / folder
        try:
            path.mkdir()
        except FileExistsError:
            if not stat.S_ISDIR(path.lstat().st_mode):
                raise ConflictError(
                    f"{path} is in the way: a folder has to stand there", "move it away and pull again"
                ) from None
        self._made.add(folder)

    def ensure_parent(self, path: str) -> None:
        """Make the folder that `path` lies in."""
        self.ensure(path.rpartition("/")[0])
