"""Destination: how complete files, links and folders take their places below the pulled folder."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

from lading.client.plan import Entry
from lading.client.state import State
from lading.errors import ConflictError
from lading.paths import Folders
from lading.tables import Tables


class Destination:
    """The folder of one pull. Thread-safe."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._folders = Folders(state.dest)
        self._lock = threading.Lock()

    def write(self, entry: Entry, raw: bytes | memoryview) -> None:
        """Make a file of one chunk: written beside, then moved into its place."""
        partial = self._state.partial / entry.partial
        with partial.open("wb") as file:
            file.write(raw)
        self.install(partial, entry)

    def install(self, partial: Path, entry: Entry) -> None:
        """Give a complete file its mode, mtime and place, and note it."""
        with self._lock:
            self._folders.ensure_parent(entry.path)
        mtime_ns = entry.mtime * 1_000_000_000
        partial.chmod(entry.mode | stat.S_IWUSR)
        os.utime(partial, ns=(mtime_ns, mtime_ns))
        self._move(partial, entry.path)
        self._state.note_file(entry.path, entry.size, mtime_ns, entry.sha256)

    def make_entries(self, tables: Tables) -> None:
        """Make what needs no bytes: links, empty folders and empty files."""
        for path, kind, target, mode, mtime, digest in tables.rows(
            "SELECT path, type, target, mode, mtime, sha256 FROM todo WHERE type <> 'file' OR size = 0 ORDER BY path"
        ):
            if kind == "dir":
                self._folders.ensure(path)
                continue
            self._folders.ensure_parent(path)
            partial = self._state.partial / "entry"
            partial.unlink(missing_ok=True)
            if kind == "symlink":
                partial.symlink_to(target)
                self._move(partial, path)
            else:
                partial.touch()
                self.install(partial, Entry(path, 0, digest, mode, mtime, ""))

    def remove(self, path: str) -> None:
        """Remove a file that Lading wrote, and the folders above it that are empty then."""
        (self._state.dest / path).unlink(missing_ok=True)
        self._state.note_gone(path)
        for parent in Path(path).parents:
            if parent == Path():
                return
            try:
                (self._state.dest / parent).rmdir()
            except OSError:
                return

    def _move(self, partial: Path, path: str) -> None:
        final = self._state.dest / path
        try:
            partial.replace(final)
        except (IsADirectoryError, PermissionError):
            if not final.is_dir() or final.is_symlink():
                raise
            try:
                final.rmdir()
            except OSError:
                raise ConflictError(
                    f"{final} is in the way: a file has to stand there", "move the folder away and pull again"
                ) from None
            partial.replace(final)
