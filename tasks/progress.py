"""Progress: the steps of a release say what they have done, and whoever listens in this process shows it.

A step that runs on another machine is heard by nobody; its work is the same.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class Advance:
    """How far a step is: `done` of `total` (None: unknown), in bytes or files."""

    step: str
    done: int
    total: int | None
    unit: str


Listener = Callable[[Advance], None]


@dataclass
class _Board:
    """Adds up what is said by several threads."""

    listener: Listener
    steps: dict[str, Advance] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, step: str, count: int, total: int | None, unit: str) -> None:
        with self.lock:
            known = self.steps.get(step) or Advance(step, 0, total, unit)
            now = replace(known, done=known.done + count, total=total or known.total)
            self.steps[step] = now
        self.listener(now)


_board: _Board | None = None


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Pass on what steps say; the listener is called from several threads, often, and has to be quick."""
    global _board
    _board = _Board(listener)
    try:
        yield
    finally:
        _board = None


def advance(step: str, count: int, total: int | None = None, unit: str = "bytes") -> None:
    """`count` bytes, or files, more are done of a step; `total`, once it is known, is what there is to do."""
    board = _board
    if board is not None:
        board.add(step, count, total, unit)
