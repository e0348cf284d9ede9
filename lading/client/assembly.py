"""Assembly: files that are put together from several chunks, each in a partial file of a fixed name."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from lading.client.destination import Destination
from lading.client.plan import Entry, Target
from lading.client.state import State
from lading.index import sha256_of
from lading.tables import Tables


class Assemblies:
    """The books of every file that gets more than one chunk, or chunks from the folder itself. Thread-safe.

    `damaged` is set when a file was wrong although all its chunks were right: it has to be made anew.
    """

    def __init__(self, state: State, destination: Destination) -> None:
        self._state = state
        self._destination = destination
        self._lock = threading.Lock()
        self._open: dict[str, _Assembly] = {}
        self.damaged = False

    def expect(self, tables: Tables, *, partial: bool = False) -> None:
        """Open the books, and remove partial files that belong to none of them.

        In a partial pull, those that hold chunks stay: they may belong to what is not selected."""
        rows = tables.rows(
            "SELECT t.path, t.size, t.sha256, t.mode, t.mtime, t.partial, count(*) FILTER (NOT n.done) "
            "FROM todo t JOIN needed n USING (path) WHERE t.type = 'file' GROUP BY ALL "
            "HAVING count(*) > 1 OR t.path IN (SELECT path FROM local_pieces) ORDER BY t.path"
        )
        for *entry, missing in rows:
            self._open[entry[0]] = _Assembly(Entry._make(entry), missing, self._state.partial)
        wanted = {assembly.entry.partial for assembly in self._open.values()}
        started = {name for (name,) in tables.rows("SELECT DISTINCT partial FROM done")}
        for stale in self._state.partial.iterdir():
            if stale.name in wanted or (partial and stale.name in started):
                continue
            stale.unlink()
            if stale.name in started:
                self._state.note_dropped(stale.name)

    def __contains__(self, path: str) -> bool:
        return path in self._open

    def write(self, target: Target, raw: bytes | memoryview) -> None:
        """Write a verified chunk to its place. `finish` or `finish_complete` has to follow when it was the last."""
        assembly = self._open[target.entry.path]
        assembly.write(target.file_offset, raw)
        self._state.note_chunk(target.entry.partial, target.seq)
        with self._lock:
            assembly.missing -= 1

    def finish_complete(self) -> None:
        """Finish every file that lacks no chunk."""
        for path in list(self._open):
            self.finish(path)

    def finish(self, path: str) -> None:
        """If a file lacks no chunk, check it as a whole, then move it into its place."""
        assembly = self._open[path]
        with self._lock:
            if assembly.missing or assembly.finished:
                return
            assembly.finished = True
        assembly.sync()
        entry = assembly.entry
        partial = self._state.partial / entry.partial
        if partial.stat().st_size != entry.size or sha256_of(partial) != entry.sha256.hex():
            # Its chunks were right one by one, so the partial file was damaged since: the next pass fetches it anew.
            partial.unlink()
            self._state.note_dropped(entry.partial)
            self.damaged = True
            return
        self._destination.install(partial, entry)


class _Assembly:
    """One file: `missing` is how many of its chunks are not in its partial file yet."""

    def __init__(self, entry: Entry, missing: int, folder: Path) -> None:
        self.entry = entry
        self.missing = missing
        self.finished = False
        self._path = folder / entry.partial
        self._lock = threading.Lock()

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Write at an offset; opening it each time keeps the number of open files small."""
        flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
        descriptor = os.open(self._path, flags, 0o600)
        try:
            if hasattr(os, "pwrite"):
                view = memoryview(data)
                while view:
                    written = os.pwrite(descriptor, view, offset)
                    view, offset = view[written:], offset + written
            else:
                with self._lock, os.fdopen(os.dup(descriptor), "r+b") as file:
                    file.seek(offset)
                    file.write(data)
        finally:
            os.close(descriptor)

    def sync(self) -> None:
        """Force the bytes to the disk before the file takes its place."""
        with self._path.open("rb+") as file:
            os.fsync(file.fileno())
