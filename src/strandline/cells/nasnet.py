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

from collections.abc import Iterator
from functools import lru_cache
from operator import itemgetter
from typing import ClassVar, NamedTuple

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
# What is known of a cell is kept: a mutation changes one of the two.
_LARGEST_CACHE = 4096


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
        return " | ".join(map(_canonical, self._read(candidate)))

    def features(self, candidate: Candidate) -> NDArray[np.float32]:
        """Return float32 [188]: of each cell operations by depth and by input, and totals."""
        return np.concatenate([_census(cell) for cell in self._read(candidate)])

    def count(self, candidate: Candidate, plan: Plan) -> Counts:
        (normal, frame), (reduction, other) = [
            _count_operations(plan, cell) for cell in self._read(candidate)
        ]
        total = _count_frame(plan, frame, other)
        return Counts(
            total.parameters + normal.parameters + reduction.parameters,
            total.multiply_adds + normal.multiply_adds + reduction.multiply_adds,
        )

    def draw(self, candidate: Candidate) -> str:
        self.validate(candidate)
        return draw_diagrams("NASNet", [_diagram(candidate, cell) for cell in CELLS])

    def _read(self, candidate: Candidate) -> list[_Cell]:
        self.validate(candidate)
        return [_read(candidate, cell) for cell in CELLS]


class _Frame(NamedTuple):
    """What the rest of a network needs to know of a cell.

    Attributes:
        read: the inputs that anything in the cell reads; those `joined` to the output, too.
        width: channels of the output, in multiples of F.
    """

    read: tuple[str, ...]
    joined: tuple[str, ...]
    width: int


class _Cell(NamedTuple):
    """The decisions about one cell: five values a block, and what is stated to join."""

    name: str
    values: tuple[str, ...]
    also: str

    def blocks(self) -> Iterator[tuple[str, str, str, str, str]]:
        """Iterate over (first, second, operation of first, of second, combine)."""
        place = iter(self.values)
        return zip(place, place, place, place, place, strict=True)

    def outputs(self) -> list[str]:
        used, also = {*self.values[0::5], *self.values[1::5]}, self.also
        unused = [each for each in STATES[len(INPUTS) :] if each not in used or each == also]
        return [also, *unused] if also in INPUTS else unused

    def used_inputs(self) -> tuple[str, ...]:
        used = {*self.values[0::5], *self.values[1::5], self.also}
        return tuple([each for each in INPUTS if each in used])

    def frame(self) -> _Frame:
        outputs = self.outputs()
        wide = [
            combine == "concat" and state in outputs
            for state, combine in zip(STATES[len(INPUTS) :], self.values[4::5], strict=True)
        ]
        joined = tuple([each for each in INPUTS if each in outputs])
        return _Frame(self.used_inputs(), joined, len(outputs) + sum(wide))

    def operations(self) -> Iterator[tuple[str, str]]:
        """Iterate over (operation, what it reads: an input, or how a block was combined)."""
        kinds = dict(zip(STATES, (*INPUTS, *self.values[4::5]), strict=True))
        for first, second, first_operation, second_operation, _ in self.blocks():
            yield first_operation, kinds[first]
            yield second_operation, kinds[second]


_VALUES_OF = {cell: itemgetter(*(choice.name for choice in _cell_choices(cell))) for cell in CELLS}


def _read(candidate: Candidate, cell: str) -> _Cell:
    also = str(candidate.get(f"{cell}_also", "nothing"))
    return _Cell(cell, _VALUES_OF[cell](candidate), also)


@lru_cache(maxsize=_LARGEST_CACHE)
def _canonical(cell: _Cell) -> str:
    graph, outputs = _express(cell)
    return graph.finish(*outputs).canonical()


@lru_cache(maxsize=_LARGEST_CACHE)
def _census(cell: _Cell) -> NDArray[np.float32]:
    graph, outputs = _express(cell)
    return np.array(graph.census(outputs, OPERATIONS, BLOCKS, INPUTS), np.float32)


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
    return _read(candidate, cell).outputs()


def used_inputs(candidate: Candidate, cell: str) -> set[str]:
    """Return which of the inputs anything in the cell reads."""
    return set(_read(candidate, cell).used_inputs())


def expression(candidate: Candidate, cell: str) -> Finished:
    """Return what the cell computes of inputs that have F channels each."""
    graph, outputs = _express(_read(candidate, cell))
    return graph.finish(*outputs)


def _express(cell: _Cell) -> tuple[Expression, list[Value]]:
    graph = Expression()
    states: dict[str, Value] = {name: graph.source(name) for name in INPUTS}
    wide: set[str] = set()

    def apply(state: str, operation: str) -> Value:
        strided = cell.name == "reduction" and state in INPUTS
        if operation == "identity":
            if not strided and state not in wide:
                return states[state]
            operation = "conv_1x1"  # the same network, but that drop path spares the identity
        if operation == "avg_pool_3x3" and state not in wide:
            return graph.apply_linear(operation, states[state])
        pools = operation.startswith("max_pool") and state not in wide
        return graph.apply(operation, states[state], trainable=not pools)

    for state, block in zip(STATES[len(INPUTS) :], cell.blocks(), strict=True):
        first, second, first_operation, second_operation, combine = block
        sides = apply(first, first_operation), apply(second, second_operation)
        if combine == "concat":
            wide.add(state)
            states[state] = graph.apply("concat", *sides, trainable=False)
        else:
            states[state] = add(*sides)
    return graph, [states[state] for state in cell.outputs()]


# What a cell's operations cost depends on nothing outside the cell, for its inputs are
# brought to F channels first; what that costs depends on nothing inside but the frame.


def _sized(plan: Plan) -> Iterator[tuple[Place, int, int]]:
    """Iterate over the cells of the network: (place, size before, size after)."""
    size = stem_shape(plan).size
    for place in places(plan):
        after = -(-size // 2) if place.reduction else size
        yield place, size, after
        size = after


@lru_cache(maxsize=64)
def _operation_costs(plan: Plan) -> dict[tuple[str, str, str], Counts]:
    """Return what operations cost in all cells of a kind: by cell, operation and operand."""
    return {
        (cell, operation, operand): _operation_cost(plan, cell, operation, operand)
        for cell in CELLS
        for operation in OPERATIONS
        for operand in (*INPUTS, "add", "concat")
    }


@lru_cache(maxsize=_LARGEST_CACHE)
def _count_operations(plan: Plan, cell: _Cell) -> tuple[Counts, _Frame]:
    """Count a cell's operations in all places where it stands."""
    costs, parameters, multiply_adds = _operation_costs(plan), 0, 0
    for operation, operand in cell.operations():
        cost = costs[cell.name, operation, operand]
        parameters += cost.parameters
        multiply_adds += cost.multiply_adds
    return Counts(parameters, multiply_adds), cell.frame()


def _operation_cost(plan: Plan, cell: str, operation: str, operand: str) -> Counts:
    tally = Tally()
    for place, before, after in _sized(plan):
        if CELLS[place.reduction] != cell:
            continue
        shape = Shape(place.filters * (2 if operand == "concat" else 1), after)
        if operand in INPUTS:
            shape = Shape(place.filters, before)
        if operand == "previous" and place.number == 0:
            shape = stem_shape(plan)  # the first cell's is not fitted
        stride = 2 if place.reduction and operand in INPUTS else 1
        _count_operation(tally, operation, shape, place.filters, stride)
    return tally.counts()


@lru_cache(maxsize=_LARGEST_CACHE)
def _count_frame(plan: Plan, normal: _Frame, reduction: _Frame) -> Counts:
    """Count all that is no operation of a cell: the stem, the fitting of inputs, the end."""
    tally, stem = Tally(), stem_shape(plan)
    tally.conv(plan.channels_in, stem, (3, 3))
    tally.batch_norm(stem.channels)
    previous, current = stem, stem
    for place, size, after in _sized(plan):
        frame = reduction if place.reduction else normal
        shapes = {"previous": previous, "current": current}
        if "current" in frame.read:
            shapes["current"] = tally.conv_norm(current, place.filters, 1)
        if "previous" in frame.read and place.number > 0:
            shapes["previous"] = _count_fitted(tally, previous, size, place.filters)
        for state in frame.joined:
            _count_fitted(tally, shapes[state], after, place.filters)
        previous, current = current, Shape(frame.width * place.filters, after)
    tally.linear(current.channels, plan.labels)
    return tally.counts()


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
