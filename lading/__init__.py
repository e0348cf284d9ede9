"""Lading: versioned dataset releases on object storage, delivered through an edge gateway.

    lading.pull("photos@2026-01", "./photos", where="split = 'train'")
    lading.open("photos/readme.md", "r").read()
    lading.files("photos").where("size < 100000").include("*.jpg")

The functions are loaded when they are used, so that `import lading` takes next to no time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lading.client.pull import PullResult
    from lading.client.reader import FileInfo
    from lading.errors import (
        AccessError,
        ConflictError,
        IntegrityError,
        LadingError,
        NotFoundError,
        TransferError,
        UsageError,
    )
    from lading.sdk import Files, files, open, pull
    from lading.settings import Settings

__version__ = "0.1.0"

__all__ = [
    "AccessError",
    "ConflictError",
    "FileInfo",
    "Files",
    "IntegrityError",
    "LadingError",
    "NotFoundError",
    "PullResult",
    "Settings",
    "TransferError",
    "UsageError",
    "__version__",
    "files",
    "open",
    "pull",
]

_HOMES = {
    "FileInfo": "lading.client.reader",
    "Files": "lading.sdk",
    "PullResult": "lading.client.pull",
    "Settings": "lading.settings",
    "files": "lading.sdk",
    "open": "lading.sdk",
    "pull": "lading.sdk",
}
"""Public name to the module that has it; the others are errors."""


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module 'lading' has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(_HOMES.get(name, "lading.errors")), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
