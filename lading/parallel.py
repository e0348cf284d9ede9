"""Threads with bounded memory."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from itertools import islice
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

WAIT_S = 0.2
"""How long a wait takes at most before signals are looked at: it keeps Ctrl-C alive on every system."""


def cores() -> int:
    """Processors that this process may use: the default number of threads for work that is not waiting."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ordered_map(pool: Executor, function: Callable[[T], R], items: Iterable[T], pending: int) -> Iterator[R]:
    """Like `pool.map`, but takes from `items` no more than `pending` ahead of what was consumed.

    On an error, or when the consumer stops, what has not begun is cancelled.
    """
    waiting: deque[Future[R]] = deque()
    source = iter(items)
    try:
        for item in islice(source, pending):
            waiting.append(pool.submit(function, item))
        while waiting:
            result = waiting.popleft().result()
            for item in islice(source, 1):
                waiting.append(pool.submit(function, item))
            yield result
    finally:
        for future in waiting:
            future.cancel()


class Ahead(Generic[T]):
    """A function that runs in a thread of its own from now on. The thread is a daemon: one that hangs in a system call
    does not keep the process from ending."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._future: Future[T] = Future()
        self._done = threading.Event()
        self._function = function
        threading.Thread(target=self._run, name="ahead", daemon=True).start()

    def result(self) -> T:
        """Wait for the function's result; raises what it raised."""
        while not self._done.wait(WAIT_S):
            pass
        return self._future.result()

    def _run(self) -> None:
        try:
            self._future.set_result(self._function())
        except BaseException as error:
            self._future.set_exception(error)
        finally:
            self._done.set()
