"""Exact bounds on a share seen in few trials, with numpy only.

At 0 wrong in 40 a bootstrap says "0, for certain"; these bounds say "below 9%". They
are written out here because evaluation must run where scipy is not installed.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

_BISECTIONS = 60


def lower_tail(successes: int, trials: int, share: float) -> float:
    """Return P(X <= successes) for X ~ Binomial(trials, share).

    Summed in log space, so that 100,000 trials neither underflow nor need scipy.
    """
    if successes >= trials or share <= 0.0:
        return 1.0
    if successes < 0 or share >= 1.0:
        return 0.0
    k = np.arange(successes + 1)
    log_terms = (
        math.lgamma(trials + 1)
        - _log_factorials(trials)[k]
        - _log_factorials(trials)[trials - k]
        + k * math.log(share)
        + (trials - k) * math.log1p(-share)
    )
    top = float(log_terms.max())
    return min(1.0, math.exp(top) * float(np.exp(log_terms - top).sum()))


def upper_bound(successes: int, trials: int, confidence: float) -> float:
    """Return the one-sided Clopper-Pearson upper bound of the share.

    Clopper & Pearson (1934): the largest share under which so few successes still have
    probability `1 - confidence`.
    """
    if trials == 0 or successes >= trials:
        return 1.0
    low, high = successes / trials, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if lower_tail(successes, trials, middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def clopper_pearson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact two-sided interval of a share (Clopper & Pearson 1934)."""
    one_sided = 1 - (1 - confidence) / 2
    if trials == 0:
        return 0.0, 1.0
    low = 1.0 - upper_bound(trials - successes, trials, one_sided)
    return low, upper_bound(successes, trials, one_sided)


def normal_quantile(probability: float) -> float:
    """Return the quantile of the standard normal distribution."""
    return NormalDist().inv_cdf(probability)


def normal_cdf(value: float) -> float:
    """Return P(Z <= value) for a standard normal Z."""
    return NormalDist().cdf(value)


@lru_cache(maxsize=4)
def _log_factorials(largest: int) -> NDArray[np.float64]:
    """Return log(k!) for k = 0 … `largest`."""
    steps = np.log(np.maximum(np.arange(largest + 1, dtype=np.float64), 1.0))
    return np.cumsum(steps)
