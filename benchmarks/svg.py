"""A line chart as SVG, readable on light and dark pages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

Points = Sequence[tuple[float, float]]

_WIDTH, _HEIGHT = 720, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 24, 40, 56
_COLOURS = ("#2f6f9f", "#b5542b", "#4d7f3c", "#7a5195")
_STYLE = (
    "<style>text { fill: #333 } .grid { stroke: #ccc }"
    " @media (prefers-color-scheme: dark) { text { fill: #ddd } .grid { stroke: #555 } }</style>"
)
_DASHES = ("", "6 4", "2 3", "8 3 2 3")


def chart(title: str, lines: Mapping[str, Points], *, x_label: str, y_label: str, log_x: bool) -> str:
    """The chart; every line has a dash of its own beside its colour, and a name at its end."""
    xs = [x for points in lines.values() for x, _ in points]
    top = _round_up(max(y for points in lines.values() for _, y in points))
    low, high = min(xs), max(xs)

    def across(x: float) -> float:
        share = math.log(x / low) / math.log(high / low) if log_x else (x - low) / (high - low)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def up(y: float) -> float:
        return _HEIGHT - _BOTTOM - y / top * (_HEIGHT - _TOP - _BOTTOM)

    middle = (_HEIGHT - _BOTTOM + _TOP) / 2
    box = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}"'
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {box} font-family="system-ui, sans-serif" font-size="13">',
        _STYLE,
        f'<text x="{_LEFT}" y="22" font-size="15">{escape(title)}</text>',
        f'<text x="{(_WIDTH + _LEFT) / 2:.0f}" y="{_HEIGHT - 10}" text-anchor="middle">{escape(x_label)}</text>',
        f'<text text-anchor="middle" transform="translate(16 {middle:.0f}) rotate(-90)">{escape(y_label)}</text>',
    ]
    for step in range(5):
        value = top * step / 4
        out.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{up(value):.1f}" y2="{up(value):.1f}"/>')
        out.append(f'<text x="{_LEFT - 8}" y="{up(value) + 4:.1f}" text-anchor="end">{_short(value)}</text>')
    for x in _ticks(sorted(set(xs)), log_x=log_x):
        out.append(f'<text x="{across(x):.1f}" y="{_HEIGHT - _BOTTOM + 20}" text-anchor="middle">{_short(x)}</text>')
    for number, (name, points) in enumerate(lines.items()):
        colour, dash = _COLOURS[number % len(_COLOURS)], _DASHES[number % len(_DASHES)]
        path = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in points)
        out.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}" points="{path}"/>')
        x, y = points[-1][0], max(y for _, y in points[-3:])  # above the end of the line
        out.append(
            f'<text x="{across(x):.1f}" y="{up(y) - 8:.1f}" text-anchor="end" style="fill: {colour}">{escape(name)}</text>'
        )
    return "\n".join([*out, "</svg>", ""])


def _ticks(xs: Sequence[float], *, log_x: bool) -> Sequence[float]:
    most = 10
    return xs if log_x or len(xs) <= most else [xs[len(xs) * place // most] for place in range(most)] + [xs[-1]]


def _round_up(value: float) -> float:
    size = 10.0 ** math.floor(math.log10(value))
    return next(size * factor for factor in (1, 2, 4, 5, 8, 10) if size * factor >= value)


def _short(value: float) -> str:
    for size, unit in ((1_000_000, "M"), (1_000, "k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"
