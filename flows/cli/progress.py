"""Progress of a release on stderr: bars on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from tasks.progress import Advance, listening

PLAIN_INTERVAL_S = 5.0


def shown(*, quiet: bool) -> AbstractContextManager[None]:
    """Show on stderr what the steps of a release say."""
    if quiet:
        return nullcontext()
    return _bars() if sys.stderr.isatty() else listening(Lines())


@contextmanager
def _bars() -> Iterator[None]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    with Progress(
        TextColumn("{task.description:<7}"),
        BarColumn(),
        TextColumn("{task.fields[amount]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bars:
        # Prefect's own server takes its time before any step is heard of.
        start = bars.add_task("start", total=None, amount="Prefect")
        tasks: dict[str, TaskID] = {}
        lock = threading.Lock()

        def show(advance: Advance) -> None:
            with lock:
                if not tasks:
                    bars.update(start, visible=False)
                if advance.step not in tasks:
                    tasks[advance.step] = bars.add_task(advance.step, amount="")
            bars.update(tasks[advance.step], completed=advance.done, total=advance.total, amount=amount(advance))

        with listening(show):
            yield


class Lines:
    """A line every few seconds, for logs; a step that is over sooner is not mentioned."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._said: float | None = None

    def __call__(self, advance: Advance) -> None:
        with self._lock:
            now = time.monotonic()
            if self._said is None:
                # Prefect may have taken its time before anything was done.
                self._said = now
            if now - self._said < PLAIN_INTERVAL_S:
                return
            self._said = now
        print(f"lading: {advance.step}: {amount(advance)}", file=sys.stderr, flush=True)


def amount(advance: Advance) -> str:
    """How far a step is, for people."""
    if advance.unit == "files":
        return f"{advance.done:,} files"
    done = f"{advance.done / 1e6:,.1f}"
    return f"{done} MB" if advance.total is None else f"{done} of {advance.total / 1e6:,.1f} MB"
