"""Assembly: files that are put together from several chunks, each in a partial file of a fixed name."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from lading.client.destination import Destination
from lading.client.hashing import sha256_until
from lading.client.plan import Entry, Target
from lading.client.state import State
from lading.tables import Tables

SYNC_BYTES = 8 * 1024 * 1024
"""Files from this size on are forced to the disk one by one: to lose one in a power cut costs more than to wait."""


class Assemblies:
    """The books of every file that gets more than one chunk, or chunks from the folder itself. Thread-safe.

    `damaged` is set when a file was wrong although all its chunks were right: it has to be made anew.
    """

    def __init__(self, state: State, destination: Destination, stop: threading.Event) -> None:
        self._state = state
        self._stop = stop
        self._destination = destination
        self._lock = threading.Lock()
        self._open: dict[str, _Assembly] = {}
        self.damaged = False

    def expect(self, tables: Tables, *, partial: bool = False) -> None:
        """Open the books, and remove partial files that belong to none of them.

        In a partial pull, those that hold chunks stay: they may belong to what is not selected."""
        rows = tables.rows(
            "SELECT t.path, t.size, t.sha256, t.mode, t.mtime, t.partial, count(*) FILTER (NOT n.done), "
            "bool_or(n.done) "
            "FROM todo t JOIN needed n USING (path) WHERE t.type = 'file' GROUP BY ALL "
            # A file of one chunk that is done was copied from the folder itself, by a pull that was killed then.
            "HAVING count(*) > 1 OR bool_or(n.done) OR t.path IN (SELECT path FROM local_pieces) "
            "OR t.path IN (SELECT path FROM patched_pieces) ORDER BY t.path"
        )
        for *entry, missing, resumed in rows:
            self._open[entry[0]] = _Assembly(Entry._make(entry), missing, resumed)
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
        _write(self._state.partial / target.entry.partial, target.file_offset, raw)
        self._state.note_chunk(target.entry.partial, target.seq)
        with self._lock:
            assembly.missing -= 1

    def finish_complete(self) -> None:
        """Finish every file that lacks no chunk."""
        for path in list(self._open):
            self.finish(path)

    def finish(self, path: str) -> None:
        """If a file lacks no chunk, check it as a whole where that is needed, then move it into its place."""
        assembly = self._open[path]
        with self._lock:
            if assembly.missing or assembly.finished:
                return
            assembly.finished = True
        entry = assembly.entry
        partial = self._state.partial / entry.partial
        if not _is_right(partial, assembly, self._stop):
            # Its chunks were right one by one, so the partial file was damaged since: the next pass fetches it anew.
            partial.unlink(missing_ok=True)
            self._state.note_dropped(entry.partial)
            self.damaged = True
            return
        self._destination.install(partial, entry)


class _Assembly:
    """One file: `missing` is how many of its chunks are not in its partial file yet, `resumed` whether a pull before
    this one wrote some of them."""

    __slots__ = ("entry", "finished", "missing", "resumed")

    def __init__(self, entry: Entry, missing: int, resumed: bool) -> None:
        self.entry = entry
        self.missing = missing
        self.resumed = resumed
        self.finished = False


def _write(path: Path, offset: int, data: bytes | memoryview) -> None:
    """Write at an offset; opening the file each time keeps the number of open files small."""
    flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(path, flags, 0o600)
    try:
        view = memoryview(data)
        if not hasattr(os, "pwrite"):
            # The descriptor is this call's own, so its position is as well.
            os.lseek(descriptor, offset, os.SEEK_SET)
        while view:
            written = os.pwrite(descriptor, view, offset) if hasattr(os, "pwrite") else os.write(descriptor, view)
            view, offset = view[written:], offset + written
    finally:
        os.close(descriptor)


def _is_right(path: Path, assembly: _Assembly, stop: threading.Event) -> bool:
    """Whether a file has the wanted content. A large one is forced to the disk first, before it takes its place.

    The chunks that this pull wrote were verified one by one, and the index, which is signed, says how they make the
    file. What an earlier pull wrote may have been damaged since: then the file is read and hashed as a whole.
    """
    entry = assembly.entry
    try:
        if path.stat().st_size != entry.size:
            return False
        if entry.size >= SYNC_BYTES:
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        return not assembly.resumed or sha256_until(path, stop) == entry.sha256
    except FileNotFoundError:
        return False
