"""Logits that are linear in the features: what several ways of training end in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from strandline.learn.calibrate import scores_of
from strandline.learn.heads.contract import Doubles, Floats
from strandline.spec.records import Task

if TYPE_CHECKING:
    from strandline.zoo.graphs import GraphParts


@dataclass(frozen=True, slots=True, eq=False)
class LinearClassifier:
    """features · weight + bias.

    Attributes:
        weight: float32 [D, labels].
        bias: float32 [labels].
        factor: what both were multiplied by after a look at held-out images.
    """

    weight: Floats
    bias: Floats
    factor: float = 1.0

    def logits(self, features: Floats) -> Floats:
        """Return float32 [n, labels]."""
        return np.asarray(features @ self.weight + self.bias, np.float32)

    def raw_scores(self, logits: Floats, task: Task) -> Doubles:
        """Return the scores before the factor."""
        return scores_of(np.asarray(logits, np.float64) / self.factor, task)

    def add_nodes(self, parts: GraphParts, source: str) -> str:
        """Add one Gemm node; return the name of its output."""
        weight = parts.constant("head.weight", self.weight)
        bias = parts.constant("head.bias", self.bias)
        return parts.node("Gemm", [source, weight, bias], "head.logits")


def linear_classifier(weight: Doubles, bias: Doubles) -> LinearClassifier:
    """Return the classifier in the precision that graphs compute in."""
    return LinearClassifier(weight.astype(np.float32), bias.astype(np.float32))
