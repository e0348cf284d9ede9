"""Hashing files for as long as nobody stops it."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

from lading.client.transfer import Stopped

BLOCK_BYTES = 1024 * 1024


def sha256_until(path: Path, stop: threading.Event) -> bytes:
    """SHA-256 of a file. Raises Stopped when `stop` is set: a file may be so large that hashing takes minutes."""
    digest = hashlib.sha256()
    block = bytearray(BLOCK_BYTES)
    view = memoryview(block)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(block):
            if stop.is_set():
                raise Stopped
            digest.update(view[:count])
    return digest.digest()
