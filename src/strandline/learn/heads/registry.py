"""All heads in the order in which a search tries them, and how one is fitted and run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from strandline.learn.heads import kernel, logistic, mlp, prototype
from strandline.learn.heads.contract import Classifier, Doubles, Floats, Head, Params, TrainingSet
from strandline.learn.heads.scaling import Scaling, fit_scaling
from strandline.spec.errors import InvalidSpecError, UnusableDataError
from strandline.spec.records import Task

if TYPE_CHECKING:
    from onnx import ModelProto

# One line a head; cheapest first.
REGISTRY: tuple[Head, ...] = (logistic.HEAD, kernel.HEAD, prototype.HEAD, mlp.HEAD)
CLASS_WEIGHTS = ("none", "balanced")


@dataclass(frozen=True, slots=True)
class HeadChoice:
    """Which head, behind which scaling, with which hyperparameters.

    Attributes:
        scaling: see `heads.scaling`.
        class_weight: `balanced` gives every label the same total weight.
        params: the head's own, without its name in front.
    """

    head: str
    scaling: str
    class_weight: str
    params: Params


@dataclass(frozen=True, slots=True, eq=False)
class FittedHead:
    """A trained head from raw features to logits."""

    scaling: Scaling
    classifier: Classifier
    labels: int

    def logits(self, features: Floats) -> Floats:
        """Return float32 [n, labels] of a backbone's features, float32 [n, D]."""
        return self.classifier.logits(self.scaling.apply(features))

    def to_onnx(self) -> ModelProto:
        """Return the graph `features` [N, D] -> `logits` [N, labels]."""
        from onnx import TensorProto, helper

        from strandline.zoo.graphs import GraphParts, finish_model

        parts = GraphParts.empty()
        scaled = self.scaling.add_nodes(parts, "features")
        parts.node("Identity", [self.classifier.add_nodes(parts, scaled)], "logits")
        dim = sum(self.scaling.blocks)
        return finish_model(
            parts,
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", dim]),
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", self.labels]),
        )


def find_head(name: str) -> Head:
    """Return a head by name.

    Raises:
        InvalidSpecError: there is none of that name.
    """
    for head in REGISTRY:
        if head.name == name:
            return head
    known = ", ".join(head.name for head in REGISTRY)
    raise InvalidSpecError(f"there is no head {name!r}: choose one of {known}")


def fit_head(
    choice: HeadChoice,
    features: Floats,
    blocks: Sequence[int],
    targets: NDArray[Any],
    task: Task,
    labels: int,
    seed: int,
) -> FittedHead:
    """Train a head on features.

    Args:
        features: float32 [n, views, D]; every view becomes a training row. A set with one
            view is [n, 1, D].
        blocks: widths of the backbones' shares of D.
        targets: int64 [n], or float32 [n, labels] of 0 and 1.
        labels: number of labels; some may be missing from `targets`.

    Raises:
        UnusableDataError: there is no image to train on.
    """
    if not len(features):
        raise UnusableDataError("there is no labeled training image: label some")
    images, views, dim = features.shape
    rows = features.reshape(images * views, dim)
    scaling = fit_scaling(choice.scaling, rows, blocks)
    weights = image_weights(targets, task, labels, choice.class_weight)
    training = TrainingSet(
        features=scaling.apply(rows),
        targets=np.repeat(targets, views, axis=0),
        weights=np.repeat(weights, views),
        task=task,
        labels=labels,
        views=views,
    )
    # One BLAS thread: sums in one order whatever the machine, so that the search's worker
    # and the final refit agree; and threads that wait for each other on a busy machine
    # were measured to make a fit 50 times slower.
    with threadpool_limits(limits=1, user_api="blas"):
        classifier = find_head(choice.head).fit(training, choice.params, seed)
    return FittedHead(scaling, classifier, labels)


def image_weights(targets: NDArray[Any], task: Task, labels: int, how: str) -> Doubles:
    """Return one weight an image, mean 1.

    `balanced`: each label's images weigh the same in total; an image with several labels
    takes the mean of theirs, one without any the mean of all.
    """
    if how == "none":
        return np.ones(len(targets))
    if task is Task.MULTILABEL:
        truth = np.asarray(targets, np.float64)
    else:
        truth = np.asarray(targets[:, None] == np.arange(labels), np.float64)
    of_label = 1 / np.maximum(truth.sum(axis=0), 1)
    count = truth.sum(axis=1)
    weights = (truth @ of_label) / np.maximum(count, 1)
    if (count == 0).any():
        weights[count == 0] = weights[count > 0].mean() if (count > 0).any() else 1.0
    return np.asarray(weights / weights.mean())
