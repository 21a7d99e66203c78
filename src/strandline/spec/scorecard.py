"""A Scorecard: one evaluation of one model on one set of images, with its uncertainty.

A number without an interval invites trust that a small test split cannot carry, so
nothing here is a bare metric: each is an `Estimate`. The record holds all that the
report, the console and `evaluate -o json` show, and round-trips through JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal

from pydantic import Field

from strandline.spec.records import Digest, Record, Task


class IntervalMethod(StrEnum):
    """How an interval was made; `docs/reference/evaluation.md` tells when each is used."""

    BCA = "bca"
    REFLECTED = "reflected"
    PERCENTILE = "percentile"
    CLOPPER_PEARSON = "clopper-pearson"
    UNDEFINED = "undefined"


class Estimate(Record):
    """A number and the interval that holds its true value with 95% confidence.

    Attributes:
        value: None where it is undefined, e.g. the AUC of a label no image carries.
        low, high: bounds of the interval; None where it cannot be told.
        method: how the interval was made.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    method: IntervalMethod = IntervalMethod.UNDEFINED


class ThresholdGrid(Record):
    """The four counts at each threshold: an answer is given where score ≥ threshold.

    The rates are derived, so that they cannot contradict the counts.
    """

    thresholds: tuple[float, ...]
    true_positives: tuple[int, ...]
    false_positives: tuple[int, ...]
    false_negatives: tuple[int, ...]
    true_negatives: tuple[int, ...]

    def precision(self) -> tuple[float | None, ...]:
        """Return TP / (TP + FP) at each threshold, None where nothing is answered."""
        return _ratios(self.true_positives, self.false_positives)

    def recall(self) -> tuple[float | None, ...]:
        """Return TP / (TP + FN) at each threshold."""
        return _ratios(self.true_positives, self.false_negatives)

    def false_positive_rate(self) -> tuple[float | None, ...]:
        """Return FP / (FP + TN) at each threshold."""
        return _ratios(self.false_positives, self.true_negatives)

    def f1(self) -> tuple[float | None, ...]:
        """Return 2TP / (2TP + FP + FN) at each threshold."""
        doubled = tuple(2 * count for count in self.true_positives)
        errors = tuple(
            a + b for a, b in zip(self.false_positives, self.false_negatives, strict=True)
        )
        return _ratios(doubled, errors)


class Curve(Record):
    """Points of a curve, thinned for drawing; `x` never goes down."""

    x: tuple[float, ...]
    y: tuple[float, ...]


class ExampleOutcome(StrEnum):
    """What an example image shows about a label."""

    RIGHT = "right"
    WRONG = "wrong"
    MISSED = "missed"


class Example(Record):
    """One image worth looking at for one label.

    Attributes:
        image: digest of the stored object.
        source: name under which the image came, as text.
        score: calibrated score of the label the example stands under.
        outcome: RIGHT: has the label, was given it. WRONG: was given it, lacks it.
            MISSED: has the label, was not given it.
        truth: the labels people gave it.
        predicted: the labels the model gave it.
    """

    image: Digest
    source: str | None = None
    score: float
    outcome: ExampleOutcome
    truth: tuple[str, ...]
    predicted: tuple[str, ...]


class LabelSlice(Record):
    """How the model does on one label.

    Attributes:
        support: test images that carry the label.
        predicted: test images that were given it.
        threshold: multi-label: the label is given where its score is at least this;
            None for one label an image (the highest score decides).
        grid: the four counts of this label against all others, by threshold.
        examples: highest-scored right and wrong ones, lowest-scored missed ones.
    """

    label: str
    support: int
    predicted: int
    threshold: float | None = None
    precision: Estimate
    recall: Estimate
    f1: Estimate
    average_precision: Estimate
    auc_roc: Estimate
    grid: ThresholdGrid
    examples: tuple[Example, ...] = ()


class ReliabilityBin(Record):
    """Scores of one range: their mean, and how often they were right."""

    low: float
    high: float
    count: int
    mean_score: float
    share_right: float


class Reliability(Record):
    """Whether scores mean what they say: the bins, and the error they sum up to."""

    bins: tuple[ReliabilityBin, ...]
    ece: Estimate


class CalibrationReport(Record):
    """Calibration on the test split, as predicted and before calibration.

    Attributes:
        calibrated: with the scores the model gives.
        uncalibrated: with its raw scores; None when they were not kept.
        improvement: uncalibrated minus calibrated error, interval from paired resamples.
    """

    calibrated: Reliability
    uncalibrated: Reliability | None = None
    improvement: Estimate | None = None


class Abstention(Record):
    """From which top score on the model answers, and what that promises.

    Chosen on out-of-fold scores only, never on the test split.

    Attributes:
        goal: among answers given, at most this share is wrong.
        threshold: the model answers where its highest score is at least this.
        confidence: how sure the promise is, when `supported`.
        supported: whether the data prove the goal; if not, `reason` says why and the
            threshold is a best guess.
        coverage, error: share answered and share wrong among the answers, out of fold;
            `error` is None when nothing is answered.
        error_bound: upper confidence bound of the error.
        items, answered, wrong: the counts behind them.
        label_thresholds: multi-label: score from which each label is given.
    """

    goal: float
    threshold: float
    confidence: float
    supported: bool
    reason: str
    coverage: float
    error: float | None
    error_bound: float
    items: int
    answered: int
    wrong: int
    label_thresholds: tuple[float, ...] = ()


class AbstentionResult(Record):
    """What the abstention threshold did on the untouched test split.

    Attributes:
        chosen: the choice, made before.
        coverage, error: on the test split. `error` is undefined when nothing is answered.
        holds: whether the goal is compatible with the test split: the interval's lower
            bound is not above it.
        curve: x = coverage, y = share wrong among the answers, over all thresholds.
    """

    chosen: Abstention
    coverage: Estimate
    error: Estimate
    answered: int
    wrong: int
    holds: bool
    curve: Curve


class Leakage(Record):
    """How much near-duplicates across the split would have flattered the model.

    Attributes:
        affected: test images with a near-duplicate among the training images when
            nothing keeps them apart.
        items: test images of the leaking evaluation.
        left_in: metrics with the leakage left in.
        inflation: left in minus taken out, for metrics where more is better; the other
            way round for losses, so that positive always means flattery.
    """

    affected: int
    items: int
    left_in: Mapping[str, Estimate]
    inflation: Mapping[str, Estimate]


class Scorecard(Record):
    """One evaluation.

    Attributes:
        version: of this schema.
        items: images evaluated.
        clusters: independent units among them (a near-duplicate group counts once).
        seed, resamples, confidence: of the bootstrap.
        metrics: headline numbers by name.
        grid: the four counts summed over labels, by threshold.
        precision_recall, roc: curves pooled over labels.
        confusion: multi-class: rows truth, columns prediction. Multi-label: one row a
            label with true positives, false positives, false negatives, true negatives.
        co_occurrence: multi-label: rows truth, columns prediction, images counted once
            in each pair they have; None for multi-class.
        notes: what a reader must know before trusting a number.
    """

    version: Literal[1] = 1
    task: Task
    labels: tuple[str, ...]
    items: int
    clusters: int
    seed: int
    resamples: int
    confidence: float = Field(default=0.95, gt=0, lt=1)
    metrics: Mapping[str, Estimate]
    grid: ThresholdGrid
    precision_recall: Curve
    roc: Curve
    confusion: tuple[tuple[int, ...], ...]
    co_occurrence: tuple[tuple[int, ...], ...] | None = None
    slices: tuple[LabelSlice, ...]
    calibration: CalibrationReport
    abstention: AbstentionResult
    leakage: Leakage | None = None
    notes: tuple[str, ...] = ()


def to_contract(scorecard: Scorecard, model: str, dataset: str) -> dict[str, Any]:
    """Return what `evaluate -o json` prints: contract v1, fields are only ever added."""
    found = scorecard.abstention
    return {
        "model": model,
        "dataset": dataset,
        "task": scorecard.task.value,
        "items": scorecard.items,
        "metrics": {name: _bounds(each) for name, each in scorecard.metrics.items()},
        "abstention": {
            "goal": found.chosen.goal,
            "threshold": found.chosen.threshold,
            "supported": found.chosen.supported,
            "reason": found.chosen.reason,
            "coverage": found.coverage.value,
            "error": found.error.value,
            "coverage_interval": [found.coverage.low, found.coverage.high],
            "error_interval": [found.error.low, found.error.high],
            "answered": found.answered,
            "wrong": found.wrong,
        },
        "calibration": _calibration_contract(scorecard.calibration),
        "leakage": _leakage_contract(scorecard.leakage),
        "thresholds": grid_rows(scorecard.grid),
        "labels": list(scorecard.labels),
        "confusion": [list(row) for row in scorecard.confusion],
        "notes": list(scorecard.notes),
    }


def grid_rows(grid: ThresholdGrid) -> list[dict[str, float | int | None]]:
    """Return the grid as one mapping a threshold."""
    columns = {
        "threshold": grid.thresholds,
        "precision": grid.precision(),
        "recall": grid.recall(),
        "f1": grid.f1(),
        "fpr": grid.false_positive_rate(),
        "tp": grid.true_positives,
        "fp": grid.false_positives,
        "fn": grid.false_negatives,
        "tn": grid.true_negatives,
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _calibration_contract(report: CalibrationReport) -> dict[str, Any]:
    before = report.uncalibrated
    return {
        "ece": _bounds(report.calibrated.ece),
        "ece_uncalibrated": _bounds(before.ece) if before else None,
        "improvement": _bounds(report.improvement) if report.improvement else None,
    }


def _leakage_contract(leakage: Leakage | None) -> dict[str, Any] | None:
    if leakage is None:
        return None
    return {
        "affected": leakage.affected,
        "items": leakage.items,
        "left_in": {name: _bounds(each) for name, each in leakage.left_in.items()},
        "inflation": {name: _bounds(each) for name, each in leakage.inflation.items()},
    }


def _bounds(estimate: Estimate) -> dict[str, float | None]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}


def _ratios(hits: tuple[int, ...], misses: tuple[int, ...]) -> tuple[float | None, ...]:
    return tuple(
        hit / (hit + miss) if hit + miss else None for hit, miss in zip(hits, misses, strict=True)
    )
