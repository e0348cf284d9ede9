"""One process at a time for the state of a stack or of a gateway."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock, Timeout

from lading.errors import ConflictError


def take(lock: FileLock, what: str) -> None:
    """Take the lock of a folder, which lies in it. Raises ConflictError if `what` runs there already."""
    try:
        lock.acquire(blocking=False)
    except Timeout:
        home = Path(lock.lock_file).parent
        raise ConflictError(f"{what} runs in {home} already", "stop it, or give another LADING_HOME") from None
