from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.formats import clean_label, format_bytes, format_share, format_usd, shorten_middle


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (1530, "1.53 kB"),
        (12_340_000, "12.3 MB"),
        (999_499_999, "999 MB"),
        (999_500_000, "1 GB"),
        (456 * 10**12, "456 TB"),
        (10**22, "10000 EB"),
    ],
)
def test_bytes_have_three_digits_and_decimal_units(count: int, text: str) -> None:
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "$0.00"),
        (0.01, "$0.01"),
        (12.345, "$12.35"),
        (1234.5, "$1,234"),
        (0.0099, "$0.0099"),
        (0.0012, "$0.0012"),
        (0.000052, "$0.000052"),
        (0.0000009, "$0.0000009"),
        (1e-8, "< $0.000001"),
    ],
)
def test_small_amounts_keep_two_digits(amount: float, text: str) -> None:
    assert format_usd(amount) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 0, "–"),
        (0, 5, "0 %"),
        (5, 5, "100 %"),
        (1, 3, "33.3 %"),
        (1, 10**6, "< 0.1 %"),
        (10**6 - 1, 10**6, "> 99.9 %"),
    ],
)
def test_all_and_nothing_are_said_only_when_exact(part: int, whole: int, text: str) -> None:
    assert format_share(part, whole) == text


@given(st.text(), st.integers(4, 80))
def test_labels_are_short_and_have_no_control_characters(text: str, limit: int) -> None:
    for shown in (clean_label(text, limit), shorten_middle(clean_label(text, 500), limit)):
        assert len(shown) <= limit
        assert shown.isprintable() or all(c.isprintable() or c.isspace() for c in shown)
    assert "\u202e" not in clean_label("a\u202eb")
