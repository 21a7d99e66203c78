"""A macro space for mobile networks: six stages of inverted bottlenecks.

Source: MnasNet (arXiv 1807.11626), ProxylessNAS (arXiv 1812.00332) and FBNet (arXiv
1812.03443) search expansion, kernel, depth, width and squeeze-and-excitation of each stage
of MobileNetV2 (arXiv 1801.04381), whose widths and strides are the frame here: with F =
`Plan.filters` = 16 and the ImageNet stem, `MOBILENET_V2` is that network.

A squeeze-and-excitation sits after the depthwise convolution and squeezes to a quarter of
the block's input channels, as in MnasNet. Channels are rounded to multiples of eight.
`Plan.cells` means nothing here: the depth is searched.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import log
from operator import itemgetter
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from strandline.cells.decisions import Decisions
from strandline.cells.drawing import Diagram, draw_diagrams
from strandline.cells.family import Candidate, Choice, Counts, Plan
from strandline.cells.tally import Shape, Tally
from strandline.spec.records import Scalar, canonical_json

STAGES = 6
# Channels as multiples of F, and strides behind the stem for either kind of image.
_WIDTHS = (1.5, 2.0, 4.0, 6.0, 10.0, 20.0)
_STRIDES = {"imagenet": (2, 2, 2, 1, 2, 1), "cifar": (1, 2, 2, 1, 2, 1)}
_STEM_WIDTH = 2.0
_HEAD_WIDTH = 80.0

_VALUES: dict[str, tuple[Scalar, ...]] = {
    "expansion": (3, 6),
    "kernel": (3, 5, 7),
    "depth": (1, 2, 3, 4),
    "width": (0.5, 0.75, 1.0, 1.25),
    "excite": (False, True),
}


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """One block.

    Attributes:
        squeezed: channels inside squeeze-and-excitation; 0 for none.
        residual: the input is added to the output.
    """

    channels_in: int
    channels: int
    expanded: int
    kernel: int
    stride: int
    squeezed: int

    @property
    def residual(self) -> bool:
        return self.stride == 1 and self.channels_in == self.channels


@dataclass(frozen=True, slots=True)
class Layout:
    """Every layer of the network between image and classifier."""

    stem: int
    stem_stride: int
    blocks: tuple[Bottleneck, ...]
    head: int


_VALUES_OF = [itemgetter(*(f"stage_{stage}_{what}" for what in _VALUES)) for stage in range(STAGES)]


class MbConv(Decisions):
    """The space: 5 * 10^13 candidates."""

    name: ClassVar[str] = "mbconv"
    choices = tuple(
        Choice(f"stage_{stage}_{what}", values)
        for stage in range(STAGES)
        for what, values in _VALUES.items()
    )

    def canonical(self, candidate: Candidate) -> str:
        """Return the decisions in order: no two candidates of this space are isomorphic."""
        self.validate(candidate)
        return canonical_json(dict(candidate)).decode()

    def features(self, candidate: Candidate) -> NDArray[np.float32]:
        """Return float32 [36]: each decision scaled to [0, 1], and the logs of rough costs."""
        self.validate(candidate)
        values: list[float] = []
        costs = []
        for read in _VALUES_OF:
            scaled, cost = _scale(read(candidate))
            values += scaled
            costs.append(cost)
        return np.array(values + costs, np.float32)

    def count(self, candidate: Candidate, plan: Plan) -> Counts:
        self.validate(candidate)
        parameters, multiply_adds, channels, size = _count_stem(plan)
        for stage, read in enumerate(_VALUES_OF):
            more, cost, channels, size = _count_stage(plan, stage, read(candidate), channels, size)
            parameters, multiply_adds = parameters + more, multiply_adds + cost
        more, cost = _count_head(plan, channels, size)
        return Counts(parameters + more, multiply_adds + cost)

    def draw(self, candidate: Candidate) -> str:
        self.validate(candidate)
        diagram = Diagram("stages, from image to labels")
        names = ["stem 3x3", *(_describe(candidate, stage) for stage in range(STAGES)), "head 1x1"]
        for number, text in enumerate(names):
            diagram.add_state(str(number), text)
            if number:
                diagram.add_line(str(number - 1), str(number))
        return draw_diagrams("MBConv", [diagram])


def layout_of(candidate: Candidate, plan: Plan) -> Layout:
    """Return every layer of the network that `candidate` and `plan` describe."""
    stem = _stem_filters(plan)
    channels = round_channels(plan.filters)
    blocks = [Bottleneck(stem, channels, stem, 3, 1, 0)]
    for stage, read in enumerate(_VALUES_OF):
        blocks += _stage_blocks(plan, stage, read(candidate), channels)
        channels = blocks[-1].channels
    stem_stride = 2 if plan.stem == "imagenet" else 1
    return Layout(stem, stem_stride, tuple(blocks), round_channels(_HEAD_WIDTH * plan.filters))


def _stem_filters(plan: Plan) -> int:
    return plan.stem_filters or round_channels(_STEM_WIDTH * plan.filters)


def _stage_blocks(
    plan: Plan, stage: int, values: tuple[Scalar, ...], channels: int
) -> list[Bottleneck]:
    """Return the blocks of a stage that is given so many channels."""
    chosen = dict(zip(_VALUES, (float(value or 0) for value in values), strict=True))
    width = round_channels(_WIDTHS[stage] * plan.filters * chosen["width"])
    blocks = []
    for number in range(int(chosen["depth"])):
        stride = _STRIDES[plan.stem][stage] if number == 0 else 1
        expanded = int(chosen["expansion"]) * channels
        squeezed = max(1, channels // 4) if chosen["excite"] else 0
        kernel = int(chosen["kernel"])
        blocks.append(Bottleneck(channels, width, expanded, kernel, stride, squeezed))
        channels = width
    return blocks


def round_channels(channels: float) -> int:
    """Return the nearest multiple of eight that is at least eight and 0.9 of `channels`.

    Source: the rule of MobileNetV2's published code.
    """
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8


def _chosen(candidate: Candidate, stage: int) -> dict[str, float]:
    return {what: float(candidate[f"stage_{stage}_{what}"] or 0) for what in _VALUES}


@lru_cache(maxsize=1024)
def _scale(values: tuple[Scalar, ...]) -> tuple[list[float], float]:
    """Return a stage's decisions scaled to [0, 1], and the log of its rough cost."""
    numbers = [float(value or 0) for value in values]
    scaled = []
    for number, known in zip(numbers, _VALUES.values(), strict=True):
        low, high = float(known[0] or 0), float(known[-1] or 0)
        scaled.append((number - low) / (high - low))
    expansion, _, depth, width, _ = numbers
    return scaled, log(depth * expansion * width**2)


# A stage costs what it does whatever the others are, but for the channels it is given.


@lru_cache(maxsize=64)
def _count_stem(plan: Plan) -> tuple[int, int, int, int]:
    """Return parameters, multiply-adds, channels and size up to the stages."""
    tally = Tally()
    image, stem = Shape(plan.channels_in, plan.image_size), _stem_filters(plan)
    shape = tally.conv_norm(image, stem, 3, 2 if plan.stem == "imagenet" else 1)
    first = Bottleneck(stem, round_channels(plan.filters), stem, 3, 1, 0)
    shape, counts = _count_block(tally, first, shape), tally.counts()
    return counts.parameters, counts.multiply_adds, shape.channels, shape.size


@lru_cache(maxsize=8192)
def _count_stage(
    plan: Plan, stage: int, values: tuple[Scalar, ...], channels: int, size: int
) -> tuple[int, int, int, int]:
    """Return parameters and multiply-adds of a stage, and channels and size behind it."""
    tally, shape = Tally(), Shape(channels, size)
    for block in _stage_blocks(plan, stage, values, channels):
        shape = _count_block(tally, block, shape)
    counts = tally.counts()
    return counts.parameters, counts.multiply_adds, shape.channels, shape.size


@lru_cache(maxsize=1024)
def _count_head(plan: Plan, channels: int, size: int) -> tuple[int, int]:
    tally = Tally()
    head = tally.conv_norm(Shape(channels, size), round_channels(_HEAD_WIDTH * plan.filters), 1)
    tally.linear(head.channels, plan.labels)
    counts = tally.counts()
    return counts.parameters, counts.multiply_adds


def _count_block(tally: Tally, block: Bottleneck, shape: Shape) -> Shape:
    if block.expanded != block.channels_in:
        shape = tally.conv_norm(shape, block.expanded, 1)
    shape = shape.strided(block.expanded, block.stride)
    tally.conv(block.expanded, shape, (block.kernel, block.kernel), groups=block.expanded)
    tally.batch_norm(block.expanded)
    if block.squeezed:
        tally.conv(block.expanded, Shape(block.squeezed, 1), (1, 1), bias=True)
        tally.conv(block.squeezed, Shape(block.expanded, 1), (1, 1), bias=True)
    return tally.conv_norm(shape, block.channels, 1)


def _describe(candidate: Candidate, stage: int) -> str:
    chosen = _chosen(candidate, stage)
    kernel = int(chosen["kernel"])
    excite = ", squeeze-excite" if chosen["excite"] else ""
    return (
        f"{int(chosen['depth'])} x MBConv{int(chosen['expansion'])} {kernel}x{kernel}, "
        f"width {chosen['width']:g}{excite}"
    )


MOBILENET_V2: dict[str, Scalar] = {
    f"stage_{stage}_{what}": value
    for stage, depth in enumerate((2, 3, 4, 3, 3, 1))
    for what, value in (
        ("expansion", 6),
        ("kernel", 3),
        ("depth", depth),
        ("width", 1.0),
        ("excite", False),
    )
}
"""MobileNetV2 1.0 (arXiv 1801.04381, table 2)."""
