"""Networks of DARTS cells (arXiv 1806.09055), from a genotype and a plan."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from strandline.cells.darts import (
    CELLS,
    INPUTS,
    NODES,
    STATES,
    Darts,
    edges,
    stem_filters,
    ways_in,
)
from strandline.cells.family import Candidate, Plan
from strandline.cells.skeleton import Place, body, drop_rate
from strandline.cells.tally import Shape
from strandline.zoo.cells.layers import (
    ConvNorm,
    FactorizedReduction,
    Mixture,
    Separable,
    States,
    Step,
    TwiceSeparable,
    Way,
    initialise,
)
from strandline.zoo.cells.network import StackedNetwork


class DartsNetwork(StackedNetwork):
    """Stem, cells and heads.

    Without a candidate every node reads every earlier state, through every operation.
    """

    def __init__(self, candidate: Candidate | None, plan: Plan) -> None:
        super().__init__(plan)
        if candidate is not None:
            Darts().validate(candidate)
        shapes = self._add_stem(plan)
        stack = body(plan)
        for place in stack:
            cell = _Cell(
                candidate, place, shapes[-2], shapes[-1], drop_rate(plan, place, len(stack))
            )
            self.cells.append(cell)
            shapes.append(cell.shape)
        # The last reduction cell.
        self.finish(shapes[2:], auxiliary_after=len(stack) - plan.cells - 1)
        initialise(self)

    def _add_stem(self, plan: Plan) -> list[Shape]:
        """Add the stem and return the shapes of its two outputs."""
        filters = stem_filters(plan)
        self.second: nn.Module | None = None
        if plan.stem == "cifar":
            self.first: nn.Module = ConvNorm(plan.channels_in, filters, 3)
            return [Shape(filters, plan.image_size)] * 2
        half = max(1, filters // 2)
        self.first = nn.Sequential(
            ConvNorm(plan.channels_in, half, 3, 2),
            nn.ReLU(inplace=True),
            ConvNorm(half, filters, 3, 2),
        )
        self.second = nn.Sequential(nn.ReLU(), ConvNorm(filters, filters, 3, 2))
        quarter = Shape(plan.channels_in, plan.image_size).strided(filters, 2).strided(filters, 2)
        return [quarter, quarter.strided(filters, 2)]

    def stem(self, images: Tensor) -> tuple[Tensor, Tensor]:
        first = self.first(images)
        return first, first if self.second is None else self.second(first)


class _Cell(nn.Module):
    """One cell; `shape` is that of its output."""

    def __init__(
        self,
        candidate: Candidate | None,
        place: Place,
        previous: Shape,
        current: Shape,
        rate: float,
    ) -> None:
        super().__init__()
        filters, cell = place.filters, CELLS[place.reduction]
        self.previous: nn.Module = (
            FactorizedReduction(previous.channels, filters)
            if previous.size != current.size
            else ConvNorm(previous.channels, filters, 1)
        )
        self.current = ConvNorm(current.channels, filters, 1)
        self.steps = nn.ModuleList()
        for node in range(NODES):
            ways = ways_in(cell, node)
            if candidate is None:
                every = [_step(place, node, each, ways[each], rate) for each in ways]
                self.steps.append(Mixture(every))
                continue
            for state, operation, _ in edges(candidate, cell)[2 * node : 2 * node + 2]:
                read = (state, operation)
                way = [w for w in ways[read] if all(candidate[name] == v for name, v in w)]
                self.steps.append(_step(place, node, read, way, rate))
        self.shape = current.strided(NODES * filters, 2 if place.reduction else 1)

    def forward(self, previous: Tensor, current: Tensor) -> Tensor:
        """Return the concatenated nodes."""
        states = States(
            {
                "previous": self.previous(torch.relu(previous)),
                "current": self.current(torch.relu(current)),
            }
        )
        nodes = STATES[len(INPUTS) :]
        each = len(self.steps) // NODES
        for number, node in enumerate(nodes):
            first, *others = (
                step(states) for step in self.steps[each * number : each * (number + 1)]
            )
            states[node] = sum(others, first)
        return torch.cat([states[node] for node in nodes], 1)


def _step(place: Place, node: int, read: tuple[str, str], ways: Sequence[Way], rate: float) -> Step:
    state, operation = read
    stride = 2 if place.reduction and state in INPUTS else 1
    layers, rectify = _operation(operation, place.filters, stride)
    dropped = 0 if operation == "skip_connect" else rate
    return Step(state, operation, layers, rectify, dropped, place=f"node_{node}", ways=ways)


def _operation(operation: str, channels: int, stride: int) -> tuple[nn.Module | None, bool]:
    """Return the layers of an operation, None for none, and whether they want a ReLU before."""
    if operation == "skip_connect":
        return (FactorizedReduction(channels, channels), True) if stride > 1 else (None, False)
    if operation == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride, 1, count_include_pad=False), False
    if operation == "max_pool_3x3":
        return nn.MaxPool2d(3, stride, 1), False
    kernel = int(operation[-1])
    if operation.startswith("sep_conv"):
        return TwiceSeparable(channels, channels, kernel, stride), True
    return Separable(channels, channels, kernel, stride, dilation=2), True
