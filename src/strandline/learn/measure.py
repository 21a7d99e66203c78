"""What is measured of any set of scores: the one list that evaluation and its leaking
counterpart share, so that the two compare like with like.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from strandline.learn import metrics
from strandline.learn.bootstrap import Bootstrapped
from strandline.learn.metrics import Sample
from strandline.spec.errors import UnusableDataError
from strandline.spec.records import Task
from strandline.spec.scorecard import Estimate

# Metrics that live in [0, 1], where a perfect score needs an exact bound.
_BOUNDED = (
    "precision_at_1",
    "auc_pr",
    "auc_pr_micro",
    "auc_roc",
    "auc_roc_micro",
    "f1_macro",
    "f1_micro",
)
_MOST_BINS = 15
# Fewer images a bin, and chance alone adds more calibration error than most models have.
_IMAGES_PER_BIN = 40


def make_sample(
    scores: NDArray[np.floating],
    truth: NDArray[np.generic],
    task: Task,
    labels: Sequence[str],
    label_thresholds: Sequence[float] = (),
) -> Sample:
    """Check the input and bring it into the one form that metrics take.

    Raises:
        UnusableDataError: shapes do not fit, or a score is not a number in [0, 1], or a
            class index is not one of the labels.
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 2 or len(values) == 0:
        raise UnusableDataError("there is no labeled test image: label some or change the split")
    if values.shape[1] != len(labels) or len(truth) != len(values):
        raise UnusableDataError(
            f"scores are {values.shape[0]}×{values.shape[1]}, but there are {len(truth)} images "
            f"with truth and {len(labels)} labels: evaluate with the model's own labels"
        )
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1 + 1e-6):
        raise UnusableDataError("a score is not a number between 0 and 1: retrain the model")
    if task is Task.MULTILABEL:
        given = values >= _decision_thresholds(label_thresholds, len(labels))
        return Sample(values, np.asarray(truth) > 0, given, task)
    classes = np.arange(len(labels))
    if not np.isin(truth, classes).all():
        raise UnusableDataError(
            "a test image carries a label the model does not know: evaluate on images that "
            "carry the model's labels, or train again with the new label"
        )
    return Sample(
        values,
        np.asarray(truth)[:, None] == classes,
        values.argmax(axis=1)[:, None] == classes,
        task,
    )


def replace_scores(sample: Sample, scores: NDArray[np.floating]) -> Sample:
    """Return `sample` with other scores for the same images."""
    return Sample(np.asarray(scores, np.float64), sample.truth, sample.decisions, sample.task)


def _decision_thresholds(given: Sequence[float], labels: int) -> NDArray[np.float64]:
    return np.array(given if len(given) == labels else (0.5,) * labels)


def quality_metrics(sample: Sample) -> list[metrics.Metric]:
    """Return the metrics of quality and calibration of `sample`."""
    means = {
        "precision_at_1": sample.top_right.astype(np.float64),
        "log_loss": metrics.log_losses(sample),
    }
    if sample.task is Task.MULTILABEL:
        exact = (sample.decisions == sample.truth).all(axis=1)
        means["subset_accuracy"] = exact.astype(np.float64)
    return [
        metrics.mean_metrics(means),
        metrics.ranking_metric(sample),
        metrics.decision_metrics(sample),
        metrics.ece_metric("ece", sample, reliability_edges(sample)),
    ]


def reliability_edges(sample: Sample) -> NDArray[np.float64]:
    """Return the inner edges of the reliability bins."""
    scores, _ = metrics.calibration_pairs(sample)
    return metrics.equal_mass_edges(scores, bin_count(len(scores)))


def bin_count(images: int) -> int:
    """Return how many reliability bins `images` can fill: 40 images each, 15 at most."""
    return max(1, min(_MOST_BINS, images // _IMAGES_PER_BIN))


def ece_estimate(
    run: Bootstrapped, name: str, sample: Sample, clusters: NDArray[np.int64], seed: int
) -> Estimate:
    """Return the calibration error that `run` measured of `sample` under `name`."""
    chance = metrics.chance_ece(sample, reliability_edges(sample), clusters, seed)
    return run.biased_estimate(name, chance)


def headline(
    run: Bootstrapped, sample: Sample, clusters: NDArray[np.int64], seed: int
) -> Mapping[str, Estimate]:
    """Return the headline numbers by name."""
    bounded = [*_BOUNDED, *(["subset_accuracy"] if sample.task is Task.MULTILABEL else [])]
    found = {name: run.estimate(name, run.clusters) for name in bounded}
    found["log_loss"] = run.estimate("log_loss")
    found["ece"] = ece_estimate(run, "ece", sample, clusters, seed)
    if sample.task is Task.MULTILABEL:
        found["mean_average_precision"] = found["auc_pr"]
    return found
