"""Threads with bounded memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


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
