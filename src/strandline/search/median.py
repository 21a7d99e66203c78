"""The median rule (Golovin et al. 2017, Vizier): stop what is worse than most were by then.

A trial stops when its best value so far is below the median of the other trials' running
means up to the same step.
"""

from __future__ import annotations

from strandline.search.asha import Rung


class MedianStopping:
    """The median rule.

    Args:
        grace: steps that every trial gets.
        least: trials that must have reached a step before it is looked at.
    """

    def __init__(self, grace: int = 1, least: int = 5) -> None:
        if grace < 1 or least < 1:
            raise ValueError("grace and least must be at least 1")
        self._grace = grace
        self._least = least
        self._curves: dict[int, dict[int, float]] = {}
        self._means: dict[int, Rung] = {}

    def decide(self, number: int, step: int, value: float) -> bool:
        curve = self._curves.setdefault(number, {})
        curve[step] = value
        seen = [each for at, each in curve.items() if at <= step]
        rung = self._means.setdefault(step, Rung())
        rung.put(number, sum(seen) / len(seen))
        if step < self._grace or len(rung) <= self._least:
            return True
        return max(seen) >= rung.median()
