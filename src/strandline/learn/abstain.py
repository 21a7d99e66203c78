"""Choose when to say "I don't know", so that a stated error goal holds on unseen images.

Picking the threshold whose observed error meets the goal fails about half the time: the
lucky one is chosen. Each threshold is instead tested: can so few wrong answers still be
chance if the true error were above the goal? Thresholds are tested from strict to lax
and the first that fails ends its chain (fixed sequence testing; Learn then Test,
Angelopoulos et al. 2021, arXiv 2110.01052; the binomial tail as in Geifman & El-Yaniv
2017, arXiv 1705.08500), so that no correction for their number is due. One unlucky
mistake at the strict end must not end everything, so a few chains start at different
coverages and share the allowed risk.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from strandline.learn.binomial import lower_tail, upper_bound
from strandline.learn.bootstrap import number_clusters
from strandline.spec.errors import InvalidSpecError
from strandline.spec.records import Task
from strandline.spec.scorecard import Abstention

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

DEFAULT_CONFIDENCE = 0.95
_CHAINS = 3
# Fixed before any data is seen, as the test demands: even steps in log-odds, from
# certain down to a coin toss among 100 labels, and 0 for "always answer".
_GRID = np.append(1 / (1 + np.exp(-np.linspace(12.0, -4.6, 333))), 0.0)
# Weight, in images, of the pooled threshold in that of a label (see label_thresholds).
_SHARED_WEIGHT = 20.0
# An answer that shows no threshold at all: no score reaches it.
NEVER = 1.0 + 1e-6


def choose_threshold(
    scores: NDArray[np.floating],
    truth: NDArray[np.generic],
    task: Task,
    max_error_rate: float,
    *,
    confidence: float = DEFAULT_CONFIDENCE,
    groups: Sequence[object] | None = None,
) -> Abstention:
    """Choose the laxest threshold under which the goal is proved on out-of-fold scores.

    An answer is the highest-scored label, wrong when the image does not carry it. With
    probability `confidence` over the draw of these images, at most `max_error_rate` of
    the answers on new images of the same kind are wrong. Where there are too few images
    or too many mistakes for such a proof, `supported` is False, `reason` says why, and
    the threshold is the laxest whose expected error meets the goal, without promise.

    Args:
        scores: calibrated out-of-fold scores [n, L].
        truth: class index [n] or 0/1 [n, L].
        groups: near-duplicate group of each image; a group counts as one observation.

    Raises:
        InvalidSpecError: the goal is not between 0 and 1.
    """
    if not 0 < max_error_rate < 1:
        raise InvalidSpecError(
            f"the error goal is {max_error_rate}: give a share between 0 and 1, e.g. 0.01"
        )
    values = np.asarray(scores, dtype=np.float64)
    top = values.max(axis=1)
    right = _top_right(values, truth)
    ladder = _Ladder(top, ~right, number_clusters(groups, len(top)), max_error_rate)
    step = ladder.prove(1 - confidence)
    guess = ladder.guess() if step is None else step
    thresholds = label_thresholds(values, truth) if task is Task.MULTILABEL else ()
    return _describe(ladder, guess, step is not None, confidence, thresholds)


def label_thresholds(scores: NDArray[np.floating], truth: NDArray[np.generic]) -> tuple[float, ...]:
    """Return the score from which each label is given: its best F1, out of fold.

    A label with few positives has a jagged F1 curve, whose peak is chance. Its own
    counts are therefore topped up with those of all labels pooled, scaled to
    `_SHARED_WEIGHT` positives, so that rare labels lean on the common threshold.

    Args:
        scores: [n, L]. truth: 0/1 [n, L].
    """
    values, true = np.asarray(scores, dtype=np.float64), np.asarray(truth) > 0
    grid = _GRID[::-1]
    counts = [_f1_counts(values[:, label], true[:, label], grid) for label in range(true.shape[1])]
    hits, given = (np.stack(column) for column in zip(*counts, strict=True))
    support = true.sum(axis=0)
    share = _SHARED_WEIGHT / max(1, int(support.sum()))
    hits = hits + share * hits.sum(axis=0)
    given = given + share * given.sum(axis=0)
    wanted = support[:, None] + share * support.sum()
    f1 = 2 * hits / np.maximum(given + wanted, 1e-12)
    return tuple(float(_middle_of_best(row, grid)) for row in f1)


def _f1_counts(scores: Floats, true: Flags, grid: Floats) -> tuple[Floats, Floats]:
    """Return true positives and given answers at each ascending threshold of `grid`."""
    every, hits = np.sort(scores), np.sort(scores[true])
    return (
        len(hits) - np.searchsorted(hits, grid).astype(np.float64),
        len(every) - np.searchsorted(every, grid).astype(np.float64),
    )


def _middle_of_best(f1: Floats, grid: Floats) -> float:
    """Return the middle of the plateau around the first maximum, the safest place on it."""
    best = int(f1.argmax())
    beyond = np.flatnonzero(f1[best:] < f1[best] - 1e-12)
    end = best + int(beyond[0]) - 1 if len(beyond) else best
    return float(grid[(best + end) // 2])


def _top_right(scores: Floats, truth: NDArray[np.generic]) -> Flags:
    top = scores.argmax(axis=1)
    if truth.ndim == 1:
        return np.asarray(top == truth)
    return np.asarray(truth[np.arange(len(top)), top] > 0)


class _Ladder:
    """Answers and mistakes at each threshold of the grid, strict to lax."""

    def __init__(self, top: Floats, wrong: Flags, clusters: NDArray[np.int64], goal: float) -> None:
        self.goal = goal
        self.items = len(top)
        order = np.argsort(-top, kind="stable")
        self._top = top[order]
        self.answered = np.searchsorted(-self._top, -_GRID, side="right")
        self._wrong_upto = np.concatenate([[0], np.cumsum(wrong[order])])
        self.wrong = self._wrong_upto[self.answered]
        first_seen = np.zeros(self.items, dtype=np.int64)
        first_seen[np.unique(clusters[order], return_index=True)[1]] = 1
        distinct = np.concatenate([[0], np.cumsum(first_seen)])
        self.independent = distinct[self.answered]

    def prove(self, risk: float) -> int | None:
        """Return the laxest step that a chain reaches, None when none proves anything."""
        starts = self._starts(risk)
        reached = [self._climb(start, risk / len(starts)) for start in starts]
        proved = [step for step in reached if step is not None]
        return max(proved) if proved else None

    def _starts(self, risk: float) -> list[int]:
        """Return where chains start: by number of answers alone, never by mistakes.

        The first has just enough answers to prove the goal without a mistake; the others
        spread evenly up to 90% of the images, when there are enough of those.
        """
        every = int(self.independent[-1])
        chains = _CHAINS if every >= 2 * fewest_answers(self.goal, risk / _CHAINS) else 1
        first = fewest_answers(self.goal, risk / chains)
        wanted = np.geomspace(first, max(first, 0.9 * every), chains)
        found = (int(np.searchsorted(self.independent, count)) for count in wanted)
        return sorted({min(step, len(_GRID) - 1) for step in found})

    def _climb(self, start: int, risk: float) -> int | None:
        last: int | None = None
        for step in range(start, len(_GRID)):
            if self._chance(step) > risk:
                break
            last = step
        return last

    def _chance(self, step: int) -> float:
        """Return the probability of so few mistakes if the error were the goal."""
        wrong, trials = self.effective(step)
        return lower_tail(wrong, trials, self.goal)

    def effective(self, step: int) -> tuple[int, int]:
        """Return mistakes and answers at a step, scaled to independent images."""
        answered, trials = int(self.answered[step]), int(self.independent[step])
        if answered == 0:
            return 0, 0
        return math.ceil(int(self.wrong[step]) * trials / answered - 1e-9), trials

    def guess(self) -> int | None:
        """Return the laxest step whose smoothed error, here and at all stricter steps
        with as many answers, meets the goal; None when there is none.

        Both the mistakes seen and those the calibrated scores expect must meet it.
        """
        expected = np.concatenate([[0.0], np.cumsum(1 - self._top)])[self.answered]
        answered = np.maximum(self.answered, 1)
        meets = (self.wrong <= self.goal * answered) & (expected <= self.goal * answered)
        steps = np.flatnonzero(meets & (self.answered > 0))
        return int(steps[-1]) if len(steps) else None

    def threshold(self, step: int | None) -> float:
        return NEVER if step is None else float(_GRID[step])


def fewest_answers(goal: float, risk: float) -> int:
    """Return how many answers, none of them wrong, prove the goal at this risk."""
    return math.ceil(math.log(risk) / math.log1p(-goal))


def _describe(
    ladder: _Ladder,
    step: int | None,
    supported: bool,
    confidence: float,
    thresholds: tuple[float, ...],
) -> Abstention:
    answered = 0 if step is None else int(ladder.answered[step])
    wrong = 0 if step is None else int(ladder.wrong[step])
    counted = (0, 0) if step is None else ladder.effective(step)
    return Abstention(
        goal=ladder.goal,
        threshold=ladder.threshold(step),
        confidence=confidence,
        supported=supported,
        reason=_explain(ladder, step, supported, confidence),
        coverage=answered / ladder.items if ladder.items else 0.0,
        error=wrong / answered if answered else None,
        error_bound=upper_bound(*counted, confidence),
        items=ladder.items,
        answered=answered,
        wrong=wrong,
        label_thresholds=thresholds,
    )


def _explain(ladder: _Ladder, step: int | None, supported: bool, confidence: float) -> str:
    goal = f"{100 * ladder.goal:.3g}%"
    if supported and step is not None:
        return (
            f"On images the model had not seen, {ladder.answered[step]} answers held "
            f"{ladder.wrong[step]} wrong; with {confidence:.0%} confidence at most {goal} of the "
            "answers on new images of the same kind are wrong."
        )
    needed = fewest_answers(ladder.goal, 1 - confidence)
    found = int(ladder.independent[-1])
    if found < needed:
        why = (
            f"Too few images: {found} independent ones cannot prove an error of at most "
            f"{goal}; that takes {needed} answers without a single mistake. "
            "Add labeled images or state a larger goal."
        )
    else:
        why = (
            f"Too many mistakes among the surest answers to prove an error of at most "
            f"{goal}. Check the labels of the images it is surely wrong about, add "
            "images, or state a larger goal."
        )
    if step is None:
        return f"{why} No threshold comes near the goal, so the model abstains on every image."
    return f"{why} The threshold is the best guess, not a promise."
