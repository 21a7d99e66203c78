"""Bring features to a size at which one range of hyperparameters suits every backbone.

Features of a ReLU network are counts of evidence: their square root (Hellinger kernel)
and unit length make images of different contrast comparable. Each backbone's block gets
the same share of the length, so that in a concatenation none drowns the others.

Sources: Arandjelović and Zisserman, CVPR 2012 (square root, then L2); Perronnin et al.,
ECCV 2010 (signed power and L2 normalisation).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from strandline.learn.heads.contract import Floats
from strandline.spec.errors import InvalidSpecError

if TYPE_CHECKING:
    from strandline.zoo.graphs import GraphParts

KINDS = ("power", "l2", "standard")
_SMALLEST_NORM = 1e-6
_SMALLEST_DEVIATION = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class Scaling:
    """A function of features that heads are trained behind.

    Attributes:
        kind: `power` signed square root then unit length of each block; `l2` unit length
            alone; `standard` zero mean and unit variance of each feature.
        blocks: widths of the blocks, in order; they sum to D.
        shift, factor: float32 [D], applied last: (x - shift) · factor.
    """

    kind: str
    blocks: tuple[int, ...]
    shift: Floats
    factor: Floats

    def apply(self, features: Floats) -> Floats:
        """Return scaled features, float32 [n, D]."""
        if self.kind == "standard":
            return np.asarray((features - self.shift) * self.factor, np.float32)
        edges = np.cumsum(self.blocks)[:-1]
        pieces = [self._unit(block) for block in np.split(np.asarray(features), edges, axis=1)]
        return np.asarray(np.concatenate(pieces, axis=1) * self.factor, np.float32)

    def add_nodes(self, parts: GraphParts, source: str) -> str:
        """Add the same function to a graph; return the name of its output."""
        factor = parts.constant("scaling.factor", self.factor[None])
        if self.kind == "standard":
            shift = parts.constant("scaling.shift", self.shift[None])
            centred = parts.node("Sub", [source, shift], "scaling.centred")
            return parts.node("Mul", [centred, factor], "scaled")
        blocks = self._add_blocks(parts, source)
        units = [self._add_unit(parts, block) for block in blocks]
        joined = parts.node("Concat", units, "scaling.joined", axis=1)
        return parts.node("Mul", [joined, factor], "scaled")

    def _add_blocks(self, parts: GraphParts, source: str) -> list[str]:
        if len(self.blocks) == 1:
            return [source]
        edges = np.concatenate([[0], np.cumsum(self.blocks)])
        bounds = [
            parts.constant(f"scaling.edge{index}", np.array([edge], np.int64))
            for index, edge in enumerate(edges)
        ]
        axis = parts.constant("scaling.axis", np.array([1], np.int64))
        return [
            parts.node("Slice", [source, first, last, axis], f"scaling.block{index}")
            for index, (first, last) in enumerate(pairwise(bounds))
        ]

    def _unit(self, block: Floats) -> Floats:
        if self.kind == "power":
            block = np.sign(block) * np.sqrt(np.abs(block))
        norms = np.sqrt(np.square(block).sum(axis=1, keepdims=True))
        return np.asarray(block / np.maximum(norms, _SMALLEST_NORM), np.float32)

    def _add_unit(self, parts: GraphParts, block: str) -> str:
        value = block
        if self.kind == "power":
            size = parts.node("Sqrt", [parts.node("Abs", [block], f"{block}.abs")], f"{block}.sqrt")
            value = parts.node(
                "Mul", [parts.node("Sign", [block], f"{block}.sign"), size], f"{block}.power"
            )
        axis = parts.constant("scaling.axis", np.array([1], np.int64))
        least = parts.constant("scaling.least", np.array(_SMALLEST_NORM, np.float32))
        norm = parts.node("ReduceL2", [value, axis], f"{block}.norm", keepdims=1)
        safe = parts.node("Max", [norm, least], f"{block}.safe_norm")
        return parts.node("Div", [value, safe], f"{block}.unit")


def fit_scaling(kind: str, features: Floats, blocks: Sequence[int]) -> Scaling:
    """Return the scaling for training features [n, D]; scaled rows have length about 1.

    Raises:
        InvalidSpecError: there is no such kind.
    """
    if kind not in KINDS:
        raise InvalidSpecError(f"scaling {kind!r} is none of {', '.join(KINDS)}")
    dim = sum(blocks)
    if kind != "standard":
        share = np.full(dim, 1 / np.sqrt(len(blocks)), np.float32)
        return Scaling(kind, tuple(blocks), np.zeros(dim, np.float32), share)
    mean = features.mean(axis=0, dtype=np.float64)
    deviation = np.maximum(features.std(axis=0, dtype=np.float64), _SMALLEST_DEVIATION)
    factor = 1 / (deviation * np.sqrt(dim))
    return Scaling(kind, tuple(blocks), mean.astype(np.float32), factor.astype(np.float32))
