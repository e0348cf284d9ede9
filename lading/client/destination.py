"""Destination: how complete files, links and folders take their places below the pulled folder."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterable
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
        self._root = str(state.dest)
        self._partial = str(state.partial)
        self._folders = Folders(state.dest)
        self._lock = threading.Lock()

    def write(self, entry: Entry, raw: bytes | memoryview) -> None:
        """Make a file of one chunk: written beside, then moved into its place. `note` has to follow."""
        # One open file and plain strings: with many small files, this is where the time goes.
        partial = f"{self._partial}/{entry.partial}"
        descriptor = os.open(partial, _WRITE, 0o600)
        try:
            written = os.write(descriptor, raw)
            while written < len(raw):
                written += os.write(descriptor, raw[written:])
            if _BY_DESCRIPTOR:
                _finish(descriptor, entry)
        finally:
            os.close(descriptor)
        self._install(partial, entry, finished=_BY_DESCRIPTOR)

    def install(self, partial: Path, entry: Entry) -> None:
        """Give a complete file its mode, mtime and place, and note it."""
        self._install(str(partial), entry, finished=False)
        self.note([entry])

    def note(self, entries: Iterable[Entry]) -> None:
        """Note that files are in their places. One that a kill left there unnoted is hashed by the next pull."""
        self._state.note_files((e.path, e.size, e.mtime * 1_000_000_000, e.sha256) for e in entries)

    def _install(self, partial: str, entry: Entry, *, finished: bool) -> None:
        with self._lock:
            self._folders.ensure_parent(entry.path)
        if not finished:
            _finish(partial, entry)
        self._move(partial, entry.path)

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
        self._prune(path)

    def remove_entry(self, path: str, kind: str) -> None:
        """Remove a link or an empty folder of an earlier release, and the folders above it that are empty then."""
        place = self._state.dest / path
        try:
            place.rmdir() if kind == "dir" else place.unlink()
        except OSError:
            return
        self._prune(path)

    def restamp(self, tables: Tables) -> None:
        """Set mode and mtime of files whose content is right."""
        for path, size, digest, mode, mtime in tables.rows("SELECT path, size, sha256, mode, mtime FROM restamp"):
            entry = Entry(path, size, digest, mode, mtime, "")
            _finish(f"{self._root}/{path}", entry)
            self.note([entry])

    def _prune(self, path: str) -> None:
        for parent in Path(path).parents:
            if parent == Path():
                return
            try:
                (self._state.dest / parent).rmdir()
            except OSError:
                return

    def _move(self, partial: str | Path, path: str) -> None:
        final = f"{self._root}/{path}"
        try:
            os.replace(partial, final)  # noqa: PTH105 - see write
        except (IsADirectoryError, PermissionError):
            place = Path(final)
            if not place.is_dir() or place.is_symlink():
                raise
            try:
                place.rmdir()
            except OSError:
                raise ConflictError(
                    f"{final} is in the way: a file has to stand there", "move the folder away and pull again"
                ) from None
            Path(partial).replace(place)


_WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
_BY_DESCRIPTOR = os.utime in os.supports_fd and os.chmod in os.supports_fd


def _finish(file: int | str, entry: Entry) -> None:
    """Give a file its mode and mtime."""
    # Windows does not replace a file that is read-only.
    mode = entry.mode | stat.S_IWUSR if os.name == "nt" else entry.mode
    os.chmod(file, mode)  # noqa: PTH101 - a descriptor, or see write
    os.utime(file, ns=(entry.mtime * 1_000_000_000,) * 2)
