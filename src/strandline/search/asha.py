"""Asynchronous successive halving (ASHA; Li et al. 2020, arXiv 1810.05934).

In the variant that stops rather than pauses: a trial that reaches a rung goes on, from where
it is, only while it is among the best 1/eta of all that reached it so far. Decisions depend
on the recorded values alone, in the order they came.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort


class Asha:
    """Asynchronous successive halving over steps.

    Args:
        eta: the best 1/eta of a rung go on.
        grace: steps that every trial gets; the rungs are grace·eta^k.
    """

    def __init__(self, eta: float = 3.0, grace: int = 1) -> None:
        if not 1 < eta < math.inf or grace < 1:
            raise ValueError("asha needs eta above 1 and a grace of at least 1 step")
        self._eta = eta
        self._grace = grace
        self._rungs: dict[int, Rung] = {}

    def decide(self, number: int, step: int, value: float) -> bool:
        if not self._is_rung(step):
            return True
        rung = self._rungs.setdefault(step, Rung())
        rung.put(number, value)
        # Until eta trials were seen nobody can be told from the rest: all go on.
        count = len(rung)
        promoted = int(count / self._eta) if count >= self._eta else count
        return rung.place(value) < max(promoted, 1)

    def _is_rung(self, step: int) -> bool:
        rung = float(self._grace)
        while round(rung) < step:
            rung *= self._eta
        return round(rung) == step


class Rung:
    """The values of the trials that reached a step, in order."""

    def __init__(self) -> None:
        self._values: dict[int, float] = {}
        self._sorted: list[float] = []

    def __len__(self) -> int:
        return len(self._sorted)

    def put(self, number: int, value: float) -> None:
        """Take a trial's value, in place of the one it had."""
        before = self._values.get(number)
        if before is not None:
            del self._sorted[bisect_left(self._sorted, before)]
        self._values[number] = value
        insort(self._sorted, value)

    def place(self, value: float) -> int:
        """Return how many values are better."""
        return len(self._sorted) - bisect_right(self._sorted, value)

    def median(self) -> float:
        """Return the middle value, the lower one of two."""
        return self._sorted[(len(self._sorted) - 1) // 2]
