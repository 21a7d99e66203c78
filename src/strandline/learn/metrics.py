"""Every metric as a function of image weights, so that one body gives value and interval.

A bootstrap resample is a vector of counts, "image i was drawn w_i times"; the estimate
itself is the weight vector of ones. Each label is sorted once and each resample costs
one cumulative sum, so a thousand resamples of 10,000 images and 100 labels take seconds
and bounded memory, with no copy of the scores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from strandline.spec.records import Task

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]
Weights = NDArray[np.int32]
Replicates = dict[str, Floats]

# Largest number of array elements that one step of a resample may hold (16 MB as int32).
_STEP_ELEMENTS = 4_000_000
_SMALLEST_PROBABILITY = 1e-12


@dataclass(frozen=True, slots=True)
class Sample:
    """Scores with their truth.

    Attributes:
        scores: float64 [n, L], each in [0, 1].
        truth: bool [n, L].
        decisions: bool [n, L]: the labels the model gives.
        task: multi-class has exactly one true label a row.
    """

    scores: Floats
    truth: Flags
    decisions: Flags
    task: Task

    @property
    def top_score(self) -> Floats:
        """Highest score of each image [n]."""
        return np.asarray(self.scores.max(axis=1))

    @property
    def top_right(self) -> Flags:
        """Whether the highest-scored label is true [n]."""
        rows = np.arange(len(self.scores))
        return np.asarray(self.truth[rows, self.scores.argmax(axis=1)])


@dataclass(frozen=True, slots=True)
class Ranking:
    """One sorted list of scores, ready to be weighted.

    Attributes:
        order: image index by descending score [m].
        positives: positions of the true ones in that list [P].
        tie_starts, tie_ends: first and last list position of each positive's tie [P].
        first_peers, last_peers: first and last positive of each positive's tie [P].
    """

    order: Integers
    positives: Integers
    tie_starts: Integers
    tie_ends: Integers
    first_peers: Integers
    last_peers: Integers


def rank(scores: Floats, truth: Flags, images: Integers) -> Ranking:
    """Sort one list of (score, truth) pairs that belong to `images`; all are [m]."""
    by_score = np.argsort(-scores, kind="stable")
    descending = -scores[by_score]
    positives = np.flatnonzero(truth[by_score])
    at = descending[positives]
    return Ranking(
        order=images[by_score],
        positives=positives,
        tie_starts=np.searchsorted(descending, at, side="left"),
        tie_ends=np.searchsorted(descending, at, side="right") - 1,
        first_peers=np.searchsorted(at, at, side="left"),
        last_peers=np.searchsorted(at, at, side="right") - 1,
    )


def ranking_metrics(ranking: Ranking, weights: Weights) -> tuple[Floats, Floats]:
    """Return average precision and area under the ROC curve, each [B].

    Average precision is the step-wise sum of precision over recall gains, ties taken
    together, without interpolation (Davis & Goadrich 2006; what scikit-learn computes).
    The area is the Mann-Whitney statistic, ties counted half (Hanley & McNeil 1982).
    NaN where there is no positive, or for the area no negative.

    Args:
        weights: counts [B, n].
    """
    rows = max(1, _STEP_ELEMENTS // max(1, len(ranking.order)))
    steps = [
        _ranking_step(ranking, weights[start : start + rows])
        for start in range(0, len(weights), rows)
    ]
    return np.concatenate([ap for ap, _ in steps]), np.concatenate([auc for _, auc in steps])


def _ranking_step(ranking: Ranking, weights: Weights) -> tuple[Floats, Floats]:
    drawn = np.take(weights, ranking.order, axis=1)
    seen = np.cumsum(drawn, axis=1, dtype=np.int32)
    total = seen[:, -1:].astype(np.float64)
    hits = drawn[:, ranking.positives].astype(np.float64)
    hits_seen = np.cumsum(hits, axis=1)
    positives = hits.sum(axis=1, keepdims=True)
    seen_to = seen[:, ranking.tie_ends].astype(np.float64)
    seen_before = (seen[:, ranking.tie_starts] - drawn[:, ranking.tie_starts]).astype(np.float64)
    hits_to = hits_seen[:, ranking.last_peers]
    hits_before = hits_seen[:, ranking.first_peers] - hits[:, ranking.first_peers]
    precision = hits_to / np.maximum(seen_to, 1.0)
    above = seen_before - hits_before
    tied = (seen_to - seen_before) - (hits_to - hits_before)
    ap = _divide((hits * precision).sum(axis=1), positives[:, 0])
    lost = (hits * (above + tied / 2)).sum(axis=1)
    auc = 1.0 - _divide(lost, (positives * (total - positives))[:, 0])
    return ap, auc


def _divide(numerator: Floats, denominator: Floats) -> Floats:
    """Divide, with NaN where the denominator is 0."""
    result = np.full(np.broadcast(numerator, denominator).shape, np.nan)
    np.divide(numerator, denominator, out=result, where=denominator > 0)
    return result


def _label_mean(values: Floats) -> Floats:
    """Average [B, L] over the labels where it is defined; NaN where it nowhere is."""
    defined = ~np.isnan(values)
    return _divide(np.where(defined, values, 0.0).sum(axis=1), defined.sum(axis=1).astype(float))


def log_losses(sample: Sample) -> Floats:
    """Return each image's log loss [n], in nats.

    Multi-class: -log of the true label's score. Multi-label: the binary log loss, mean
    over labels. Scores are clipped at 1e-12, so one certain mistake costs 27.6, not ∞.
    """
    given = np.where(sample.truth, sample.scores, 1.0 - sample.scores)
    losses = -np.log(np.maximum(given, _SMALLEST_PROBABILITY))
    if sample.task is Task.MULTILABEL:
        return np.asarray(losses.mean(axis=1))
    return np.asarray(losses[sample.truth])


def calibration_pairs(sample: Sample) -> tuple[Floats, Flags]:
    """Return the scores whose meaning is judged and whether they were right, [n, k].

    Multi-class: the top score of each image. Multi-label: every label of each image.
    """
    if sample.task is Task.MULTICLASS:
        return sample.top_score[:, None], sample.top_right[:, None]
    return sample.scores, sample.truth


def equal_mass_edges(scores: Floats, bins: int) -> Floats:
    """Return the inner edges of bins that hold about equally many scores.

    Equal-mass bins (Nguyen & O'Connor 2015) estimate calibration error with less bias
    than equal-width ones, whose upper bin holds nearly all scores of a good model
    (Nixon et al. 2019; Roelofs et al. 2022). Equal scores share a bin.
    """
    ordered = np.sort(scores, axis=None)
    cuts = (np.arange(1, bins) * len(ordered)) // bins
    return np.unique(ordered[cuts]) if len(ordered) else ordered


def bin_gaps(sample: Sample, edges: Floats) -> Floats:
    """Return each image's sum of (score - right) in each bin [n, bins]."""
    scores, right = calibration_pairs(sample)
    bins = np.searchsorted(edges, scores, side="right")
    width = len(edges) + 1
    flat = np.arange(len(scores))[:, None] * width + bins
    gaps = np.bincount(flat.ravel(), (scores - right).ravel(), minlength=len(scores) * width)
    return np.asarray(gaps.reshape(len(scores), width) / scores.shape[1])


def chance_ece(
    sample: Sample, edges: Floats, clusters: Integers, seed: int, simulations: int = 200
) -> float:
    """Return the calibration error that perfectly calibrated scores stay below 97.5% of times.

    Outcomes are drawn from the scores themselves (consistency resampling, Bröcker & Smith
    2007), alike within a cluster: an error below this is compatible with none.
    """
    scores, _ = calibration_pairs(sample)
    bins = np.searchsorted(edges, scores, side="right").ravel()
    rng = np.random.default_rng([seed, 2])
    found = np.empty(simulations)
    for index in range(simulations):
        draws = rng.random((int(clusters.max()) + 1, scores.shape[1]))
        gaps = scores - (draws[clusters] < scores)
        found[index] = np.abs(np.bincount(bins, gaps.ravel())).sum() / scores.size
    return float(np.quantile(found, 0.975))


Metric = Callable[[Weights], Replicates]


def combine(*parts: Metric) -> Metric:
    """Return one metric function that gives what all of `parts` give."""

    def compute(weights: Weights) -> Replicates:
        found: Replicates = {}
        for part in parts:
            found.update(part(weights))
        return found

    return compute


def mean_metrics(columns: Mapping[str, Floats]) -> Metric:
    """Return the metric of weighted means of per-image values, by name."""
    names = tuple(columns)
    values = np.stack([np.asarray(columns[name], dtype=np.float64) for name in names], axis=1)

    def compute(weights: Weights) -> Replicates:
        drawn = weights.astype(np.float64)
        means = (drawn @ values) / drawn.sum(axis=1, keepdims=True)
        return {name: means[:, index] for index, name in enumerate(names)}

    return compute


def ece_metric(name: str, sample: Sample, edges: Floats) -> Metric:
    """Return expected calibration error: Σ over bins of share · |mean score - share right|."""
    gaps = bin_gaps(sample, edges)

    def compute(weights: Weights) -> Replicates:
        drawn = weights.astype(np.float64)
        return {name: np.abs(drawn @ gaps).sum(axis=1) / drawn.sum(axis=1)}

    return compute


def selection_metric(answered: Flags, wrong: Flags) -> Metric:
    """Return `coverage` (share answered) and `selective_error` (share wrong of those)."""
    columns = np.stack([answered, answered & wrong], axis=1).astype(np.float64)

    def compute(weights: Weights) -> Replicates:
        drawn = weights.astype(np.float64)
        sums = drawn @ columns
        return {
            "coverage": sums[:, 0] / drawn.sum(axis=1),
            "selective_error": _divide(sums[:, 1], sums[:, 0]),
        }

    return compute


def decision_metrics(sample: Sample) -> Metric:
    """Return precision, recall and F1 per label [B, L], and F1 macro and micro [B].

    F1 of a label that is neither true nor given anywhere is undefined, and such a label
    is left out of the macro mean.
    """
    hits = (sample.truth & sample.decisions).astype(np.float64)
    given = sample.decisions.astype(np.float64)
    true = sample.truth.astype(np.float64)

    def compute(weights: Weights) -> Replicates:
        drawn = weights.astype(np.float64)
        tp, predicted, support = drawn @ hits, drawn @ given, drawn @ true
        f1 = _divide(2 * tp, predicted + support)
        pooled = _divide(2 * tp.sum(axis=1), predicted.sum(axis=1) + support.sum(axis=1))
        return {
            "label_precision": _divide(tp, predicted),
            "label_recall": _divide(tp, support),
            "label_f1": f1,
            "f1_macro": _label_mean(f1),
            "f1_micro": pooled,
        }

    return compute


def ranking_metric(sample: Sample) -> Metric:
    """Return AP and AUC per label [B, L], their macro means and pooled (micro) values [B]."""
    images = np.arange(len(sample.scores))
    labels = [
        rank(sample.scores[:, label], sample.truth[:, label], images)
        for label in range(sample.scores.shape[1])
    ]
    pooled = rank(
        sample.scores.ravel(), sample.truth.ravel(), np.repeat(images, sample.scores.shape[1])
    )

    def compute(weights: Weights) -> Replicates:
        each = [ranking_metrics(ranking, weights) for ranking in labels]
        ap = np.stack([ap for ap, _ in each], axis=1)
        auc = np.stack([auc for _, auc in each], axis=1)
        micro_ap, micro_auc = ranking_metrics(pooled, weights)
        return {
            "label_ap": ap,
            "label_auc": auc,
            "auc_pr": _label_mean(ap),
            "auc_roc": _label_mean(auc),
            "auc_pr_micro": micro_ap,
            "auc_roc_micro": micro_auc,
        }

    return compute
