"""Say in plain words what a scorecard found and what to do about it.

The reader trained a model without having studied statistics: each sentence must be true
of the interval, not only of the point, and each piece of advice must be doable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from strandline.spec.records import Task
from strandline.spec.scorecard import Estimate, LabelSlice, Scorecard

_FEW = 10
_MOST_ADVICE = 6
_MOST_CONFUSIONS = 10
_WORRYING_F1 = 0.8


@dataclass(frozen=True, slots=True)
class Confusion:
    """`count` of the `total` images of label `truth` were called `predicted`."""

    truth: str
    predicted: str
    count: int
    total: int


def percent(value: float | None, digits: int = 1) -> str:
    """Return a share as percent, `–` when undefined; 100% only when it is exactly that."""
    if value is None:
        return "–"
    shown = f"{100 * value:.{digits}f}"
    if value < 1 and float(shown) >= 100:
        return f"> {100 - 10**-digits:.{digits}f}%"
    if value > 0 and float(shown) == 0:
        return f"< {10**-digits:.{digits}f}%"
    return f"{shown}%"


def interval(estimate: Estimate, digits: int = 1) -> str:
    """Return the bounds as percent, or why there are none."""
    if estimate.low is None or estimate.high is None:
        return "interval unknown" if estimate.value is not None else "undefined here"
    return f"{percent(estimate.low, digits)} to {percent(estimate.high, digits)}"


def headline(scorecard: Scorecard) -> str:
    """Return the one sentence to remember."""
    right = scorecard.metrics["precision_at_1"]
    if scorecard.task is Task.MULTILABEL:
        return (
            f"The label the model is surest of is right for {percent(right.value)} of images "
            f"like these; with 95% confidence the true figure is {interval(right)}."
        )
    return (
        f"The model gets {percent(right.value)} of images like these right; with 95% confidence "
        f"the true figure is {interval(right)}."
    )


def abstention_sentence(scorecard: Scorecard) -> str:
    """Return what saying "I don’t know" brings, and whether the goal held."""
    found = scorecard.abstention
    goal = percent(found.chosen.goal)
    if found.answered == 0:
        return (
            f"Asked for at most {goal} wrong answers, the model answers none of these images. "
            f"{found.chosen.reason}"
        )
    held = (
        "The test images agree with the goal."
        if found.holds
        else "The test images contradict the goal: use more labeled images or a larger goal."
    )
    return (
        f"Asked for at most {goal} wrong answers, the model answers when its highest score is "
        f"at least {found.chosen.threshold:.3f} and says “I don’t know” otherwise. On the test "
        f"images it answered {percent(found.coverage.value)}, and {found.wrong} of "
        f"{found.answered} answers {_were(found.wrong)} wrong ({percent(found.error.value)}; 95% "
        f"interval {interval(found.error)}). {held}"
    )


def calibration_sentence(scorecard: Scorecard) -> str:
    """Return whether scores can be read as probabilities."""
    report = scorecard.calibration
    after = report.calibrated.ece
    text = (
        f"On average a score is {percent(after.value)} off what it promises (expected "
        f"calibration error; 95% interval {interval(after)})."
    )
    if after.low == 0:
        text += " Chance alone can explain that."
    if report.uncalibrated is None or report.improvement is None:
        return text
    before = report.uncalibrated.ece
    gain = report.improvement
    if gain.low is not None and gain.low > 0:
        verdict = "calibration helped"
    elif gain.high is not None and gain.high < 0:
        verdict = "calibration did harm here; more training images make it steadier"
    else:
        verdict = "the difference is within chance"
    return f"{text} Without calibration it was {percent(before.value)}: {verdict}."


def top_confusions(scorecard: Scorecard) -> list[Confusion]:
    """Return the commonest mistakes of a multi-class model, commonest first."""
    if scorecard.task is Task.MULTILABEL:
        return []
    labels = scorecard.labels
    found = [
        Confusion(labels[row], labels[column], count, sum(counts))
        for row, counts in enumerate(scorecard.confusion)
        for column, count in enumerate(counts)
        if row != column and count
    ]
    return sorted(found, key=lambda each: (-each.count, -each.count / each.total))[
        :_MOST_CONFUSIONS
    ]


def advice(scorecard: Scorecard, model: str) -> list[str]:
    """Return what to do next, most useful first."""
    found = [
        *_advice_on_goal(scorecard),
        *_advice_on_confusions(scorecard),
        *_advice_on_labels(scorecard.slices),
        *_advice_on_leakage(scorecard),
    ][: _MOST_ADVICE - 1]
    return [*found, f"Try it on images of your own: strandline predict {model or 'MODEL'} PATH"]


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def _advice_on_goal(scorecard: Scorecard) -> list[str]:
    chosen = scorecard.abstention.chosen
    return [] if chosen.supported else [chosen.reason]


def _advice_on_confusions(scorecard: Scorecard) -> list[str]:
    return [
        f"{each.count} of {each.total} images of “{each.truth}” {_were(each.count)} called "
        f"“{each.predicted}”. Look at them below: if the labels are wrong, mend them; if the "
        "two look alike, add images that tell them apart, or merge the labels."
        for each in top_confusions(scorecard)[:2]
        if each.count > 1
    ]


def _advice_on_labels(slices: Sequence[LabelSlice]) -> list[str]:
    rare = [each.label for each in slices if each.support < _FEW]
    weak = [
        each
        for each in slices
        if each.support >= _FEW and each.f1.value is not None and each.f1.value < _WORRYING_F1
    ]
    found = []
    if weak:
        worst = min(weak, key=lambda each: each.f1.value or 0.0)
        found.append(
            f"“{worst.label}” is the weakest label (F1 {percent(worst.f1.value)}): check its "
            "labels first, then add images of it."
        )
    if rare:
        shown = ", ".join(f"“{label}”" for label in rare[:3])
        more = f" and {len(rare) - 3} more" if len(rare) > 3 else ""
        found.append(
            f"Label more images of {shown}{more}: with fewer than {_FEW} test images their "
            "figures are hardly more than a guess."
        )
    return found


def _advice_on_leakage(scorecard: Scorecard) -> list[str]:
    if scorecard.leakage is None or scorecard.leakage.affected == 0:
        return []
    return [
        f"{scorecard.leakage.affected} test images have near-duplicates among the others. They "
        "are kept apart here; keep them apart wherever else you split these images."
    ]
