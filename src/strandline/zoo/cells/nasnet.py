"""Networks of NASNet cells (arXiv 1707.07012), from a genotype and a plan."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from strandline.cells.family import Candidate, Plan
from strandline.cells.nasnet import (
    BLOCKS,
    CELLS,
    INPUTS,
    STATES,
    NasNet,
    outputs,
    places,
    stem_shape,
    used_inputs,
)
from strandline.cells.skeleton import Place, drop_rate
from strandline.cells.tally import Shape
from strandline.zoo.cells.layers import (
    ConvNorm,
    FactorizedReduction,
    States,
    Step,
    TwiceSeparable,
    initialise,
)
from strandline.zoo.cells.network import StackedNetwork


class NasNetNetwork(StackedNetwork):
    """Stem, cells and heads."""

    def __init__(self, candidate: Candidate, plan: Plan) -> None:
        super().__init__(plan)
        NasNet().validate(candidate)
        stem, stack = stem_shape(plan), places(plan)
        stride, padding = (1, 1) if plan.stem == "cifar" else (2, 0)
        self.first = nn.Sequential(
            nn.Conv2d(plan.channels_in, stem.channels, 3, stride, padding, bias=False),
            nn.BatchNorm2d(stem.channels),
        )
        shapes = [stem, stem]
        for place in stack:
            cell = _Cell(
                candidate, place, shapes[-2], shapes[-1], drop_rate(plan, place, len(stack))
            )
            self.cells.append(cell)
            shapes.append(cell.shape)
        # The last cell before the last reduction.
        self.finish(shapes[2:], auxiliary_after=len(stack) - plan.cells - 2)
        initialise(self)

    def stem(self, images: Tensor) -> tuple[Tensor, Tensor]:
        state = self.first(images)
        return state, state


class _Cell(nn.Module):
    """One cell; `shape` is that of its output."""

    def __init__(
        self, candidate: Candidate, place: Place, previous: Shape, current: Shape, rate: float
    ) -> None:
        super().__init__()
        name, filters = CELLS[place.reduction], place.filters
        shapes = {"previous": previous, "current": current}
        used = used_inputs(candidate, name)
        self.fits = nn.ModuleDict()
        if "current" in used:
            self.fits["current"] = ConvNorm(current.channels, filters, 1)
            shapes["current"] = Shape(filters, current.size)
        if "previous" in used and place.number > 0:  # the very first one is taken as it is
            self._fit(self.fits, "previous", shapes, Shape(filters, current.size))
        self.steps = nn.ModuleList()
        self.concatenates: list[bool] = []
        size = current.strided(filters, 2 if place.reduction else 1).size
        for block in range(BLOCKS):
            for side in ("first", "second"):
                source = str(candidate[f"{name}_{block}_{side}"])
                operation = str(candidate[f"{name}_{block}_{side}_op"])
                stride = 2 if place.reduction and source in INPUTS else 1
                channels = shapes[source].channels
                layers, rectify = _operation(operation, channels, filters, stride)
                dropped = 0 if operation == "identity" else rate
                decided = [f"{name}_{block}_{each}" for each in (side, f"{side}_op", "combine")]
                way = tuple((each, candidate[each]) for each in decided)
                step = Step(
                    source,
                    operation,
                    layers,
                    rectify,
                    dropped,
                    place=f"{block}_{side}",
                    ways=[way],
                )
                self.steps.append(step)
            self.concatenates.append(candidate[f"{name}_{block}_combine"] == "concat")
            shapes[STATES[2 + block]] = Shape(filters * (1 + self.concatenates[-1]), size)
        self.outputs = outputs(candidate, name)
        self.output_fits = nn.ModuleDict()
        for state in self.outputs:
            if state in INPUTS:
                self._fit(self.output_fits, state, shapes, Shape(filters, size))
        self.shape = Shape(sum(shapes[state].channels for state in self.outputs), size)

    def _fit(self, fits: nn.ModuleDict, name: str, shapes: dict[str, Shape], to: Shape) -> None:
        """Add the layers that give a state a shape, if it has another one."""
        if shapes[name].size != to.size:
            fits[name] = FactorizedReduction(shapes[name].channels, to.channels)
        elif shapes[name].channels != to.channels:
            fits[name] = ConvNorm(shapes[name].channels, to.channels, 1)
        shapes[name] = to

    def forward(self, previous: Tensor, current: Tensor) -> Tensor:
        """Return the concatenated states."""
        inputs = {"previous": previous, "current": current}
        for name, layers in self.fits.items():
            inputs[name] = layers(torch.relu(inputs[name]))
        states = States(inputs)
        for block, concatenates in enumerate(self.concatenates):
            first, second = (self.steps[2 * block + side](states) for side in (0, 1))
            states[STATES[2 + block]] = (
                torch.cat((first, second), 1) if concatenates else first + second
            )
        found = [
            self.output_fits[name](states[name]) if name in self.output_fits else states[name]
            for name in self.outputs
        ]
        return torch.cat(found, 1)


def _operation(
    operation: str, channels_in: int, channels: int, stride: int
) -> tuple[nn.Module | None, bool]:
    """Return the layers of an operation, None for none, and whether they want a ReLU before."""
    kernel = int(operation[-1]) if operation[-1].isdigit() else 1
    if operation.startswith("sep_conv"):
        return TwiceSeparable(channels_in, channels, kernel, stride), True
    if operation in ("conv_1x3_3x1", "conv_1x7_7x1"):
        width = int(operation[7])
        return (
            nn.Sequential(
                ConvNorm(channels_in, channels, (1, width), (1, stride)),
                nn.ReLU(inplace=True),
                ConvNorm(channels, channels, (width, 1), (stride, 1)),
            ),
            True,
        )
    if "pool" in operation:
        return _pooling(operation, kernel, channels_in, channels, stride), False
    if operation == "identity" and stride == 1 and channels_in == channels:
        return None, False
    dilation = 2 if operation == "dil_conv_3x3" else 1
    return ConvNorm(channels_in, channels, kernel, stride, dilation=dilation), True


def _pooling(
    operation: str, kernel: int, channels_in: int, channels: int, stride: int
) -> nn.Module:
    pool: nn.Module = (
        nn.AvgPool2d(kernel, stride, kernel // 2, count_include_pad=False)
        if operation.startswith("avg")
        else nn.MaxPool2d(kernel, stride, kernel // 2)
    )
    if channels_in == channels:
        return pool
    return nn.Sequential(pool, ConvNorm(channels_in, channels, 1))
