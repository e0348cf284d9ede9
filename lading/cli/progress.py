"""Progress of a pull on stderr: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lading.client.progress import Progress, Silent
from lading.paths import printable

if TYPE_CHECKING:
    from lading.client.compare import Work

PLAIN_INTERVAL_S = 5.0


@contextmanager
def reporter(quiet: bool) -> Iterator[Progress]:
    """The progress display that fits stderr."""
    if quiet:
        yield Silent()
    elif sys.stderr.isatty():
        with _bar() as progress:
            yield progress
    else:
        yield _Plain()


@contextmanager
def _bar() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import (
        Progress as Bars,
    )

    with Bars(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[wire]}"),
        console=Console(stderr=True),
        transient=True,
    ) as bars:
        task = bars.add_task("pulling", total=None, wire="")

        class Bar:
            def __init__(self) -> None:
                self._fetched = 0
                self._lock = threading.Lock()

            def planned(self, work: Work) -> None:
                bars.update(task, total=work.bytes, completed=work.bytes - work.todo_bytes + work.done_bytes)

            def fetched(self, count: int) -> None:
                with self._lock:
                    self._fetched += count
                bars.update(task, wire=f"{self._fetched / 1e6:,.1f} MB fetched")

            def made(self, count: int) -> None:
                bars.advance(task, count)

            def note(self, message: str) -> None:
                bars.console.print(f"lading: {printable(message)}", markup=False, highlight=False)

        yield Bar()


class Lines:
    """A line every few seconds, for logs; the first one some seconds after the first call. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._said: float | None = None

    def say(self, line: Callable[[], str]) -> None:
        """Print a line, if it is time for one."""
        with self._lock:
            now = time.monotonic()
            if self._said is None:
                self._said = now
            if now - self._said < PLAIN_INTERVAL_S:
                return
            self._said = now
        print_line(line())


class _Plain:
    """Lines of a pull."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines = Lines()
        self._total = self._made = self._fetched = 0

    def planned(self, work: Work) -> None:
        self._total, self._made = work.bytes, work.bytes - work.todo_bytes + work.done_bytes
        print_line(
            f"{work.files:,} files, {_mb(work.bytes)}; {_mb(self._made)} there already, "
            f"{_mb(work.local_bytes)} to copy, {_mb(work.fetch_bytes)} to fetch"
        )

    def fetched(self, count: int) -> None:
        with self._lock:
            self._fetched += count

    def made(self, count: int) -> None:
        with self._lock:
            self._made += count
        self._lines.say(lambda: f"{_mb(self._made)} of {_mb(self._total)}, fetched {_mb(self._fetched)}")

    def note(self, message: str) -> None:
        print_line(message)


def _mb(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


def print_line(message: str) -> None:
    """Say something on stderr, as one line."""
    print(f"lading: {printable(message)}", file=sys.stderr, flush=True)
