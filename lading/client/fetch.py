"""Fetch: threads that get ranges of shards, verify each chunk and hand it on."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from lading.client.assembly import Assemblies
from lading.client.destination import Destination
from lading.client.plan import Chunk, Frame, Range
from lading.client.progress import Progress
from lading.client.transfer import Stopped, StoredObject, Transfer
from lading.errors import IntegrityError
from lading.frames import FrameDecompressor
from lading.shard import MAX_FRAME_BYTES

PIECE_ATTEMPTS = 3
"""How often a chunk that came with wrong bytes is fetched."""


class Fetcher:
    """Fetches ranges by `jobs` threads; the first failure stops them all."""

    def __init__(
        self,
        transfer: Transfer,
        shards: Mapping[str, StoredObject],
        destination: Destination,
        assemblies: Assemblies,
        progress: Progress,
        stop: threading.Event,
        jobs: int,
    ) -> None:
        self._transfer = transfer
        self._shards = shards
        self._destination = destination
        self._assemblies = assemblies
        self._progress = progress
        self._stop = stop
        self._jobs = jobs
        self._decompress = FrameDecompressor()

    def run(self, ranges: Iterable[Range]) -> None:
        """Fetch everything. Raises what the first thread that failed raised."""
        pending: set[Future[None]] = set()
        with ThreadPoolExecutor(self._jobs, thread_name_prefix="pull") as pool:
            try:
                for item in ranges:
                    pending.add(pool.submit(self._fetch, item))
                    while len(pending) >= 2 * self._jobs:
                        pending = _collect(pending)
                while pending:
                    pending = _collect(pending)
            except BaseException:
                self._stop.set()
                for future in pending:
                    future.cancel()
                raise

    def _fetch(self, item: Range) -> None:
        stored = self._shards[item.shard]
        frames = self._transfer.pieces(stored, [(frame.offset, frame.length) for frame in item.frames])
        for frame, data in zip(item.frames, frames, strict=True):
            if self._stop.is_set():
                raise Stopped
            for chunk, raw in self._open(stored, frame, data):
                for target in chunk.targets:
                    path = target.entry.path
                    if path in self._assemblies:
                        self._assemblies.write(target, raw)
                        self._assemblies.finish(path)
                    else:
                        self._destination.write(target.entry, raw)
                    self._progress.made(len(raw))

    def _open(self, stored: StoredObject, frame: Frame, data: bytes) -> Iterator[tuple[Chunk, memoryview]]:
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
                (data,) = self._transfer.pieces(stored, [(frame.offset, frame.length)])
            else:
                yield from zip(frame.chunks, views, strict=True)
                return


def _collect(pending: set[Future[None]]) -> set[Future[None]]:
    """Wait until something is done, and raise what failed."""
    # A short time-out keeps Ctrl-C alive on systems whose waits cannot be interrupted.
    done, rest = wait(pending, timeout=1.0, return_when=FIRST_COMPLETED)
    for future in done:
        future.result()
    return rest
