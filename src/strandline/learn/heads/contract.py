"""What every head is given and gives back, so that a search can swap one for another.

A head is trained on features that `scaling` has brought to unit size, and is a small
function afterwards: numpy for the search, ONNX nodes for whoever predicts, equal within
rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from strandline.search.space import Categorical, Float, Int
from strandline.spec.records import Scalar, Task

if TYPE_CHECKING:
    from strandline.zoo.graphs import GraphParts

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Params = Mapping[str, Scalar]


@dataclass(frozen=True, slots=True, eq=False)
class TrainingSet:
    """Scaled features with their truth.

    Attributes:
        features: float32 [rows, D].
        targets: int64 [rows] class indexes, or float32 [rows, labels] of 0 and 1.
        weights: float64 [rows], positive, mean 1.
        labels: number of labels; some may have no row here.
        views: rows of one image stand together, this many of them.
    """

    features: Floats
    targets: NDArray[Any]
    weights: Doubles
    task: Task
    labels: int
    views: int = 1

    def indicators(self) -> Doubles:
        """Return the truth as 0 and 1, [rows, labels]."""
        if self.task is Task.MULTILABEL:
            return np.asarray(self.targets, np.float64)
        return np.asarray(self.targets[:, None] == np.arange(self.labels), np.float64)

    def take(self, rows: NDArray[np.integer]) -> TrainingSet:
        """Return the rows as a set of their own, each an image by itself."""
        return TrainingSet(
            self.features[rows], self.targets[rows], self.weights[rows], self.task, self.labels
        )


class Classifier(Protocol):
    """A fitted function from scaled features to logits."""

    def logits(self, features: Floats) -> Floats:
        """Return float32 [n, labels] of scaled features [n, D]."""

    def raw_scores(self, logits: Floats, task: Task) -> Doubles:
        """Return the scores [n, labels] of `logits` as they were before any calibration.

        Where a head multiplies its outputs by a factor fitted on held-out images, so that
        candidates compare, that is calibration already, and is taken out again.
        """

    def add_nodes(self, parts: GraphParts, source: str) -> str:
        """Add the same function to a graph; return the name of its output."""


HeadParameter = Float | Int | Categorical


@dataclass(frozen=True, slots=True)
class Head:
    """One line of the registry.

    Attributes:
        fit: trains a classifier; the last argument is the seed.
        parameters: its part of the search space, named without the head's name.
        defaults: values to try first, one for each parameter.
    """

    name: str
    fit: Callable[[TrainingSet, Params, int], Classifier]
    parameters: tuple[HeadParameter, ...]
    defaults: Params


def number(params: Params, name: str) -> float:
    """Return a numeric parameter."""
    value = params[name]
    assert isinstance(value, int | float), f"{name} is a number by the space's definition"
    return float(value)
