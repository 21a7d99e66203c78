"""What the report's charts show: from a Scorecard to drawn charts."""

from __future__ import annotations

from typing import Any

from strandline.learn import plots
from strandline.learn.plots import Chart, Dot, Line
from strandline.spec.scorecard import Curve, Scorecard, ThresholdGrid


def draw_charts(scorecard: Scorecard) -> dict[str, Any]:
    """Return every chart of the report by its name in the template, and the slider's data."""
    middle = scorecard.grid.thresholds.index(0.5)
    return {
        "middle": middle,
        "pr_chart": plots.draw(_pr_chart(scorecard, middle)),
        "roc_chart": plots.draw(_roc_chart(scorecard, middle)),
        "precision_chart": plots.draw(_threshold_chart(scorecard.grid, middle)),
        "risk_chart": plots.draw(_risk_chart(scorecard)),
        "reliability_chart": plots.draw(_reliability_chart(scorecard)),
        "grids": {
            "thresholds": scorecard.grid.thresholds,
            "all": _counts(scorecard.grid),
            "labels": [_counts(each.grid) for each in scorecard.slices],
        },
    }


def _counts(grid: ThresholdGrid) -> dict[str, tuple[int, ...]]:
    return {
        "tp": grid.true_positives,
        "fp": grid.false_positives,
        "fn": grid.false_negatives,
        "tn": grid.true_negatives,
    }


def _pr_chart(scorecard: Scorecard, middle: int) -> Chart:
    precision, recall = scorecard.grid.precision()[middle], scorecard.grid.recall()[middle]
    return Chart(
        "Precision-recall curve, all labels pooled",
        "recall",
        "precision",
        [plots.curve_line(scorecard.precision_recall, "", "pr-line")],
        [Dot(recall or 0.0, precision or 0.0, "point", "at the threshold", id="pr-point")],
    )


def _roc_chart(scorecard: Scorecard, middle: int) -> Chart:
    fpr, recall = (
        scorecard.grid.false_positive_rate()[middle],
        scorecard.grid.recall()[middle],
    )
    return Chart(
        "ROC curve, all labels pooled",
        "false positive rate",
        "recall",
        [plots.curve_line(scorecard.roc, "", "roc-line")],
        [Dot(fpr or 0.0, recall or 0.0, "point", "at the threshold", id="roc-point")],
        guides=[Line((0, 1), (0, 1), "guide")],
    )


def _threshold_chart(grid: ThresholdGrid, middle: int) -> Chart:
    precision, recall = grid.precision(), grid.recall()
    known = [at for at, value in enumerate(precision) if value is not None]
    return Chart(
        "Precision and recall against the confidence threshold",
        "threshold",
        "precision, recall",
        [
            Line(
                [grid.thresholds[at] for at in known],
                [precision[at] or 0.0 for at in known],
                "",
                "precision-line",
            ),
            Line(grid.thresholds, [each or 0.0 for each in recall], "other", "recall-line"),
        ],
        [
            Dot(0.5, precision[middle] or 0.0, "point", "precision", id="precision-point"),
            Dot(0.5, recall[middle] or 0.0, "point", "recall", id="recall-point"),
        ],
    )


def _risk_chart(scorecard: Scorecard) -> Chart:
    found = scorecard.abstention
    curve, goal = found.curve, found.chosen.goal
    # The first few answers jump between 0 and 1; they must not set the scale.
    settled = [y for x, y in zip(curve.x, curve.y, strict=True) if x >= 0.05]
    top = plots.nice_top(max([*settled, 1.5 * goal]))
    dots = []
    if found.error.value is not None and found.coverage.value is not None:
        text = f"{found.answered} answered, {found.wrong} wrong"
        dots.append(Dot(found.coverage.value, found.error.value, "point", text, radius=6))
    return Chart(
        "Share of wrong answers against the share of images answered",
        "images answered",
        "answers wrong",
        [plots.curve_line(_clip(curve, top), "")],
        dots,
        guides=[Line((0, 1), (goal, goal), "goal")],
        y_top=top,
    )


def _clip(curve: Curve, top: float) -> Curve:
    return Curve(x=curve.x, y=tuple(min(y, top) for y in curve.y))


def _reliability_chart(scorecard: Scorecard) -> Chart:
    report = scorecard.calibration
    after = report.calibrated.bins
    lines = [Line([b.mean_score for b in after], [b.share_right for b in after], "")]
    dots = plots.reliability_dots(after, "after", "calibrated")
    if report.uncalibrated:
        before = report.uncalibrated.bins
        lines.insert(
            0, Line([b.mean_score for b in before], [b.share_right for b in before], "other")
        )
        dots = plots.reliability_dots(before, "before", "before calibration") + dots
    return Chart(
        "Reliability diagram: share right against score",
        "score",
        "share right",
        lines,
        dots,
        guides=[Line((0, 1), (0, 1), "guide")],
    )
