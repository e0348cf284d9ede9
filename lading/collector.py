"""Python's garbage collector in a command: most objects that a command makes live until its end.

Looking through them again and again while modules are imported takes a tenth of a command's start, and looking through
them all once more at its end takes a tenth of a second.
"""

from __future__ import annotations

import atexit
import gc
import sys

THRESHOLD = 50_000
"""New objects between two collections; Python's own is 700."""


def collect_rarely() -> None:
    """Call it before anything large is imported."""
    gc.set_threshold(THRESHOLD)
    atexit.register(_skip_last_collection)


def _skip_last_collection() -> None:
    # DuckDB's whole package reports as leaked what the last collection does not find.
    if "duckdb" not in sys.modules:
        gc.freeze()
