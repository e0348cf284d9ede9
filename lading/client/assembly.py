"""Assembly: files that are put together from several chunks, each in a partial file of a fixed name."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

from lading.client.destination import Destination
from lading.client.hashing import BLOCK_BYTES
from lading.client.plan import Entry, Target
from lading.client.state import State
from lading.client.transfer import Stopped
from lading.tables import Tables

SYNC_BYTES = 8 * 1024 * 1024
"""Files from this size on are forced to the disk one by one: to lose one in a power cut costs more than to wait."""

WAITING_CHUNKS = 1024
"""Chunks of one file that are remembered to be hashed when those before them are there."""


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
            "SELECT t.path, t.size, t.sha256, t.mode, t.mtime, t.partial, count(*) FILTER (NOT n.done) "
            "FROM todo t JOIN needed n USING (path) WHERE t.type = 'file' GROUP BY ALL "
            # A file of one chunk that is done was copied from the folder itself, by a pull that was killed then.
            "HAVING count(*) > 1 OR bool_or(n.done) OR t.path IN (SELECT path FROM local_pieces) "
            "OR t.path IN (SELECT path FROM patched_pieces) ORDER BY t.path"
        )
        for *entry, missing in rows:
            self._open[entry[0]] = _Assembly(Entry._make(entry), missing)
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
        partial = self._state.partial / target.entry.partial
        _write(partial, target.file_offset, raw)
        self._state.note_chunk(target.entry.partial, target.seq)
        with self._lock:
            assembly.missing -= 1
        assembly.hash.went_in(partial, target.file_offset, raw)

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
    """One file: `missing` is how many of its chunks are not in its partial file yet."""

    __slots__ = ("entry", "finished", "hash", "missing")

    def __init__(self, entry: Entry, missing: int) -> None:
        self.entry = entry
        self.missing = missing
        self.finished = False
        self.hash = RunningHash()


class RunningHash:
    """SHA-256 of a file that is written in any order, computed as far as it is there from its beginning on.

    When the last chunk comes, most is done; what a pull before this one wrote is read from the file. Thread-safe.
    """

    __slots__ = ("_digest", "_hashing", "_lock", "_position", "_waiting")

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._position = 0
        self._hashing = threading.Lock()
        self._waiting: dict[int, int] = {}
        self._lock = threading.Lock()

    def went_in(self, path: Path, offset: int, raw: bytes | memoryview) -> None:
        """These bytes are in the file now. One thread hashes at a time; the others leave their chunks to it, or to
        `complete`."""
        with self._lock:
            if len(self._waiting) < WAITING_CHUNKS:
                self._waiting[offset] = len(raw)
        if not self._hashing.acquire(blocking=False):
            return
        try:
            while (length := self._next()) is not None:
                if self._position == offset:
                    self._digest.update(raw)
                else:
                    with path.open("rb", buffering=0) as file:
                        file.seek(self._position)
                        self._digest.update(file.read(length))
                self._position += length
        finally:
            self._hashing.release()

    def _next(self) -> int | None:
        """Length of the chunk that the hash lacks next, if it is there."""
        with self._lock:
            return self._waiting.pop(self._position, None)

    def complete(self, path: Path, stop: threading.Event) -> bytes:
        """The hash of the whole file, which nobody writes to any more. Raises Stopped."""
        block = bytearray(BLOCK_BYTES)
        view = memoryview(block)
        with self._hashing, path.open("rb", buffering=0) as file:
            file.seek(self._position)
            while count := file.readinto(block):
                if stop.is_set():
                    raise Stopped
                self._digest.update(view[:count])
                self._position += count
            return self._digest.digest()


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
    """Whether a file has the wanted content. A large one is forced to the disk first, before it takes its place."""
    entry = assembly.entry
    try:
        if path.stat().st_size != entry.size:
            return False
        if entry.size >= SYNC_BYTES:
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        return assembly.hash.complete(path, stop) == entry.sha256
    except FileNotFoundError:
        return False
