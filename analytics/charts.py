"""Charts as inline SVG: no scripts, no external resources, readable without colour and by screen readers.

Every chart has a title and a description for screen readers, a text on each axis, and a tooltip per mark. Colours
are CSS classes (`s0` … `s5`, `grid`, `axis`), which the page defines for light, dark and print. The SVG is built
as a tree and serialized, so a text from a log cannot break out of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from analytics.formats import clean_label, shorten_middle

MAX_SERIES = 6
"""As many colours as people tell apart; callers fold the rest into one series."""

_WIDTH = 960
_HEIGHT = 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 8, 12, 28
_TICKS = 4
_SMALLEST = 1e-9  # what is less is drawn like nothing: no figure of ours is that small
_LABEL_WIDTH = 62  # pixels that a label below the axis needs
_ROW = 26
_NAME_WIDTH = 212
_VALUE_WIDTH = 70  # pixels kept for the value beside a bar, at least
_BARS_WIDTH = 500
_CHARACTER_WIDTH = 7.4  # of the 12 px sans serif of the labels, on the wide side


@dataclass(frozen=True, slots=True)
class Series:
    """One value per label of the chart, none negative; `color` is the number of a class `s0` … `s5`."""

    name: str
    values: Sequence[float]
    color: int


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of `horizontal_bars`; `muted` for one that is no single thing, such as the sum of all others."""

    name: str
    value: float
    muted: bool = False


def nice_ticks(maximum: float, count: int = _TICKS) -> list[float]:
    """From 0 to at least `maximum` in about `count` steps of 1, 2 or 5 times a power of ten."""
    if not math.isfinite(maximum) or maximum < _SMALLEST:
        return [0.0, 1.0]
    raw = maximum / count
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next((m * magnitude for m in (1, 2, 5) if m * magnitude >= raw * (1 - 1e-9)), 10 * magnitude)
    return [n * step for n in range(math.ceil(maximum / step - 1e-9) + 1)]


def stacked_columns(
    chart_id: str,
    title: str,
    description: str,
    labels: Sequence[str],
    series: Sequence[Series],
    format_value: Callable[[float], str],
    *,
    tooltips: Sequence[str] | None = None,
    whole_numbers: bool = False,
) -> str:
    """Columns over time, one per label, with the series stacked from the bottom.

    A label of '' is not drawn; others are thinned out until they fit. `tooltips` name the columns in tooltips where the
    labels are too short for it. `whole_numbers` keeps the axis free of fractions.
    """
    svg = _root(chart_id, title, description, _WIDTH, _HEIGHT)
    totals = [sum(one.values[n] for one in series) for n in range(len(labels))]
    ticks = nice_ticks(max(totals, default=0))
    if whole_numbers:
        ticks = [tick for tick in ticks if tick == int(tick)]
        ticks = ticks if len(ticks) > 1 else [0.0, 1.0]
    plot_width, plot_height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    bottom = _TOP + plot_height
    scale = plot_height / ticks[-1]
    for tick in ticks:
        y = bottom - tick * scale
        _add(svg, "line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y, **{"class": "axis" if tick == 0 else "grid"})
        _text(svg, format_value(tick), _LEFT - 8, y + 4, "end")
    step = plot_width / max(len(labels), 1)
    width = max(min(step * 0.72, 72.0), step * 0.72 if step < 4 else 1.0)
    shown = [n for n, label in enumerate(labels) if label]
    spacing = (shown[1] - shown[0]) * step if len(shown) > 1 else step
    every = max(1, math.ceil(_LABEL_WIDTH / spacing))
    for n in shown[::every]:
        _text(svg, labels[n], _LEFT + (n + 0.5) * step, bottom + 18, "middle")
    for n in range(len(labels)):
        base = float(bottom)
        for one in series:
            height = one.values[n] * scale
            if height <= 0:
                continue
            base -= height
            mark = _add(
                svg,
                "rect",
                x=_LEFT + n * step + (step - width) / 2,
                y=base,
                width=width,
                height=height,
                **{"class": f"s{one.color}"},
            )
            when = (tooltips or labels)[n]
            ElementTree.SubElement(mark, "title").text = clean_label(
                f"{when}: {one.name} {format_value(one.values[n])}", 200
            )
    return _serialize(svg)


def horizontal_bars(
    chart_id: str,
    title: str,
    description: str,
    bars: Sequence[Bar],
    format_value: Callable[[float], str],
) -> str:
    """A bar per name, its value written beside it; in the order given."""
    height = max(len(bars), 1) * _ROW + 6
    svg = _root(chart_id, title, description, _BARS_WIDTH, height)
    longest = max((bar.value for bar in bars), default=0) or 1
    widest = max((len(format_value(bar.value)) for bar in bars), default=0) * _CHARACTER_WIDTH + 10
    room = _BARS_WIDTH - _NAME_WIDTH - max(_VALUE_WIDTH, widest)
    for n, bar in enumerate(bars):
        middle = n * _ROW + _ROW / 2 + 3
        fitting = shorten_middle(clean_label(bar.name, 200), int((_NAME_WIDTH - 12) / _CHARACTER_WIDTH))
        name = _text(svg, fitting, _NAME_WIDTH - 10, middle + 4, "end")
        ElementTree.SubElement(name, "title").text = clean_label(bar.name, 200)
        width = max(bar.value / longest * room, 1.0 if bar.value > 0 else 0.0)
        _add(
            svg,
            "rect",
            x=_NAME_WIDTH,
            y=middle - 8,
            width=width,
            height=16,
            rx=2,
            **{"class": "s5" if bar.muted else "s0"},
        )
        _text(svg, format_value(bar.value), _NAME_WIDTH + width + 7, middle + 4, "start")
    _add(svg, "line", x1=_NAME_WIDTH, x2=_NAME_WIDTH, y1=2, y2=height - 2, **{"class": "axis"})
    return _serialize(svg)


def _root(chart_id: str, title: str, description: str, width: int, height: int) -> ElementTree.Element:
    svg = ElementTree.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {width} {height}",
            "role": "img",
            "aria-labelledby": f"{chart_id}-title {chart_id}-desc",
        },
    )
    ElementTree.SubElement(svg, "title", {"id": f"{chart_id}-title"}).text = clean_label(title, 200)
    ElementTree.SubElement(svg, "desc", {"id": f"{chart_id}-desc"}).text = clean_label(description, 500)
    return svg


def _add(parent: ElementTree.Element, tag: str, **attributes: str | float) -> ElementTree.Element:
    texts = {name: value if isinstance(value, str) else _number(value) for name, value in attributes.items()}
    return ElementTree.SubElement(parent, tag, texts)


def _text(parent: ElementTree.Element, text: str, x: float, y: float, anchor: str) -> ElementTree.Element:
    element = _add(parent, "text", x=x, y=y, **{"text-anchor": anchor})
    element.text = clean_label(text)
    return element


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _serialize(svg: ElementTree.Element) -> str:
    return ElementTree.tostring(svg, encoding="unicode")
