"""Numbers and untrusted texts for people to read. Units are decimal: 1 kB is 1,000 bytes."""

from __future__ import annotations

import unicodedata
from decimal import Decimal

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
MAX_LABEL = 60
"""Characters of a name that are shown; the JSON beside the page has all of them."""


def format_bytes(count: int | float) -> str:
    """Bytes with three significant digits: 999 B, 1.5 kB, 12.3 MB, 456 GB."""
    value, unit = float(count), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    if unit == 0:
        return f"{value:.0f} B"
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    text = f"{value:.{digits}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} {_UNITS[unit]}"


def format_count(count: int | float) -> str:
    """Whole numbers with thousands separators."""
    return f"{count:,.0f}"


def format_usd(amount: Decimal | float) -> str:
    """US dollars: cents from one cent on, two significant digits below."""
    value = float(amount)
    if value >= 1000:
        return f"${value:,.0f}"
    if value == 0 or value >= 0.01:
        return f"${value:,.2f}"
    if value < 0.0000005:
        return "< $0.000001"
    decimals = next(n for n in range(3, 8) if value >= 10 ** (1 - n) / 1.0000001) if value >= 1e-6 else 7
    return f"${value:.{decimals}f}"


def format_share(part: float, whole: float) -> str:
    """A percentage that says 0 % and 100 % only when that is exact; '–' of nothing."""
    if whole <= 0:
        return "–"
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return "< 0.1 %"
    if 99.9 < percent < 100:
        return "> 99.9 %"
    return f"{percent:.1f} %" if percent not in (0, 100) else f"{percent:.0f} %"


def clean_label(text: str, limit: int = MAX_LABEL) -> str:
    """A text from a log that cannot change the layout: no control or direction characters, at most `limit` long."""
    shown = "".join("\N{REPLACEMENT CHARACTER}" if unicodedata.category(c).startswith("C") else c for c in text)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def shorten_middle(text: str, limit: int) -> str:
    """At most `limit` characters of a text, with its middle left out: names differ at their ends."""
    if len(text) <= limit:
        return text
    tail = (limit - 1) // 2
    return f"{text[: limit - 1 - tail]}…{text[len(text) - tail :]}"
