"""Progress: what a pull tells whoever watches it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from lading.client.compare import Work


class Progress(Protocol):
    """Is told how a pull goes on; called from several threads."""

    def planned(self, work: Work) -> None:
        """The work is known."""

    def fetched(self, count: int) -> None:
        """`count` bytes came over the wire."""

    def made(self, count: int) -> None:
        """`count` raw bytes of files were written."""

    def note(self, message: str) -> None:
        """Something that the user should know."""


class Silent:
    """A Progress that says nothing."""

    def planned(self, work: Work) -> None: ...
    def fetched(self, count: int) -> None: ...
    def made(self, count: int) -> None: ...
    def note(self, message: str) -> None: ...


class Counter:
    """Adds up bytes from several threads and passes them on."""

    def __init__(self, tell: Callable[[int], None]) -> None:
        self.total = 0
        self._tell = tell
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        """Count `count` bytes more."""
        with self._lock:
            self.total += count
        self._tell(count)
