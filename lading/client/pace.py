"""Pace: how fast all transfers of a pull together may go, and what is too slow to wait for."""

from __future__ import annotations

import threading
import time

from lading.errors import UsageError

STALL_WINDOW_S = 30.0
"""A transfer that brought less than STALL_BYTES in this time is broken off and asked for again."""

STALL_BYTES = 16 * 1024

_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


class RateLimit:
    """At most `rate` bytes per second over all threads, after a burst of a quarter of a second."""

    BURST_S = 0.25

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._lock = threading.Lock()
        self._free_at = time.monotonic() - self.BURST_S

    @property
    def block(self) -> int:
        """Largest number of bytes to take at once, so that the flow is even."""
        return max(1024, min(64 * 1024, self._rate // 8))

    def delay(self, count: int) -> float:
        """Account for `count` bytes that came; returns for how many seconds to wait before reading more."""
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now - self.BURST_S) + count / self._rate
            return max(0.0, self._free_at - now)


class StallWatch:
    """Notices that a transfer hardly moves. Time that is spent elsewhere than waiting for bytes does not count."""

    def __init__(self) -> None:
        self._waited = 0.0
        self._bytes = 0

    def stalled(self, waited: float, count: int) -> bool:
        """Account for `count` bytes that took `waited` seconds; whether that is too slow by now."""
        self._waited += waited
        self._bytes += count
        if self._waited < STALL_WINDOW_S:
            return False
        slow = self._bytes < STALL_BYTES
        self._waited, self._bytes = 0.0, 0
        return slow


def parse_rate(text: str) -> int:
    """Bytes per second from text such as '500k' or '2.5M' (powers of 1024). Raises UsageError."""
    number, unit = text.strip(), ""
    if number and number[-1].isalpha():
        number, unit = number[:-1], number[-1].lower()
    try:
        rate = int(float(number) * _UNITS[unit])
    except (ValueError, KeyError, OverflowError):
        rate = 0
    if rate < 1024:
        raise UsageError(f"the rate {text!r} is not valid", "give bytes per second, 1k or more, such as 500k or 2.5M")
    return rate


class Slots:
    """How many requests may run at once: halved when a server says that it is too much, then slowly more again."""

    SHRINK_INTERVAL_S = 1.0

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = float(most)
        self._used = 0
        self._shrunk_at = float("-inf")
        self._changed = threading.Condition()

    @property
    def limit(self) -> int:
        """Requests that may run at once now."""
        return max(1, int(self._limit))

    def take(self, stop: threading.Event) -> bool:
        """Wait for a slot; False if `stop` was set meanwhile."""
        with self._changed:
            while self._used >= self.limit:
                if stop.is_set():
                    return False
                self._changed.wait(0.2)
            self._used += 1
            return not stop.is_set()

    def give_back(self, *, well: bool) -> None:
        """Return a slot; `well` if the request did what it was to do."""
        with self._changed:
            self._used -= 1
            if well:
                self._limit = min(float(self._most), self._limit + 1 / self._limit)
            self._changed.notify()

    def shrink(self) -> None:
        """Halve the limit; refusals of requests that ran at the same time count once."""
        with self._changed:
            now = time.monotonic()
            if now - self._shrunk_at >= self.SHRINK_INTERVAL_S:
                self._shrunk_at = now
                self._limit = max(1.0, self._limit / 2)
