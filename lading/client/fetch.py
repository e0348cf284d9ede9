"""Fetch: threads that get ranges of shards, verify each chunk and hand it on."""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext

from lading.client.assembly import Assemblies
from lading.client.destination import Destination
from lading.client.plan import Chunk, Entry, Frame, Range
from lading.client.progress import Progress
from lading.client.transfer import Stopped, StoredObject, Transfer
from lading.errors import IntegrityError
from lading.frames import FrameDecompressor
from lading.parallel import cores
from lading.shard import MAX_FRAME_BYTES

MIN_TURNS = 2
"""Threads that make small files at one time, at least: one may wait for the disk."""

PIECE_ATTEMPTS = 3
"""How often a chunk that came with wrong bytes is fetched."""

POLL_S = 0.2
"""How often a waiting thread looks whether it is to stop; it keeps Ctrl-C alive, too."""

GRACE_S = 1.0
"""How long threads have to end after a failure or Ctrl-C. They are daemons: one that hangs does not keep the process,
and it checks before it writes whether it was stopped."""


class Fetcher:
    """Fetches ranges by `jobs` threads; the first failure stops them all, and `abort` ends their connections."""

    def __init__(
        self,
        transfer: Transfer,
        shards: Mapping[str, StoredObject],
        destination: Destination,
        assemblies: Assemblies,
        progress: Progress,
        stop: threading.Event,
        jobs: int,
        abort: Callable[[], None] = lambda: None,
    ) -> None:
        self._transfer = transfer
        self._shards = shards
        self._destination = destination
        self._assemblies = assemblies
        self._progress = progress
        self._stop = stop
        self._jobs = jobs
        self._abort = abort
        self._decompress = FrameDecompressor()
        # Many small files are made by turns: more threads than cores would only contend for the interpreter.
        self._turns = threading.BoundedSemaphore(max(MIN_TURNS, cores()))
        self._failures: list[BaseException] = []
        self._queue: queue.Queue[Range | None] = queue.Queue(jobs)

    def run(self, ranges: Iterable[Range]) -> None:
        """Fetch everything. Raises what the first thread that failed raised."""
        threads: list[threading.Thread] = []
        try:
            for item in ranges:
                if len(threads) < self._jobs:
                    threads.append(threading.Thread(target=self._work, name=f"pull-{len(threads)}", daemon=True))
                    threads[-1].start()
                self._put(item)
            for _ in threads:
                self._put(None)
            for thread in threads:
                while thread.is_alive():
                    thread.join(POLL_S)
                    self._raise_failure()
            self._raise_failure()
        except BaseException:
            self._stop.set()
            self._abort()
            deadline = time.monotonic() + GRACE_S
            for thread in threads:
                thread.join(max(0.0, deadline - time.monotonic()))
            raise

    def _put(self, item: Range | None) -> None:
        while True:
            self._raise_failure()
            try:
                self._queue.put(item, timeout=POLL_S)
                return
            except queue.Full:
                continue

    def _raise_failure(self) -> None:
        if self._failures:
            raise self._failures[0]

    def _work(self) -> None:
        """What each thread does until there is no more."""
        try:
            while not self._stop.is_set():
                try:
                    item = self._queue.get(timeout=POLL_S)
                except queue.Empty:
                    continue
                if item is None:
                    return
                self._fetch(item)
        except Stopped:
            pass
        except BaseException as error:
            self._failures.append(error)
            self._stop.set()

    def _fetch(self, item: Range) -> None:
        stored = self._shards[item.shard]
        frames = self._transfer.pieces(stored, [(frame.offset, frame.length) for frame in item.frames])
        for frame, data in zip(item.frames, frames, strict=True):
            # What a single large chunk takes is done outside the interpreter, and may wait for the disk.
            with self._turns if len(frame.chunks) > 1 else nullcontext():
                self._make(stored, frame, data)

    def _make(self, stored: StoredObject, frame: Frame, data: bytes | bytearray) -> None:
        """Write the files, or parts of files, that a frame holds."""
        made: list[Entry] = []
        try:
            for chunk, raw in self._open(stored, frame, data):
                if self._stop.is_set():
                    raise Stopped
                for target in chunk.targets:
                    path = target.entry.path
                    if path in self._assemblies:
                        self._assemblies.write(target, raw)
                        self._assemblies.finish(path)
                    else:
                        self._destination.write(target.entry, raw)
                        made.append(target.entry)
                    self._progress.made(len(raw))
        finally:
            self._destination.note(made)

    def _open(self, stored: StoredObject, frame: Frame, data: bytes | bytearray) -> Iterator[tuple[Chunk, memoryview]]:
        """The verified chunks of a frame; it is fetched again if its bytes are wrong."""
        for attempt in range(1, PIECE_ATTEMPTS + 1):
            try:
                raw = memoryview(self._decompress(data, MAX_FRAME_BYTES))
                views = [raw[chunk.inner_offset : chunk.inner_offset + chunk.length] for chunk in frame.chunks]
                for chunk, view in zip(frame.chunks, views, strict=True):
                    if hashlib.sha256(view).digest() != chunk.sha256:
                        raise IntegrityError(
                            f"bytes of {chunk.targets[0].entry.path!r} do not match their SHA-256", "tell the publisher"
                        )
            except IntegrityError:
                if attempt == PIECE_ATTEMPTS:
                    raise
                data = self._transfer.again(stored, frame.offset, frame.length)
            else:
                yield from zip(frame.chunks, views, strict=True)
                return
