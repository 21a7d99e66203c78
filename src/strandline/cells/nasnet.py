"""The NASNet search space as published: B = 5 blocks, 13 operations, two cells.

Source: Zoph et al., CVPR 2018 (arXiv 1707.07012), section 3 and appendix. A block picks two
hidden states (outputs of the two cells before, or earlier blocks of this cell), applies one
operation to each and adds or concatenates the results; the blocks that no other block
picked are concatenated into the cell's output. Five decisions a block, fifty in all.

What the paper leaves open follows the network that its authors released (TF-slim): both
inputs are brought to F channels (a 1x1 convolution on the current one always; on the
previous one when its channels differ, a factorized reduction when its size does); in a
reduction cell operations on inputs have stride 2; separable convolutions are applied
twice; an identity that has to change size or channels is a 1x1 convolution, a pooling that
has to change channels is followed by one; all convolutions are ReLU, convolution,
normalisation. The stem for ImageNet is a 3x3 convolution with stride 2 and two reduction
cells with F/4 and F/2 filters.

The released NASNet-A also concatenates, in each cell, one state that other blocks do use.
A candidate may therefore state `normal_also` and `reduction_also`; they are not searched.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from strandline.cells.decisions import Decisions
from strandline.cells.drawing import Diagram, draw_diagrams
from strandline.cells.expression import Expression, Finished, Value, add
from strandline.cells.family import Candidate, Choice, Counts, Plan
from strandline.cells.skeleton import Place, body
from strandline.cells.tally import Shape, Tally
from strandline.spec.errors import InvalidSpecError
from strandline.spec.records import Scalar

BLOCKS = 5
CELLS = ("normal", "reduction")
INPUTS = ("previous", "current")
STATES = (*INPUTS, *(f"block_{block}" for block in range(BLOCKS)))
OPERATIONS = (
    "identity",
    "conv_1x3_3x1",
    "conv_1x7_7x1",
    "dil_conv_3x3",
    "avg_pool_3x3",
    "max_pool_3x3",
    "max_pool_5x5",
    "max_pool_7x7",
    "conv_1x1",
    "conv_3x3",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "sep_conv_7x7",
)
_STEM_FILTERS = 32
_STEM_MULTIPLIER = 3
_FEATURES_PER_CELL = len(OPERATIONS) * (BLOCKS + len(INPUTS)) + 3


def _cell_choices(cell: str) -> list[Choice]:
    choices = []
    for block in range(BLOCKS):
        states = STATES[: 2 + block]
        choices += [
            Choice(f"{cell}_{block}_first", states),
            Choice(f"{cell}_{block}_second", states),
            Choice(f"{cell}_{block}_first_op", OPERATIONS),
            Choice(f"{cell}_{block}_second_op", OPERATIONS),
            Choice(f"{cell}_{block}_combine", ("add", "concat")),
        ]
    return choices


def cell_of(*blocks: tuple[str, str, str, str]) -> list[tuple[str, str, str, str, str]]:
    """Return blocks (first, its operation, second, its operation) that all add."""
    return [(*block, "add") for block in blocks]


class NasNet(Decisions):
    """The space: 5.2 * 10^36 candidates."""

    name: ClassVar[str] = "nasnet"
    choices = tuple(choice for cell in CELLS for choice in _cell_choices(cell))
    annotations = tuple(Choice(f"{cell}_also", ("nothing", *STATES)) for cell in CELLS)

    def canonical(self, candidate: Candidate) -> str:
        self.validate(candidate)
        return " | ".join(expression(candidate, cell).canonical() for cell in CELLS)

    def features(self, candidate: Candidate) -> NDArray[np.float32]:
        """Return float32 [188]: of each cell operations by depth and by input, and totals."""
        self.validate(candidate)
        values: list[int] = []
        for cell in CELLS:
            values += expression(candidate, cell).census(OPERATIONS, BLOCKS, INPUTS)
        return np.array(values, np.float32)

    def count(self, candidate: Candidate, plan: Plan) -> Counts:
        self.validate(candidate)
        tally = Tally()
        stem = stem_shape(plan)
        tally.conv(plan.channels_in, stem, (3, 3))
        tally.batch_norm(stem.channels)
        previous, current = stem, stem
        for place in places(plan):
            output = _count_cell(tally, candidate, place, previous, current)
            previous, current = current, output
        tally.linear(current.channels, plan.labels)
        return tally.counts()

    def draw(self, candidate: Candidate) -> str:
        self.validate(candidate)
        return draw_diagrams("NASNet", [_diagram(candidate, cell) for cell in CELLS])


def places(plan: Plan) -> list[Place]:
    """Return the places of all cells, those of the stem first."""
    if plan.stem == "cifar":
        return body(plan)
    stem = [Place(i, True, max(1, plan.filters // divisor)) for i, divisor in enumerate((4, 2))]
    return stem + body(plan, first=len(stem))


def stem_shape(plan: Plan) -> Shape:
    """Return the shape after the first convolution.

    Raises:
        InvalidSpecError: the image is too small for the ImageNet stem.
    """
    if plan.stem == "cifar":
        return Shape(plan.stem_filters or _STEM_MULTIPLIER * plan.filters, plan.image_size)
    if plan.image_size < 3:
        raise InvalidSpecError("the ImageNet stem needs images of at least 3 pixels")
    return Shape(plan.stem_filters or _STEM_FILTERS, (plan.image_size - 3) // 2 + 1)


def outputs(candidate: Candidate, cell: str) -> list[str]:
    """Return the states that are concatenated: unused blocks, and what is stated to join."""
    used = {
        candidate[f"{cell}_{block}_{side}"]
        for block in range(BLOCKS)
        for side in ("first", "second")
    }
    also = candidate.get(f"{cell}_also", "nothing")
    blocks = STATES[len(INPUTS) :]
    return [each for each in STATES if each == also or (each in blocks and each not in used)]


def used_inputs(candidate: Candidate, cell: str) -> set[str]:
    """Return which of the inputs anything in the cell reads."""
    read = {
        str(candidate[f"{cell}_{block}_{side}"])
        for block in range(BLOCKS)
        for side in ("first", "second")
    }
    return (read | set(outputs(candidate, cell))) & set(INPUTS)


def expression(candidate: Candidate, cell: str) -> Finished:
    """Return what the cell computes of inputs that have F channels each."""
    graph = Expression()
    states: dict[str, Value] = {name: graph.source(name) for name in INPUTS}
    wide: set[str] = set()

    def apply(state: str, operation: str) -> Value:
        strided = cell == "reduction" and state in INPUTS
        reshaped = strided or state in wide
        if operation == "identity" and not reshaped:
            return states[state]
        if operation == "avg_pool_3x3" and state not in wide:
            return graph.apply_linear(operation, states[state])
        pools = operation.startswith("max_pool") and state not in wide
        return graph.apply(operation, states[state], trainable=not pools)

    for block in range(BLOCKS):
        sides = [
            apply(
                str(candidate[f"{cell}_{block}_{side}"]),
                str(candidate[f"{cell}_{block}_{side}_op"]),
            )
            for side in ("first", "second")
        ]
        state = STATES[len(INPUTS) + block]
        if candidate[f"{cell}_{block}_combine"] == "concat":
            wide.add(state)
            states[state] = graph.apply("concat", *sides, trainable=False)
        else:
            states[state] = add(*sides)
    return graph.finish(*(states[state] for state in outputs(candidate, cell)))


def _count_cell(
    tally: Tally, candidate: Candidate, place: Place, previous: Shape, current: Shape
) -> Shape:
    cell = CELLS[place.reduction]
    used = used_inputs(candidate, cell)
    shapes = {"previous": previous, "current": current}
    if "current" in used:
        shapes["current"] = tally.conv_norm(current, place.filters, 1)
    if "previous" in used and place.number > 0:
        shapes["previous"] = _count_fitted(tally, previous, current.size, place.filters)
    for block in range(BLOCKS):
        sides = [
            _count_operation(
                tally,
                str(candidate[f"{cell}_{block}_{side}_op"]),
                shapes[str(candidate[f"{cell}_{block}_{side}"])],
                place.filters,
                2 if place.reduction and candidate[f"{cell}_{block}_{side}"] in INPUTS else 1,
            )
            for side in ("first", "second")
        ]
        factor = 2 if candidate[f"{cell}_{block}_combine"] == "concat" else 1
        out = Shape(factor * place.filters, sides[0].size)
        shapes[STATES[len(INPUTS) + block]] = out
    size = out.size
    for state in set(outputs(candidate, cell)) & set(INPUTS):
        shapes[state] = _count_fitted(tally, shapes[state], size, place.filters)
    return Shape(sum(shapes[state].channels for state in outputs(candidate, cell)), size)


def _count_fitted(tally: Tally, shape: Shape, size: int, filters: int) -> Shape:
    """Count what brings a state to a size and a number of channels; nothing if it has them."""
    if shape.size != size:
        return tally.factorized(shape, filters)
    if shape.channels != filters:
        return tally.conv_norm(shape, filters, 1)
    return shape


def _count_operation(
    tally: Tally, operation: str, shape: Shape, filters: int, stride: int
) -> Shape:
    out = shape.strided(filters, stride)
    kernel = int(operation[-1]) if operation[-1].isdigit() else 1
    if operation.startswith("sep_conv"):
        return tally.separable(tally.separable(shape, filters, kernel, stride), filters, kernel)
    if operation in ("conv_1x3_3x1", "conv_1x7_7x1"):
        width = int(operation[7])
        tally.conv(shape.channels, out, (1, width), positions=shape.size * out.size)
        tally.batch_norm(filters)
        tally.conv(filters, out, (width, 1))
        tally.batch_norm(filters)
    elif "pool" in operation:
        if shape.channels != filters:
            tally.conv_norm(Shape(shape.channels, out.size), filters, 1)
    elif operation != "identity" or stride > 1 or shape.channels != filters:
        tally.conv_norm(shape, filters, kernel, stride)
    return out


def _diagram(candidate: Candidate, cell: str) -> Diagram:
    diagram = Diagram(f"{cell} cell")
    for name, text in zip(INPUTS, ("previous cell but one", "previous cell"), strict=True):
        diagram.add_state(name, text)
    for block in range(BLOCKS):
        state = STATES[len(INPUTS) + block]
        diagram.add_state(state, str(candidate[f"{cell}_{block}_combine"]))
        for side in ("first", "second"):
            operation = str(candidate[f"{cell}_{block}_{side}_op"])
            diagram.add_operation(operation, [str(candidate[f"{cell}_{block}_{side}"])], state)
    diagram.add_state("output", "concat")
    for state in outputs(candidate, cell):
        diagram.add_line(state, "output")
    return diagram


def genotype(
    normal: list[tuple[str, str, str, str, str]],
    reduction: list[tuple[str, str, str, str, str]],
    normal_also: str = "nothing",
    reduction_also: str = "nothing",
) -> dict[str, Scalar]:
    """Return the candidate of two cells, each five (first, op, second, op, combine)."""
    candidate: dict[str, Scalar] = {}
    for cell, blocks in zip(CELLS, (normal, reduction), strict=True):
        for block, (first, first_op, second, second_op, combine) in enumerate(blocks):
            values = (first, second, first_op, second_op, combine)
            names = ("first", "second", "first_op", "second_op", "combine")
            candidate |= {f"{cell}_{block}_{n}": v for n, v in zip(names, values, strict=True)}
    for cell, also in zip(CELLS, (normal_also, reduction_also), strict=True):
        if also != "nothing":
            candidate[f"{cell}_also"] = also
    return candidate


NASNET_A = genotype(
    cell_of(
        ("current", "sep_conv_5x5", "previous", "sep_conv_3x3"),
        ("previous", "sep_conv_5x5", "previous", "sep_conv_3x3"),
        ("current", "avg_pool_3x3", "previous", "identity"),
        ("previous", "avg_pool_3x3", "previous", "avg_pool_3x3"),
        ("current", "sep_conv_3x3", "current", "identity"),
    ),
    cell_of(
        ("current", "sep_conv_5x5", "previous", "sep_conv_7x7"),
        ("current", "max_pool_3x3", "previous", "sep_conv_7x7"),
        ("current", "avg_pool_3x3", "previous", "sep_conv_5x5"),
        ("block_1", "identity", "block_0", "avg_pool_3x3"),
        ("block_0", "sep_conv_3x3", "current", "max_pool_3x3"),
    ),
    normal_also="previous",
    reduction_also="block_1",
)
"""NASNet-A, figure 4 of the paper, with the concatenations of the released network."""
