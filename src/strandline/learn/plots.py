"""Draw the report's charts as inline SVG: no network, no script, sharp in print.

Colours come from the page's style sheet by class, so one drawing serves light, dark and
paper; lines also differ by dash, so that no meaning hangs on colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from strandline.spec.scorecard import Curve, ReliabilityBin

WIDTH, HEIGHT = 360, 270
LEFT, RIGHT, TOP, BOTTOM = 48, 22, 12, 44
_LARGEST_DOT = 6.0
_TICKS = 5
_MATRIX_SIDE = 720
_LABEL_ROOM = 130
_LONGEST_LABEL = 18
_HEAT_LEVELS = 8


@dataclass(frozen=True, slots=True)
class Line:
    """A line through points; `css` is its class, `id` lets the page's script move it."""

    x: Sequence[float]
    y: Sequence[float]
    css: str
    id: str = ""


@dataclass(frozen=True, slots=True)
class Dot:
    """A marked point with the text that explains it."""

    x: float
    y: float
    css: str
    text: str
    radius: float = 5.0
    id: str = ""


@dataclass(frozen=True, slots=True)
class Band:
    """The area between two lines over the same places."""

    x: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    css: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart whose axes are in shares, shown as percent, unless it says how to tell a tick.

    Attributes:
        title: what is seen, for those who do not see it.
        x_top, y_top: upper ends of the axes; x_bottom, y_bottom: lower ones.
        x_tick, y_tick: tell the number at a tick.
        guides: straight lines to compare with.
    """

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    dots: Sequence[Dot] = ()
    guides: Sequence[Line] = ()
    x_top: float = 1.0
    y_top: float = 1.0
    x_bottom: float = 0.0
    y_bottom: float = 0.0
    x_tick: Callable[[float], str] | None = None
    y_tick: Callable[[float], str] | None = None
    bands: Sequence[Band] = ()


def draw(chart: Chart) -> Markup:
    """Return the chart as SVG."""
    parts = [
        Markup(
            '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}" '
            'data-left="{}" data-top="{}" data-width="{}" data-height="{}">'
        ).format(
            WIDTH, HEIGHT, chart.title, LEFT, TOP, WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
        ),
        _axes(chart),
        *(_band(chart, band) for band in chart.bands),
        *(_line(chart, line) for line in [*chart.guides, *chart.lines]),
        *(_dot(chart, dot) for dot in chart.dots),
        Markup("</svg>"),
    ]
    return Markup("").join(parts)


def _place(chart: Chart, x: float, y: float) -> tuple[float, float]:
    width, height = chart.x_top - chart.x_bottom, chart.y_top - chart.y_bottom
    across = LEFT + (WIDTH - LEFT - RIGHT) * min(max((x - chart.x_bottom) / width, 0.0), 1.0)
    down = TOP + (HEIGHT - TOP - BOTTOM) * (1 - min(max((y - chart.y_bottom) / height, 0.0), 1.0))
    return round(across, 1), round(down, 1)


def _axes(chart: Chart) -> Markup:
    floor = HEIGHT - BOTTOM
    parts = []
    x_tick, y_tick = chart.x_tick or percent_tick, chart.y_tick or percent_tick
    for value in ticks(chart.y_top, chart.y_bottom):
        _, y = _place(chart, 0, value)
        parts.append(
            Markup(
                '<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>'
                '<text x="{}" y="{}" text-anchor="end">{}</text>'
            ).format(LEFT, WIDTH - RIGHT, y, y, LEFT - 6, y + 4, y_tick(value))
        )
    for value in ticks(chart.x_top, chart.x_bottom):
        x, _ = _place(chart, value, 0)
        parts.append(
            Markup('<text x="{}" y="{}" text-anchor="middle">{}</text>').format(
                x, floor + 16, x_tick(value)
            )
        )
    middle = LEFT + (WIDTH - LEFT - RIGHT) / 2
    parts.append(
        Markup(
            '<text class="axis" x="{}" y="{}" text-anchor="middle">{}</text>'
            '<text class="axis" transform="translate(11 {}) rotate(-90)" '
            'text-anchor="middle">{}</text>'
        ).format(middle, HEIGHT - 8, chart.x_label, TOP + (floor - TOP) / 2, chart.y_label)
    )
    return Markup("").join(parts)


def _line(chart: Chart, line: Line) -> Markup:
    places = (_place(chart, x, y) for x, y in zip(line.x, line.y, strict=True))
    points = " ".join(f"{x:g},{y:g}" for x, y in places)
    return Markup('<polyline class="{}" {} points="{}"/>').format(line.css, _id(line.id), points)


def _band(chart: Chart, band: Band) -> Markup:
    upper = [_place(chart, x, y) for x, y in zip(band.x, band.high, strict=True)]
    lower = [_place(chart, x, y) for x, y in zip(band.x, band.low, strict=True)]
    points = " ".join(f"{x:g},{y:g}" for x, y in [*upper, *reversed(lower)])
    return Markup('<polygon class="{}" points="{}"/>').format(band.css, points)


def _dot(chart: Chart, dot: Dot) -> Markup:
    x, y = _place(chart, dot.x, dot.y)
    return Markup('<circle class="{}" {} cx="{}" cy="{}" r="{}"><title>{}</title></circle>').format(
        dot.css, _id(dot.id), x, y, f"{dot.radius:.3g}", dot.text
    )


def _id(name: str) -> Markup:
    return Markup('id="{}"').format(name) if name else Markup("")


def ticks(top: float, bottom: float = 0.0) -> list[float]:
    """Return at most six round values from `bottom` to `top`."""
    least = (top - bottom) / _TICKS
    size = 10.0 ** math.floor(math.log10(least))
    step = next(each * size for each in (1, 2, 2.5, 5, 10) if each * size >= least * (1 - 1e-9))
    first, last = math.ceil(bottom / step - 1e-9), math.floor(top / step + 1e-9)
    return [float(f"{index * step:.10g}") for index in range(first, last + 1)]


def percent_tick(value: float) -> str:
    """Return a share as percent without needless zeros."""
    return f"{100 * value:.4g}%"


def reliability_dots(bins: Sequence[ReliabilityBin], css: str, name: str) -> list[Dot]:
    """Return one dot a bin, its area by the number of scores."""
    most = max((each.count for each in bins), default=1)
    return [
        Dot(
            each.mean_score,
            each.share_right,
            css,
            f"{name}: of {each.count} scores around {each.mean_score:.1%}, "
            f"{each.share_right:.1%} were right",
            radius=max(2.5, _LARGEST_DOT * math.sqrt(each.count / most)),
        )
        for each in bins
    ]


def nice_top(largest: float) -> float:
    """Return an axis end a little above `largest`, at most 1."""
    return next((each for each in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if largest <= each), 1.0)


def curve_line(curve: Curve, css: str, name: str = "") -> Line:
    """Return the line of a stored curve."""
    return Line(curve.x, curve.y, css, name)


def heat_level(count: int, total: int) -> int:
    """Return 0 (none) … 8 (all) on a root scale, so that one mistake still shows."""
    if count == 0 or total == 0:
        return 0
    return max(1, math.ceil(_HEAT_LEVELS * math.sqrt(count / total) - 1e-9))


def draw_matrix(labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> Markup:
    """Return a confusion matrix of many labels as SVG, its cells explained on hover."""
    side = _MATRIX_SIDE / len(labels)
    room = _LABEL_ROOM
    size = room + _MATRIX_SIDE
    parts = [
        Markup(
            '<svg class="matrix" viewBox="0 0 {} {}" role="img" aria-label="{}">'
            '<rect class="field" x="{}" y="{}" width="{}" height="{}"/>'
        ).format(
            size,
            size,
            f"Confusion matrix of {len(labels)} labels; the list above names the largest cells",
            room,
            room,
            _MATRIX_SIDE,
            _MATRIX_SIDE,
        ),
        *_matrix_names(labels, side),
        *_matrix_cells(labels, matrix, side),
        Markup("</svg>"),
    ]
    return Markup("").join(parts)


def _matrix_names(labels: Sequence[str], side: float) -> list[Markup]:
    size = min(14.0, side * 0.9)
    parts = []
    for index, label in enumerate(labels):
        at = round(_LABEL_ROOM + (index + 0.5) * side, 2)
        name = shorten(label)
        parts.append(
            Markup(
                '<text class="name" font-size="{}" x="{}" y="{}" text-anchor="end" '
                'dominant-baseline="central">{}</text>'
                '<text class="name" font-size="{}" transform="translate({} {}) rotate(-90)" '
                'dominant-baseline="central">{}</text>'
            ).format(size, _LABEL_ROOM - 4, at, name, size, at, _LABEL_ROOM - 4, name)
        )
    return parts


def _matrix_cells(
    labels: Sequence[str], matrix: Sequence[Sequence[int]], side: float
) -> list[Markup]:
    parts = []
    for row, counts in enumerate(matrix):
        total = sum(counts)
        for column, count in enumerate(counts):
            if count == 0:
                continue
            kind = "hit" if row == column else "miss"
            parts.append(
                Markup(
                    '<rect class="{} h{}" x="{}" y="{}" width="{}" height="{}">'
                    "<title>{}</title></rect>"
                ).format(
                    kind,
                    heat_level(count, total),
                    round(_LABEL_ROOM + column * side, 2),
                    round(_LABEL_ROOM + row * side, 2),
                    round(side, 2),
                    round(side, 2),
                    f"{count} of {total} “{labels[row]}” were called “{labels[column]}”",
                )
            )
    return parts


def shorten(label: str, longest: int = _LONGEST_LABEL) -> str:
    """Return at most `longest` characters of a label."""
    return label if len(label) <= longest else label[: longest - 1] + "…"
