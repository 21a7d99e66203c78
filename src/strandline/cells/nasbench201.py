"""The cells of NAS-Bench-201: four nodes, six edges, five operations.

Source: Dong and Yang, ICLR 2020 (arXiv 2001.00326). A node adds up what reaches it. The
network is the published skeleton: a 3x3 stem, three stages of N cells with F, 2F and 4F
channels, a residual block with stride 2 between them, then normalisation, ReLU, average
and classifier. As published, operations that cannot influence the output are built, run
and counted all the same.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from operator import itemgetter
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from strandline.cells.decisions import Decisions
from strandline.cells.drawing import Diagram, draw_diagrams
from strandline.cells.expression import ZERO, Expression, Finished, Value, add
from strandline.cells.family import Candidate, Choice, Counts, Plan
from strandline.cells.tally import Shape, Tally
from strandline.spec.errors import InvalidSpecError
from strandline.spec.records import Scalar

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
_COMPUTING = OPERATIONS[2:]
_PATHS = tuple(way for length in range(4) for way in product(_COMPUTING, repeat=length))
_PLACES = tuple(product(_COMPUTING, (1, 2, 3), (0, 1, 2)))

_LARGEST_CACHE = 16_384  # all cells there are


def edge_name(source: int, target: int) -> str:
    """Return the name of the decision about the edge between two nodes."""
    return f"op_{source}_{target}"


def from_arch(text: str) -> dict[str, Scalar]:
    """Read the benchmark's own notation, `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`.

    Raises:
        InvalidSpecError: it is not that.
    """
    nodes = [
        [edge.partition("~") for edge in node.strip("|").split("|")] for node in text.split("+")
    ]
    written = [
        (int(source), target, name)
        for target, edges in enumerate(nodes, 1)
        for name, _, source in edges
        if source.isdigit()
    ]
    candidate: dict[str, Scalar] = {edge_name(a, b): name for a, b, name in written}
    ordered = {edge_name(*edge): candidate.get(edge_name(*edge)) for edge in EDGES}
    if len(written) != len(EDGES) or any(name not in OPERATIONS for name in ordered.values()):
        raise InvalidSpecError(f"{text[:200]!r} is no cell of NAS-Bench-201 in its own notation")
    return ordered


class NasBench201(Decisions):
    """The space: 5 to the 6 is 15,625 candidates."""

    name: ClassVar[str] = "nasbench201"
    choices = tuple(Choice(edge_name(*edge), OPERATIONS) for edge in EDGES)

    def canonical(self, candidate: Candidate) -> str:
        return _canonical(self._read(candidate))

    def features(self, candidate: Candidate) -> NDArray[np.float32]:
        """Return float32 [72]: ways by operations, operations by place, and five totals."""
        return _features(self._read(candidate)).copy()

    def count(self, candidate: Candidate, plan: Plan) -> Counts:
        operations = self._read(candidate)
        convolutions = [operations.count(f"nor_conv_{size}x{size}") for size in (1, 3)]
        return _count(plan, *convolutions)

    def draw(self, candidate: Candidate) -> str:
        self.validate(candidate)
        cell = Diagram("cell")
        for node, text in enumerate(("input", "sum 1", "sum 2", "output")):
            cell.add_state(str(node), text)
        for source, target in EDGES:
            operation = str(candidate[edge_name(source, target)])
            if operation != "none":
                cell.add_operation(operation, [str(source)], str(target))
        return draw_diagrams("NAS-Bench-201", [cell])

    def _read(self, candidate: Candidate) -> tuple[str, ...]:
        self.validate(candidate)
        operations: tuple[str, ...] = _operations_of(candidate)
        return operations


_operations_of = itemgetter(*(edge_name(*edge) for edge in EDGES))


def _expression(operations: tuple[str, ...]) -> Finished:
    graph = Expression()
    values: list[Value] = [graph.source("in"), ZERO, ZERO, ZERO]
    for (source, target), operation in zip(EDGES, operations, strict=True):
        values[target] = add(values[target], _apply(graph, operation, values[source]))
    return graph.finish(values[3])


@lru_cache(maxsize=_LARGEST_CACHE)
def _canonical(operations: tuple[str, ...]) -> str:
    return _expression(operations).canonical()


@lru_cache(maxsize=_LARGEST_CACHE)
def _features(operations: tuple[str, ...]) -> NDArray[np.float32]:
    expression = _expression(operations)
    ways, placed = expression.paths(), expression.placed()
    found = [(each.name, each.depth, each.height) for each in placed]
    totals = [sum(each.name == name for each in placed) for name in _COMPUTING]
    depth = max((each.depth for each in placed), default=0)
    values = [ways[way] for way in _PATHS] + [found.count(place) for place in _PLACES]
    return np.array([*values, *totals, depth, sum(ways.values())], np.float32)


@lru_cache(maxsize=1024)
def _count(plan: Plan, ones: int, threes: int) -> Counts:
    """Count the network of a cell with so many convolutions of 1x1 and of 3x3."""
    tally = Tally()
    shape = _count_stem(tally, plan)
    for stage in range(3):
        if stage:
            shape = _count_reduction(tally, shape)
        for size, convolutions in ((1, ones), (3, threes)):
            for _ in range(convolutions * plan.cells):
                tally.conv_norm(shape, shape.channels, size)
    tally.batch_norm(shape.channels)
    tally.linear(shape.channels, plan.labels)
    return tally.counts()


def _apply(graph: Expression, operation: str, value: Value) -> Value:
    if operation == "none":
        return ZERO
    if operation == "skip_connect":
        return value
    if operation == "avg_pool_3x3":
        return graph.apply_linear(operation, value)
    return graph.apply(operation, value, trainable=True)


def _count_stem(tally: Tally, plan: Plan) -> Shape:
    image = Shape(plan.channels_in, plan.image_size)
    if plan.stem == "cifar":
        return tally.conv_norm(image, plan.filters, 3)
    half = tally.conv_norm(image, plan.stem_filters or plan.filters, 3, 2)
    return tally.conv_norm(half, plan.filters, 3, 2)


def _count_reduction(tally: Tally, shape: Shape) -> Shape:
    """Count the residual block between stages: two 3x3 convolutions, a pooled shortcut."""
    out = tally.conv_norm(shape, 2 * shape.channels, 3, 2)
    tally.conv_norm(out, out.channels, 3)
    tally.conv(shape.channels, out, (1, 1))
    return out
