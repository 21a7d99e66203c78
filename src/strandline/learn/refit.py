"""From the best candidate to the model: refit, honest logits for calibration, one graph.

The head is fitted once more on everything that may be learned from. Its own logits of
those images would flatter it, so calibration and abstention get out-of-fold logits of the
same candidate instead. What is exported is one ONNX graph from images to scores; it is
checked against the numpy path before anybody relies on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from strandline.learn.calibrate import Calibration
from strandline.learn.heads.contract import Doubles, Floats
from strandline.learn.models import FittedModel, fit_model
from strandline.learn.recipe import Recipe, read_candidate
from strandline.learn.transfer import score_fold
from strandline.learn.transfer_data import NEVER_SCORED, TransferData
from strandline.spec.errors import FailedRunError
from strandline.spec.records import Scalar, Task

if TYPE_CHECKING:
    from onnx import ModelProto

Progress = Callable[[int, int], None]

# Features come from the same graph on both sides; what is left is rounding, of logits
# whose size is about ten.
_TOLERANCE = 2e-3
_CHECKED_IMAGES = 3


class Scorer(Protocol):
    """What the graph computes, by a quicker way that training has."""

    def score(self, images: Sequence[str], progress: Progress | None = None) -> Floats:
        """Return logits of stored images, float32 [n, labels]."""

    def raw_scores(self, logits: Floats, task: Task) -> Doubles:
        """Return the scores that the model would give without calibration."""


@dataclass(frozen=True, slots=True, eq=False)
class Refitted:
    """The refitted candidate.

    Attributes:
        graph: `images` uint8 [N, H, W, 3] -> `logits` float32 [N, labels].
        scorer: the same, quicker.
        out_of_fold_logits: float32 [m, labels].
        out_of_fold_targets: the truth of the same images.
        out_of_fold_images: their digests.
        notes: what a person should know of this model.
    """

    graph: ModelProto
    scorer: Scorer
    out_of_fold_logits: Floats
    out_of_fold_targets: NDArray[Any]
    out_of_fold_images: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class TransferScorer:
    """A head on cached or new embeddings: the graph's numbers within rounding."""

    data: TransferData
    model: FittedModel

    def score(self, images: Sequence[str], progress: Progress | None = None) -> Floats:
        """Return logits, much sooner for images whose embeddings are there."""
        loader = replace(self.data.loader, progress=progress)
        return self.model.score(loader, images, np.arange(len(images)))

    def raw_scores(self, logits: Floats, task: Task) -> Doubles:
        """Return what the head itself takes for probabilities."""
        return self.model.head.classifier.raw_scores(logits, task)


def refit(
    data: TransferData,
    candidate: Mapping[str, Scalar],
    progress: Progress | None = None,
) -> Refitted:
    """Fit `candidate` on all of `data` and build its graph.

    Args:
        progress: called with (steps done, steps in all).

    Raises:
        InvalidSpecError: the candidate is not one of the transfer space.
        FailedRunError: the graph does not give what the head gives.
    """
    recipe = read_candidate(candidate, data.cache_dir)
    folds = data.fold_numbers
    report = progress or (lambda done, total: None)
    logits = np.zeros((len(data.images), len(data.labels)), np.float32)
    for done, fold in enumerate(folds):
        report(done, len(folds) + 1)
        logits[data.folds == fold] = score_fold(data, recipe, fold)
    report(len(folds), len(folds) + 1)
    model = fit_model(data, recipe, np.arange(len(data.images)))
    graph = merge_graph(model, data)
    scorer = TransferScorer(data, model)
    check_scores(graph, scorer, data)
    report(len(folds) + 1, len(folds) + 1)
    scored = data.folds != NEVER_SCORED
    return Refitted(
        graph=graph,
        scorer=scorer,
        out_of_fold_logits=logits[scored],
        out_of_fold_targets=data.targets[scored],
        out_of_fold_images=tuple(np.array(data.images)[scored].tolist()),
        notes=(*missing_labels(data), *_notes(recipe)),
    )


def fit_and_score(
    data: TransferData, candidate: Mapping[str, Scalar], images: Sequence[str]
) -> Floats:
    """Return logits of `images`, float32 [n, labels], by `candidate` fitted on all of `data`.

    For the scorecard's leaking counterpart: `data` and `images` are then the two sides of
    a division that ignores near-duplicates.

    Raises:
        as `refit`.
    """
    recipe = read_candidate(candidate, data.cache_dir)
    model = fit_model(data, recipe, np.arange(len(data.images)))
    return model.score(data.loader, images, np.arange(len(images)))


def merge_graph(model: FittedModel, data: TransferData) -> ModelProto:
    """Return `images` -> `logits`: what gives features, then the head."""
    from onnx import checker, compose

    extractor = model.feature_graph(data.loader)
    behind = compose.add_prefix(
        model.head.to_onnx(), "head/", rename_inputs=False, rename_outputs=False
    )
    _unify_versions(extractor, behind)
    merged = compose.merge_models(extractor, behind, io_map=[("features", "features")])
    merged.producer_name = "strandline"
    checker.check_model(merged)
    return merged


def finish_graph(graph: ModelProto, calibration: Calibration, task: Task) -> ModelProto:
    """Return the graph with calibration behind it: `images` -> `scores` [N, labels]."""
    from onnx import ModelProto, TensorProto, checker, helper, numpy_helper

    finished = ModelProto()
    finished.CopyFrom(graph)
    inside = finished.graph
    constants = {
        "calibration.scale": np.array(calibration.scale, np.float32)[None],
        "calibration.bias": np.array(calibration.bias, np.float32)[None],
    }
    inside.initializer.extend(numpy_helper.from_array(v, name) for name, v in constants.items())
    activation: dict[str, Any] = {"op_type": "Sigmoid"}
    if task is Task.MULTICLASS:
        activation = {"op_type": "Softmax", "axis": 1}
    inside.node.extend(
        [
            helper.make_node("Mul", ["logits", "calibration.scale"], ["calibration.scaled"]),
            helper.make_node(
                "Add", ["calibration.scaled", "calibration.bias"], ["calibration.logits"]
            ),
            helper.make_node(inputs=["calibration.logits"], outputs=["scores"], **activation),
        ]
    )
    shape: list[str | int | None] = ["N", len(calibration.scale)]
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, shape)
    del inside.output[:]
    inside.output.append(scores)
    checker.check_model(finished)
    return finished


def check_scores(graph: ModelProto, scorer: Scorer, data: TransferData) -> None:
    """Run a few images through the graph and compare with what training computes.

    Raises:
        FailedRunError: they differ by more than rounding.
    """
    import onnxruntime

    from strandline.data.decode import decode_stored

    images = data.images[:_CHECKED_IMAGES]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    expected = scorer.score(images)
    store = data.open_store()
    for image, wanted in zip(images, expected, strict=True):
        pixels = decode_stored(store.get(image)).pixels[None]
        found = session.run(None, {"images": pixels})[0][0]
        if not np.allclose(found, wanted, rtol=_TOLERANCE, atol=_TOLERANCE):
            gap = float(np.abs(found - wanted).max())
            raise FailedRunError(
                f"the exported graph differs from the trained model by {gap:.2g} on {image}: "
                "delete the cache folder and train again"
            )


def _unify_versions(first: ModelProto, second: ModelProto) -> None:
    """Give both models the lower IR version of the two, as merging asks for equal ones."""
    version = min(first.ir_version, second.ir_version)
    first.ir_version = second.ir_version = version


def missing_labels(data: TransferData) -> tuple[str, ...]:
    """Return a note on labels that no image to learn from has, if there are any."""
    if data.task is Task.MULTILABEL:
        seen = np.asarray(data.targets).sum(axis=0) > 0
    else:
        seen = np.isin(np.arange(len(data.labels)), data.targets)
    absent = [label for label, there in zip(data.labels, seen, strict=True) if not there]
    return (f"no training image has the label {', '.join(absent)}",) if absent else ()


def _notes(recipe: Recipe) -> tuple[str, ...]:
    views = max(part.views for part in recipe.parts)
    if views == 1:
        return ()
    return (f"each image is looked at in {views} orientations, which takes {views} times",)
