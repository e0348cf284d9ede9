from __future__ import annotations

import math
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from analytics.charts import Bar, Series, horizontal_bars, nice_ticks, stacked_columns
from analytics.formats import format_bytes, format_count

SVG = "{http://www.w3.org/2000/svg}"
VALUES = st.lists(st.floats(0, 1e18), min_size=1, max_size=60)


@given(maximum=st.floats(1e-9, 1e18))
def test_ticks_are_round_even_and_reach_the_maximum(maximum: float) -> None:
    ticks = nice_ticks(maximum)
    assert ticks[0] == 0
    assert ticks[-1] >= maximum * (1 - 1e-6)
    assert ticks[-2] < maximum * (1 + 1e-6)
    assert 2 <= len(ticks) <= 6
    mantissa = ticks[1] / 10 ** math.floor(math.log10(ticks[1]) + 1e-9)
    assert min(abs(mantissa - nice) for nice in (1, 2, 5, 10)) < 1e-6


@given(values=VALUES, name=st.text(max_size=80))
def test_columns_are_well_formed_and_stay_inside(values: list[float], name: str) -> None:
    labels = [str(n) for n in range(len(values))]
    root = ElementTree.fromstring(
        stacked_columns("c", name, name, labels, [Series(name, values, 0), Series("b", values, 1)], format_bytes)
    )
    _, _, width, height = (float(number) for number in root.attrib["viewBox"].split())
    for mark in root.iter(f"{SVG}rect"):
        x, y, w, h = (float(mark.attrib[key]) for key in ("x", "y", "width", "height"))
        assert x >= 0
        assert x + w <= width + 0.01
        assert y >= -0.01
        assert y + h <= height + 0.05


@given(names=st.lists(st.text(max_size=80), max_size=12), value=st.floats(0, 1e18))
def test_bars_are_well_formed_whatever_the_names(names: list[str], value: float) -> None:
    root = ElementTree.fromstring(horizontal_bars("b", "t", "d", [Bar(name, value) for name in names], format_count))
    assert len(list(root.iter(f"{SVG}rect"))) == len(names)


def test_chart_describes_itself_to_screen_readers() -> None:
    root = ElementTree.fromstring(stacked_columns("id1", "Title", "What it shows", ["Mon"], [], format_count))
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-labelledby"] == "id1-title id1-desc"
    assert [(e.attrib["id"], e.text) for e in list(root)[:2]] == [("id1-title", "Title"), ("id1-desc", "What it shows")]


def test_names_cannot_become_markup() -> None:
    text = horizontal_bars("b", "t", "d", [Bar("<script>alert(1)</script>", 1)], format_count)
    assert "<script" not in text


def test_columns_without_values_still_have_an_axis() -> None:
    root = ElementTree.fromstring(
        stacked_columns("c", "t", "d", ["Mon"], [Series("a", [0], 0)], format_count, whole_numbers=True)
    )
    assert [t.text for t in root.iter(f"{SVG}text")] == ["0", "1", "Mon"]


def test_labels_are_thinned_out_until_they_fit() -> None:
    labels = [str(n) for n in range(200)]
    root = ElementTree.fromstring(stacked_columns("c", "t", "d", labels, [Series("a", [1] * 200, 0)], format_count))
    drawn = [t for t in root.iter(f"{SVG}text") if t.attrib["text-anchor"] == "middle"]
    assert 5 < len(drawn) < 20
