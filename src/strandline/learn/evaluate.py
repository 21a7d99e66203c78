"""Turn scores and truth into a Scorecard: every number with its interval.

Evaluation runs wherever prediction runs: numpy only. It sees the test split once; what
is chosen — calibration, thresholds, the abstention point — was chosen before, out of
fold, and is only measured here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from strandline.learn import curves, metrics, slices
from strandline.learn.bootstrap import (
    DEFAULT_RESAMPLES,
    Bootstrapped,
    bca_estimate,
    bootstrap,
    number_clusters,
)
from strandline.learn.leakage import LeakedScores, measure_leakage
from strandline.learn.measure import (
    ece_estimate,
    headline,
    make_sample,
    quality_metrics,
    reliability_edges,
    replace_scores,
)
from strandline.learn.metrics import Sample
from strandline.spec.records import Task
from strandline.spec.scorecard import (
    Abstention,
    AbstentionResult,
    CalibrationReport,
    Estimate,
    Reliability,
    Scorecard,
)

Integers = NDArray[np.int64]

__all__ = ["LeakedScores", "evaluate_scores"]

_FEW_IMAGES = 100
_FEW = 10
_SHOWN_LABELS = 5


def evaluate_scores(
    scores: NDArray[np.floating],
    truth: NDArray[np.generic],
    task: Task,
    labels: Sequence[str],
    *,
    image_digests: Sequence[str],
    abstention: Abstention,
    uncalibrated: NDArray[np.floating] | None = None,
    leaked: LeakedScores | None = None,
    groups: Sequence[object] | None = None,
    sources: Sequence[str] | None = None,
    seed: int = 0,
    resamples: int = DEFAULT_RESAMPLES,
    notes: Sequence[str] = (),
) -> Scorecard:
    """Evaluate calibrated scores on images the model was not trained on.

    Args:
        scores: calibrated [n, L] in [0, 1].
        truth: class index [n] (multi-class) or 0/1 [n, L] (multi-label).
        labels: L names in column order.
        abstention: chosen before, on out-of-fold scores.
        uncalibrated: scores without calibration [n, L], to show what it brought.
        leaked: the leaking evaluation to compare with.
        groups: near-duplicate group of each image, None for an image alone; a group is
            resampled whole.
        sources: a name of each image, shown as text.
        notes: added to those found here.

    Raises:
        UnusableDataError: there is no image, or a score is not a number in [0, 1].
    """
    sample = make_sample(scores, truth, task, labels, abstention.label_thresholds)
    clusters = number_clusters(groups, len(sample.scores))
    before = None if uncalibrated is None else replace_scores(sample, uncalibrated)
    run = _measure(sample, before, abstention, clusters, resamples, seed)
    found = headline(run, sample, clusters, seed)
    shown = [None] * len(clusters) if sources is None else sources
    if not len(image_digests) == len(shown) == len(clusters):
        raise ValueError("image_digests and sources need one entry for each image")
    return Scorecard(
        task=task,
        labels=tuple(labels),
        items=len(sample.scores),
        clusters=run.clusters,
        seed=seed,
        resamples=resamples,
        metrics=found,
        grid=curves.threshold_grid(sample.scores, sample.truth),
        precision_recall=curves.precision_recall(sample),
        roc=curves.roc(sample),
        confusion=curves.confusion(sample),
        co_occurrence=curves.co_occurrence(sample) if task is Task.MULTILABEL else None,
        slices=slices.label_slices(run, sample, labels, abstention, image_digests, shown),
        calibration=_calibration(run, sample, before, found["ece"], clusters, seed),
        abstention=_abstention_result(run, sample, abstention),
        leakage=leaked and measure_leakage(run, sample, leaked, labels, image_digests, seed),
        notes=(*notes, *_notes(sample, labels, run.clusters)),
    )


def _measure(
    sample: Sample,
    before: Sample | None,
    abstention: Abstention,
    clusters: Integers,
    resamples: int,
    seed: int,
) -> Bootstrapped:
    parts = [
        *quality_metrics(sample),
        metrics.selection_metric(sample.top_score >= abstention.threshold, ~sample.top_right),
    ]
    if before is not None:
        parts.append(metrics.ece_metric("ece_uncalibrated", before, reliability_edges(before)))
    return bootstrap(metrics.combine(*parts), clusters, resamples, seed)


def _calibration(
    run: Bootstrapped,
    sample: Sample,
    before: Sample | None,
    ece: Estimate,
    clusters: Integers,
    seed: int,
) -> CalibrationReport:
    calibrated = Reliability(bins=curves.reliability(sample, reliability_edges(sample)), ece=ece)
    if before is None:
        return CalibrationReport(calibrated=calibrated)
    gain = run.replicates["ece_uncalibrated"] - run.replicates["ece"]
    jackknife = run.jackknife["ece_uncalibrated"] - run.jackknife["ece"]
    value = float(run.values["ece_uncalibrated"][0] - run.values["ece"][0])
    return CalibrationReport(
        calibrated=calibrated,
        uncalibrated=Reliability(
            bins=curves.reliability(before, reliability_edges(before)),
            ece=ece_estimate(run, "ece_uncalibrated", before, clusters, seed),
        ),
        improvement=bca_estimate(value, gain, jackknife, None),
    )


def _abstention_result(
    run: Bootstrapped, sample: Sample, abstention: Abstention
) -> AbstentionResult:
    answered = sample.top_score >= abstention.threshold
    wrong = int((answered & ~sample.top_right).sum())
    # Independent images among the answers: clusters, as far as they are answered.
    trials = max(1, round(int(answered.sum()) * run.clusters / len(answered)))
    error = run.estimate("selective_error", trials)
    return AbstentionResult(
        chosen=abstention,
        coverage=run.estimate("coverage", run.clusters),
        error=error,
        answered=int(answered.sum()),
        wrong=wrong,
        holds=error.low is None or error.low <= abstention.goal,
        curve=curves.risk_coverage(sample),
    )


def _notes(sample: Sample, labels: Sequence[str], clusters: int) -> tuple[str, ...]:
    """Return what a reader must know before trusting the numbers."""
    notes: list[str] = []
    images = len(sample.scores)
    if images < _FEW_IMAGES:
        notes.append(
            f"Only {images} test images: the intervals are wide, and differences between "
            "models smaller than them mean nothing. Label more images."
        )
    if clusters < images:
        notes.append(
            f"{images} test images are {clusters} independent ones: near-duplicates count "
            "once in the intervals."
        )
    support = sample.truth.sum(axis=0)
    rare = [label for label, count in zip(labels, support, strict=True) if 0 < count < _FEW]
    absent = [label for label, count in zip(labels, support, strict=True) if count == 0]
    if rare:
        notes.append(f"Fewer than {_FEW} test images carry {_listed(rare)}.")
    if absent:
        notes.append(f"No test image carries {_listed(absent)}: left out of macro means.")
    bare = int((~sample.truth.any(axis=1)).sum())
    if bare:
        notes.append(f"{bare} test images carry no label: the highest-scored label is wrong there.")
    return tuple(notes)


def _listed(labels: Sequence[str]) -> str:
    shown = ", ".join(f"“{label}”" for label in labels[:_SHOWN_LABELS])
    return shown + (f" and {len(labels) - _SHOWN_LABELS} more" * (len(labels) > _SHOWN_LABELS))
