"""The cells of DARTS: four nodes that each add two operations, one normal, one reduction.

Source: Liu et al., ICLR 2019 (arXiv 1806.09055), section 3.1. The discrete cell: a node
reads two different earlier states, each through one of seven operations (`none` exists in
the relaxation only); the four nodes are concatenated. Which two states a node reads is one
decision over the pairs, so that every combination is a cell; the first node can only read
the two inputs and decides nothing.

The network is the one the authors evaluate: both inputs through ReLU, 1x1 convolution and
normalisation (a factorized reduction on the previous one after a reduction cell); separable
convolutions twice; an identity with stride 2 is a factorized reduction. The stem for
ImageNet is three 3x3 convolutions with stride 2.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations
from operator import itemgetter
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from strandline.cells.decisions import Decisions
from strandline.cells.drawing import Diagram, draw_diagrams
from strandline.cells.expression import Expression, Finished, Value, add
from strandline.cells.family import Candidate, Choice, Counts, Plan
from strandline.cells.skeleton import body
from strandline.cells.tally import Shape, Tally
from strandline.spec.records import Scalar

NODES = 4
CELLS = ("normal", "reduction")
INPUTS = ("previous", "current")
STATES = (*INPUTS, *(f"node_{node}" for node in range(NODES)))
OPERATIONS = (
    "skip_connect",
    "avg_pool_3x3",
    "max_pool_3x3",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
_STEM_MULTIPLIER = 3
# What is known of a cell is kept: a mutation changes one of the two.
_LARGEST_CACHE = 4096


def _cell_choices(cell: str) -> list[Choice]:
    choices = []
    for node in range(NODES):
        if node:
            pairs = tuple("+".join(pair) for pair in combinations(STATES[: 2 + node], 2))
            choices.append(Choice(f"{cell}_{node}_inputs", pairs))
        choices += [Choice(f"{cell}_{node}_{side}_op", OPERATIONS) for side in ("first", "second")]
    return choices


Edges = tuple[tuple[str, str, str], ...]
_VALUES_OF = {cell: itemgetter(*(choice.name for choice in _cell_choices(cell))) for cell in CELLS}


def edges(candidate: Candidate, cell: str) -> Edges:
    """Return (state read, operation, node), two for each node, in order."""
    return _edges(_VALUES_OF[cell](candidate))


Ways = dict[tuple[str, str], list[tuple[tuple[str, Scalar], ...]]]


@lru_cache(maxsize=len(CELLS) * NODES)
def ways_in(cell: str, node: int) -> Ways:
    """Return all that a node could read, as (state, operation), and what decides for it."""
    found: Ways = {}
    for pair in combinations(STATES[: 2 + node], 2):
        inputs = ((f"{cell}_{node}_inputs", "+".join(pair)),) if node else ()
        for state, side in zip(pair, ("first", "second"), strict=True):
            for operation in OPERATIONS:
                way = (*inputs, (f"{cell}_{node}_{side}_op", operation))
                found.setdefault((state, operation), []).append(way)
    return found


@lru_cache(maxsize=_LARGEST_CACHE)
def _edges(values: tuple[str, ...]) -> Edges:
    written = zip(*[iter(("+".join(INPUTS), *values))] * 3, strict=True)
    found: list[tuple[str, str, str]] = []
    for node, (pair, *operations) in enumerate(written):
        for state, operation in zip(pair.split("+"), operations, strict=True):
            found.append((state, operation, f"node_{node}"))
    return tuple(found)


class Darts(Decisions):
    """The space: 1.1 * 10^18 candidates."""

    name: ClassVar[str] = "darts"
    choices = tuple(choice for cell in CELLS for choice in _cell_choices(cell))

    def canonical(self, candidate: Candidate) -> str:
        self.validate(candidate)
        return " | ".join(_canonical(cell, edges(candidate, cell)) for cell in CELLS)

    def features(self, candidate: Candidate) -> NDArray[np.float32]:
        """Return float32 [90]: of each cell operations by depth and by input, and totals."""
        self.validate(candidate)
        return np.concatenate([_census(cell, edges(candidate, cell)) for cell in CELLS])

    def count(self, candidate: Candidate, plan: Plan) -> Counts:
        self.validate(candidate)
        total = _count_frame(plan)
        parameters, multiply_adds = total.parameters, total.multiply_adds
        costs = _operation_costs(plan)
        for cell in CELLS:
            for state, operation, _ in edges(candidate, cell):
                cost = costs[cell, operation, state in INPUTS]
                parameters += cost.parameters
                multiply_adds += cost.multiply_adds
        return Counts(parameters, multiply_adds)

    def draw(self, candidate: Candidate) -> str:
        self.validate(candidate)
        return draw_diagrams("DARTS", [_diagram(candidate, cell) for cell in CELLS])


def expression(candidate: Candidate, cell: str) -> Finished:
    """Return what the cell computes."""
    graph, outputs = _express(cell, edges(candidate, cell))
    return graph.finish(*outputs)


@lru_cache(maxsize=_LARGEST_CACHE)
def _canonical(cell: str, read: Edges) -> str:
    graph, outputs = _express(cell, read)
    return graph.finish(*outputs).canonical()


@lru_cache(maxsize=_LARGEST_CACHE)
def _census(cell: str, read: Edges) -> NDArray[np.float32]:
    graph, outputs = _express(cell, read)
    return np.array(graph.census(outputs, OPERATIONS, NODES, INPUTS), np.float32)


def _express(cell: str, read: Edges) -> tuple[Expression, list[Value]]:
    graph = Expression()
    states: dict[str, Value] = {name: graph.source(name) for name in INPUTS}
    for state, operation, node in read:
        value = states[state]
        strided = cell == "reduction" and state in INPUTS
        if operation == "avg_pool_3x3":
            value = graph.apply_linear(operation, value)
        elif operation != "skip_connect" or strided:
            value = graph.apply(operation, value, trainable=operation != "max_pool_3x3")
        states[node] = add(states.get(node, ()), value)
    return graph, [states[node] for node in STATES[len(INPUTS) :]]


def stem_filters(plan: Plan) -> int:
    """Return the channels that the stem gives to the first cell."""
    factor = _STEM_MULTIPLIER if plan.stem == "cifar" else 1
    return plan.stem_filters or factor * plan.filters


def _count_stem(tally: Tally, plan: Plan) -> tuple[Shape, Shape]:
    image, filters = Shape(plan.channels_in, plan.image_size), stem_filters(plan)
    if plan.stem == "cifar":
        stem = tally.conv_norm(image, filters, 3)
        return stem, stem
    half = tally.conv_norm(image, max(1, filters // 2), 3, 2)
    quarter = tally.conv_norm(half, filters, 3, 2)
    return quarter, tally.conv_norm(quarter, filters, 3, 2)


# What an operation costs depends on no other one: inputs are brought to F channels first,
# and every cell puts out four times its F.


@lru_cache(maxsize=64)
def _count_frame(plan: Plan) -> Counts:
    """Count all that is no operation of a cell: the stem, the fitting of inputs, the end."""
    tally = Tally()
    previous, current = _count_stem(tally, plan)
    for place in body(plan):
        if previous.size != current.size:
            tally.factorized(previous, place.filters)
        else:
            tally.conv_norm(previous, place.filters, 1)
        tally.conv_norm(current, place.filters, 1)
        output = current.strided(NODES * place.filters, 2 if place.reduction else 1)
        previous, current = current, output
    tally.linear(current.channels, plan.labels)
    return tally.counts()


@lru_cache(maxsize=64)
def _operation_costs(plan: Plan) -> dict[tuple[str, str, bool], Counts]:
    """Return what operations cost in all cells of a kind: by cell, operation, reads an input."""
    _, stem = _count_stem(Tally(), plan)
    costs = {}
    for cell in CELLS:
        for operation in OPERATIONS:
            for reads_input in (False, True):
                tally, size = Tally(), stem.size
                for place in body(plan):
                    after = -(-size // 2) if place.reduction else size
                    if CELLS[place.reduction] == cell:
                        shape = Shape(place.filters, size if reads_input else after)
                        stride = 2 if place.reduction and reads_input else 1
                        _count_operation(tally, operation, shape, stride)
                    size = after
                costs[cell, operation, reads_input] = tally.counts()
    return costs


def _count_operation(tally: Tally, operation: str, shape: Shape, stride: int) -> Shape:
    kernel = int(operation[-1]) if operation[-1].isdigit() else 1
    if operation.startswith(("sep_conv", "dil_conv")):
        out = tally.separable(shape, shape.channels, kernel, stride)
        return tally.separable(out, out.channels, kernel) if operation[0] == "s" else out
    if operation == "skip_connect" and stride > 1:
        return tally.factorized(shape, shape.channels)
    return shape.strided(shape.channels, stride)


def _diagram(candidate: Candidate, cell: str) -> Diagram:
    diagram = Diagram(f"{cell} cell")
    for name, text in zip(INPUTS, ("previous cell but one", "previous cell"), strict=True):
        diagram.add_state(name, text)
    for node in STATES[len(INPUTS) :]:
        diagram.add_state(node, "add")
        diagram.add_line(node, "output")
    diagram.add_state("output", "concat")
    for state, operation, node in edges(candidate, cell):
        diagram.add_operation(operation, [state], node)
    return diagram


def genotype(normal: list[tuple[str, str]], reduction: list[tuple[str, str]]) -> dict[str, Scalar]:
    """Return the candidate of two cells, each eight (operation, state), two for each node."""
    candidate: dict[str, Scalar] = {}
    for cell, written in zip(CELLS, (normal, reduction), strict=True):
        for node in range(NODES):
            pair = sorted(written[2 * node : 2 * node + 2], key=lambda each: STATES.index(each[1]))
            if node:
                candidate[f"{cell}_{node}_inputs"] = "+".join(state for _, state in pair)
            candidate[f"{cell}_{node}_first_op"] = pair[0][0]
            candidate[f"{cell}_{node}_second_op"] = pair[1][0]
    return candidate


DARTS_V2 = genotype(
    [
        ("sep_conv_3x3", "previous"),
        ("sep_conv_3x3", "current"),
        ("sep_conv_3x3", "previous"),
        ("sep_conv_3x3", "current"),
        ("sep_conv_3x3", "current"),
        ("skip_connect", "previous"),
        ("skip_connect", "previous"),
        ("dil_conv_3x3", "node_0"),
    ],
    [
        ("max_pool_3x3", "previous"),
        ("max_pool_3x3", "current"),
        ("skip_connect", "node_0"),
        ("max_pool_3x3", "current"),
        ("max_pool_3x3", "previous"),
        ("skip_connect", "node_0"),
        ("skip_connect", "node_0"),
        ("max_pool_3x3", "current"),
    ],
)
"""The cells found with the second-order approximation, figures 4 and 5 of the paper."""
