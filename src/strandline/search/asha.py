"""When a running trial ends early: asynchronous successive halving, and never.

ASHA (Li et al. 2020, arXiv 1810.05934), in the variant that stops rather than pauses: a
trial that reaches a rung goes on only while it is among the best 1/eta of all that
reached it so far. Decisions depend on the recorded values alone, in the order they came.
"""

from __future__ import annotations

import math
from typing import Protocol


class Scheduler(Protocol):
    """Decides whether a trial goes on after a step."""

    def decide(self, number: int, step: int, value: float) -> bool:
        """Take the value (more is better) after `step`; True to go on.

        The same trial and step again, as after a restart, replaces what was taken.
        """


class NoEarlyStopping:
    """Every trial runs to its end."""

    def decide(self, number: int, step: int, value: float) -> bool:
        return True


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
        self._rungs: dict[int, dict[int, float]] = {}

    def decide(self, number: int, step: int, value: float) -> bool:
        if not self._is_rung(step):
            return True
        rung = self._rungs.setdefault(step, {})
        rung[number] = value
        ranked = sorted(rung.values(), reverse=True)
        # Until eta trials were seen nobody can be told from the rest: all go on.
        promoted = int(len(ranked) / self._eta) if len(ranked) >= self._eta else len(ranked)
        return value >= ranked[max(promoted, 1) - 1]

    def _is_rung(self, step: int) -> bool:
        rung = float(self._grace)
        while round(rung) < step:
            rung *= self._eta
        return round(rung) == step
