"""Counts and curves of a sample: what the plots and tables of an evaluation show."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from strandline.learn.metrics import Floats, Sample, calibration_pairs
from strandline.spec.records import Task
from strandline.spec.scorecard import Curve, ReliabilityBin, ThresholdGrid

_MOST_POINTS = 200
# Even steps, closer at both ends: calibrated scores crowd there.
THRESHOLDS = (
    0.0,
    0.001,
    0.002,
    0.005,
    *(round(step / 100, 2) for step in range(1, 100)),
    0.995,
    0.999,
    0.9999,
    1.0,
)


def threshold_grid(scores: Floats, truth: NDArray[np.bool_]) -> ThresholdGrid:
    """Count answers (score ≥ threshold) right and wrong at each of `THRESHOLDS`.

    All (image, label) pairs given are pooled, as Cloud AutoML does; both are [n, L] or [n].
    """
    hits = np.sort(scores[truth])
    misses = np.sort(scores[~truth])
    tp = len(hits) - np.searchsorted(hits, THRESHOLDS)
    fp = len(misses) - np.searchsorted(misses, THRESHOLDS)
    return ThresholdGrid(
        thresholds=THRESHOLDS,
        true_positives=tuple(tp.tolist()),
        false_positives=tuple(fp.tolist()),
        false_negatives=tuple((len(hits) - tp).tolist()),
        true_negatives=tuple((len(misses) - fp).tolist()),
    )


def precision_recall(sample: Sample) -> Curve:
    """Return precision (y) against recall (x), all labels pooled."""
    tp, answered = _cumulative(sample.scores.ravel(), sample.truth.ravel())
    return thin(tp / max(1, int(sample.truth.sum())), tp / answered)


def roc(sample: Sample) -> Curve:
    """Return the true (y) against the false (x) positive rate, all labels pooled."""
    tp, answered = _cumulative(sample.scores.ravel(), sample.truth.ravel())
    positives = int(sample.truth.sum())
    negatives = sample.truth.size - positives
    x = np.append(0.0, (answered - tp) / max(1, negatives))
    return thin(x, np.append(0.0, tp / max(1, positives)))


def risk_coverage(sample: Sample) -> Curve:
    """Return the share wrong (y) among the surest answers against their share (x).

    El-Yaniv & Wiener (2010), "On the foundations of noise-free selective classification".
    """
    right, answered = _cumulative(sample.top_score, sample.top_right)
    return thin(answered / len(sample.scores), 1 - right / answered)


def _cumulative(scores: Floats, truth: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return hits and answers down to each distinct score, highest first."""
    order = np.argsort(-scores, kind="stable")
    descending = scores[order]
    ends = np.append(np.flatnonzero(np.diff(descending)), len(descending) - 1)
    hits = np.cumsum(truth[order])[ends]
    return hits.astype(np.float64), (ends + 1).astype(np.float64)


def thin(x: Floats, y: Floats) -> Curve:
    """Keep at most 200 points, evenly along the curve, both ends among them."""
    if len(x) > _MOST_POINTS:
        travelled = np.append(0.0, np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y))))
        wanted = np.linspace(0, travelled[-1], _MOST_POINTS)
        kept = np.unique(np.append(np.searchsorted(travelled, wanted), len(x) - 1))
        x, y = x[np.minimum(kept, len(x) - 1)], y[np.minimum(kept, len(y) - 1)]
    return Curve(x=tuple(np.round(x, 6).tolist()), y=tuple(np.round(y, 6).tolist()))


def confusion(sample: Sample) -> tuple[tuple[int, ...], ...]:
    """Return the confusion matrix.

    Multi-class: rows truth, columns prediction. Multi-label: one row a label with its
    true positives, false positives, false negatives and true negatives.
    """
    if sample.task is Task.MULTICLASS:
        return co_occurrence(sample)
    truth, given = sample.truth, sample.decisions
    columns = [truth & given, ~truth & given, truth & ~given, ~truth & ~given]
    return _rows(np.stack([column.sum(axis=0) for column in columns], axis=1))


def co_occurrence(sample: Sample) -> tuple[tuple[int, ...], ...]:
    """Return how many images carry the row's label and were given the column's."""
    return _rows(sample.truth.astype(np.float64).T @ sample.decisions.astype(np.float64))


def _rows(matrix: NDArray[np.generic]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(each) for each in row) for row in matrix.tolist())


def reliability(sample: Sample, edges: Floats) -> tuple[ReliabilityBin, ...]:
    """Return mean score and share right of the scores between each two edges."""
    scores, right = (each.ravel() for each in calibration_pairs(sample))
    bins = np.searchsorted(edges, scores, side="right")
    bounds = [0.0, *edges.tolist(), 1.0]
    counts = np.bincount(bins, minlength=len(bounds) - 1)
    means = np.bincount(bins, scores, minlength=len(counts)) / np.maximum(counts, 1)
    shares = np.bincount(bins, right, minlength=len(counts)) / np.maximum(counts, 1)
    return tuple(
        ReliabilityBin(
            low=bounds[index],
            high=bounds[index + 1],
            count=int(counts[index]),
            mean_score=float(means[index]),
            share_right=float(shares[index]),
        )
        for index in np.flatnonzero(counts)
    )
