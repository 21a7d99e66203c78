"""Where the best value of a search will be after more trials, judged by how it got here.

Each doubling of a search brings less than the one before, and by how much differs from
problem to problem more than any fitted curve knows. So there is no curve here: what the
next doublings bring is told in units of what the last two brought (and of how far the best
stands out), as quantiles of what they brought in `bench/progress`, over searches of
functions that have nothing to do with the user's. What those quantiles are worth on
problems they were not taken from stands there, too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from strandline.search.encoding import Floats

FEWEST = 16
"""Trials with a value, below which there is nothing to judge by."""
FURTHEST = 4.0
"""Times the trials there are: beyond it nothing was measured."""
# Of the gain in units of `unit_of`: 10%, 50% and 90% of the searches in bench/progress that
# went on for one and for two more doublings.
QUANTILES: dict[int, tuple[float, float, float]] = {
    1: (0.0, 0.16, 2.35),
    2: (0.0, 0.68, 4.9),
}
_STANDS_OUT = 0.1


@dataclass(frozen=True, slots=True)
class Forecast:
    """Where the best value is expected, more being better.

    Attributes:
        trials: that will have ended by then.
        middle: as likely to be surpassed as not.
        low, high: 80% interval.
    """

    trials: int
    middle: float
    low: float
    high: float


def best_so_far(values: Sequence[float]) -> Floats:
    """Return the best of the first 1, 2, … values; more is better."""
    return np.asarray(np.maximum.accumulate(np.asarray(values, np.float64)))


def unit_of(values: Sequence[float]) -> float:
    """Return what gains are told in: the mean gain of the last two doublings, and a part of
    how far the best stands out from the middle of the values."""
    best, count = best_so_far(values), len(values)
    gain = (best[-1] - best[max(0, count // 4 - 1)]) / 2
    return float(gain + _STANDS_OUT * (best[-1] - np.median(np.asarray(values))))


def forecast(values: Sequence[float], trials: int) -> Forecast | None:
    """Return where the best will be after so many trials; None when that cannot be told.

    Args:
        values: of the trials that ended, in that order; more is better.
        trials: at least as many as there are values.
    """
    count = len(values)
    if count < FEWEST or not count <= trials <= FURTHEST * count:
        return None
    unit = unit_of(values)
    if unit <= 0:
        return None  # all values are one
    best, doublings = float(best_so_far(values)[-1]), math.log2(trials / count)
    low, middle, high = (best + unit * each for each in _gains(doublings))
    return Forecast(trials, middle, low, high)


def _gains(doublings: float) -> tuple[float, float, float]:
    """Return the quantiles after so many doublings, 0 to 2, by straight lines between."""
    known = [(0.0, 0.0, 0.0), QUANTILES[1], QUANTILES[2]]
    low, middle, high = (
        float(np.interp(doublings, [0, 1, 2], [each[place] for each in known]))
        for place in range(3)
    )
    return low, middle, high
