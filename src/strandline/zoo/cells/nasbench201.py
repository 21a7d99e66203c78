"""The published skeleton of NAS-Bench-201 around a cell (arXiv 2001.00326, section 2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from strandline.cells.family import Candidate, Plan
from strandline.cells.nasbench201 import EDGES, OPERATIONS, NasBench201, edge_name
from strandline.zoo.cells.layers import ConvNorm, Mixture, States, Step, initialise
from strandline.zoo.cells.network import CellNetwork


class NasBench201Network(CellNetwork):
    """Stem, three stages of N cells, residual blocks between them, classifier.

    Without a candidate every operation is at every edge.
    """

    def __init__(self, candidate: Candidate | None, plan: Plan) -> None:
        super().__init__(plan)
        if candidate is not None:
            NasBench201().validate(candidate)
        rate, total = plan.drop_path, 3 * plan.cells
        layers: list[nn.Module] = [_stem(plan)]
        for stage in range(3):
            channels = plan.filters * 2**stage
            if stage:
                layers.append(_Reduction(channels // 2))
            numbers = range(stage * plan.cells + 1, (stage + 1) * plan.cells + 1)
            layers += [_Cell(candidate, channels, rate * number / total) for number in numbers]
        self.layers = nn.Sequential(*layers)
        self.norm = nn.BatchNorm2d(channels)
        self.add_classifier(channels)
        initialise(self)

    def features(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        return functional.relu(self.norm(self.layers(images))), None


def _stem(plan: Plan) -> nn.Module:
    if plan.stem == "cifar":
        return ConvNorm(plan.channels_in, plan.filters, 3)
    middle = plan.stem_filters or plan.filters
    return nn.Sequential(
        ConvNorm(plan.channels_in, middle, 3, 2),
        nn.ReLU(inplace=True),
        ConvNorm(middle, plan.filters, 3, 2),
    )


class _Cell(nn.Module):
    def __init__(self, candidate: Candidate | None, channels: int, drop_rate: float) -> None:
        super().__init__()
        self.steps = nn.ModuleDict()
        for edge in EDGES:
            name = edge_name(*edge)
            if candidate is None:
                every = [_step(edge, each, channels, drop_rate) for each in OPERATIONS[1:]]
                self.steps[name] = Mixture(every)
            elif candidate[name] != "none":
                self.steps[name] = _step(edge, str(candidate[name]), channels, drop_rate)

    def forward(self, state: Tensor) -> Tensor:
        states = States({"0": state})
        for target in (1, 2, 3):
            names = [edge_name(source, target) for source in range(target)]
            terms = [self.steps[name](states) for name in names if name in self.steps]
            states[str(target)] = sum(terms[1:], terms[0]) if terms else torch.zeros_like(state)
        return states["3"]


def _step(edge: tuple[int, int], operation: str, channels: int, drop_rate: float) -> Step:
    layers, rectify = _operation(operation, channels)
    source, target = map(str, edge)
    ways = [((edge_name(*edge), operation),)]
    return Step(source, operation, layers, rectify, drop_rate, place=target, ways=ways)


def _operation(operation: str, channels: int) -> tuple[nn.Module | None, bool]:
    if operation == "skip_connect":
        return None, False
    if operation == "avg_pool_3x3":
        return nn.AvgPool2d(3, 1, 1, count_include_pad=False), False
    return ConvNorm(channels, channels, int(operation[-1])), True


class _Reduction(nn.Module):
    """Half the size, twice the channels: two convolutions and a pooled shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvNorm(channels, 2 * channels, 3, 2)
        self.second = ConvNorm(2 * channels, 2 * channels, 3)
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False),
            nn.Conv2d(channels, 2 * channels, 1, bias=False),
        )

    def forward(self, state: Tensor) -> Tensor:
        inner = functional.relu(self.first(functional.relu(state)))
        total: Tensor = self.shortcut(state) + self.second(inner)
        return total
