"""Cells as pictures: boxes for operations and states, lines for what reads what.

A cell is a small acyclic graph, and people compare cells by looking at them, on paper as
well as on a screen. So the drawing is one self-contained SVG in black on white, laid out
in layers from inputs (top) to the output (bottom); a line that passes a layer gets a place
of its own there instead of running through a box.

Source of the layout: layers, then barycentres, after Sugiyama et al., IEEE Transactions
on Systems, Man, and Cybernetics 11 (1981).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from xml.sax.saxutils import escape

_FONT_SIZE = 12
_LETTER = 7.0  # generous width of a letter at that size, so that no text leaves its box
_BOX_HEIGHT = 24
_LAYER_HEIGHT = 54
_GAP = 16
_MARGIN = 20
_SWEEPS = 8


@dataclass(frozen=True, slots=True)
class _Box:
    text: str
    is_state: bool

    @property
    def width(self) -> float:
        return len(self.text) * _LETTER + 16 if self.text else 6.0


@dataclass
class Diagram:
    """A cell to draw: first the states, then the operations between them."""

    title: str
    boxes: dict[str, _Box] = field(default_factory=dict)
    lines: list[tuple[str, str]] = field(default_factory=list)

    def add_state(self, key: str, text: str) -> None:
        """Add an input, sum, concatenation or output."""
        self.boxes[key] = _Box(text, is_state=True)

    def add_operation(self, text: str, sources: Sequence[str], target: str) -> None:
        """Add an operation that reads states and is part of another one."""
        key = f"operation {len(self.boxes)}"
        self.boxes[key] = _Box(text, is_state=False)
        self.lines += [(source, key) for source in sources] + [(key, target)]

    def add_line(self, source: str, target: str) -> None:
        """Add a line from one state to another."""
        self.lines.append((source, target))


def draw_diagrams(title: str, diagrams: Sequence[Diagram]) -> str:
    """Return an SVG document with the diagrams one below the other, as a page is read."""
    layouts = [_Layout(diagram) for diagram in diagrams]
    widths = [layout.width for layout in layouts] + [len(title) * (_LETTER + 1)]
    width = max(widths) + 2 * _MARGIN
    top = _MARGIN + 2 * _FONT_SIZE
    parts = [_text(title, width / 2, _MARGIN + _FONT_SIZE / 2, "bold")]
    for diagram, layout in zip(diagrams, layouts, strict=True):
        parts.append(_text(diagram.title, width / 2, top + _FONT_SIZE, "bold"))
        left, top = (width - layout.width) / 2, top + _MARGIN + _FONT_SIZE
        parts.append(f'<g transform="translate({left:g} {top:g})">{layout.svg()}</g>')
        top += layout.height + _MARGIN
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{top:g}" '
        f'viewBox="0 0 {width:g} {top:g}" role="img" font-family="sans-serif" '
        f'font-size="{_FONT_SIZE}">'
    )
    ground = f'<rect width="{width:g}" height="{top:g}" fill="white"/>'
    body = "\n".join([head, f"<title>{_escape(title)}</title>", ground, *parts])
    return body + "\n</svg>\n"


class _Layout:
    """Boxes of one diagram in layers, with a place for every line in every layer it passes."""

    def __init__(self, diagram: Diagram) -> None:
        self._boxes = dict(diagram.boxes)
        self._layer = _layers(diagram)
        self._ways = [self._route(source, target) for source, target in diagram.lines]
        self._order = self._order_layers()
        widths = [sum(self._boxes[key].width + _GAP for key in keys) for keys in self._order]
        self.width = max([*widths, len(diagram.title) * (_LETTER + 1)])
        self.height = len(self._order) * _LAYER_HEIGHT - (_LAYER_HEIGHT - _BOX_HEIGHT)
        self._centre: dict[str, float] = {}
        for keys, width in zip(self._order, widths, strict=True):
            x = (self.width - width) / 2
            for key in keys:
                box = self._boxes[key]
                self._centre[key] = x + (box.width + _GAP) / 2
                x += box.width + _GAP

    def _route(self, source: str, target: str) -> list[str]:
        """Return the keys from source to target, with a new one in each layer between."""
        way = [source]
        for layer in range(self._layer[source] + 1, self._layer[target]):
            key = f"passing {len(self._boxes)}"
            self._boxes[key] = _Box("", is_state=False)
            self._layer[key] = layer
            way.append(key)
        return [*way, target]

    def _order_layers(self) -> list[list[str]]:
        layers: list[list[str]] = [[] for _ in range(max(self._layer.values(), default=0) + 1)]
        for key, layer in self._layer.items():
            layers[layer].append(key)
        steps = [step for way in self._ways for step in pairwise(way)]
        for sweep in range(_SWEEPS):
            down = sweep % 2 == 0
            for index in range(len(layers)) if down else reversed(range(len(layers))):
                place = {
                    key: rank / len(keys) for keys in layers for rank, key in enumerate(keys, 1)
                }
                beside: dict[str, list[float]] = {}
                for source, target in steps:
                    here, there = (target, source) if down else (source, target)
                    beside.setdefault(here, []).append(place[there])
                barycentre = {key: sum(found) / len(found) for key, found in beside.items()}
                layers[index].sort(key=lambda key: barycentre.get(key, place[key]))
        return layers

    def svg(self) -> str:
        """Return lines first, so that boxes cover their ends."""
        lines = [self._line(way) for way in self._ways]
        boxes = [self._box(key) for key, box in self._boxes.items() if box.text]
        return "\n".join([*lines, *boxes])

    def _line(self, way: list[str]) -> str:
        points = [(self._centre[key], self._layer[key] * _LAYER_HEIGHT) for key in way]
        x, y = points[0]
        path = [f"M{x:.1f} {y + _BOX_HEIGHT}"]
        for index, (x_to, top) in enumerate(points[1:], 1):
            bend = (top + y + _BOX_HEIGHT) / 2
            path.append(f"C{x:.1f} {bend:g} {x_to:.1f} {bend:g} {x_to:.1f} {top}")
            if index < len(points) - 1:
                path.append(f"V{top + _BOX_HEIGHT}")
            x, y = x_to, top
        return f'<path d="{"".join(path)}" fill="none" stroke="#444"/>'

    def _box(self, key: str) -> str:
        box = self._boxes[key]
        x, y = self._centre[key] - box.width / 2, self._layer[key] * _LAYER_HEIGHT
        look = 'rx="12" fill="white" stroke-width="1.5"' if box.is_state else 'fill="#e8e8e8"'
        shape = (
            f'<rect x="{x:.1f}" y="{y}" width="{box.width:g}" height="{_BOX_HEIGHT}" '
            f'{look} stroke="black"/>'
        )
        return shape + _text(box.text, self._centre[key], y + 16)


def _layers(diagram: Diagram) -> dict[str, int]:
    """Return the longest way from a start to each box, operations just above their target."""
    layer = dict.fromkeys(diagram.boxes, 0)
    for _ in diagram.boxes:  # as many rounds as the longest way may have
        for source, target in diagram.lines:
            layer[target] = max(layer[target], layer[source] + 1)
    return layer


def _text(text: str, x: float, y: float, weight: str = "normal") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:g}" text-anchor="middle" font-weight="{weight}">'
        f"{_escape(text)}</text>"
    )


def _escape(text: str) -> str:
    """Escape markup and drop the control characters that XML 1.0 cannot hold."""
    return escape("".join(letter for letter in text if letter >= " "))
