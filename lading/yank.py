"""Yanks: the mark that a release is kept, for those who name it, but no longer offered."""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Yank:
    """When a release was yanked (UTC, ISO 8601), and why if that was said."""

    yanked_at: str
    reason: str | None = None


def parse_yank(data: bytes) -> Yank:
    """The mark that an object `yanked.json` is. It counts by being there, whatever it holds."""
    try:
        document = json.loads(data)
        reason = document.get("reason")
        return Yank(str(document["yanked_at"]), None if reason is None else str(reason))
    except (ValueError, KeyError, TypeError, AttributeError):
        return Yank("an unknown time")
