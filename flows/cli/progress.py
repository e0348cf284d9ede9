"""Progress of a release on stderr: bars on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from lading.cli.progress import Lines
from tasks.progress import Advance, listening


def shown(*, quiet: bool) -> AbstractContextManager[None]:
    """Show on stderr what the steps of a release say."""
    if quiet:
        return nullcontext()
    return _bars() if sys.stderr.isatty() else _lines()


def _lines() -> AbstractContextManager[None]:
    """A line now and then; a step that is over sooner is not mentioned."""
    lines = Lines()
    return listening(lambda advance: lines.say(lambda: f"{advance.step}: {amount(advance)}"))


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


def amount(advance: Advance) -> str:
    """How far a step is, for people."""
    if advance.unit == "files":
        return f"{advance.done:,} files"
    done = f"{advance.done / 1e6:,.1f}"
    return f"{done} MB" if advance.total is None else f"{done} of {advance.total / 1e6:,.1f} MB"
