"""Learning-curve extrapolation: stop what will hardly reach the best.

Domhan et al. 2015 extrapolate a running trial's curve from its shape; here it is done from
the trials before it, which bend alike: what those gained from this step to their end, as a
share of the best one's, is what this one may still hope for. Nothing is assumed of the
metric but that early steps tell something of late ones.
"""

from __future__ import annotations

import math


class CurveExtrapolation:
    """Stop a trial whose forecast is unlikely to beat the best finished one.

    Args:
        grace: steps that every trial gets.
        least: finished trials before any is stopped.
        chance: a trial goes on while its chance to become the best is at least this.
    """

    def __init__(self, grace: int = 1, least: int = 5, chance: float = 0.05) -> None:
        if grace < 1 or least < 2 or not 0 < chance < 1:
            raise ValueError("grace must be 1 or more, least 2 or more, chance in (0, 1)")
        self._grace = grace
        self._least = least
        self._chance = chance
        self._curves: dict[int, dict[int, float]] = {}

    def decide(self, number: int, step: int, value: float) -> bool:
        self._curves.setdefault(number, {})[step] = value
        last = max(max(curve) for curve in self._curves.values())
        finished = [
            curve
            for other, curve in self._curves.items()
            if other != number and last in curve and step in curve
        ]
        if step < self._grace or step >= last or len(finished) < self._least:
            return True
        return self._chance_to_win(value, step, last, finished) >= self._chance

    @staticmethod
    def _chance_to_win(
        value: float, step: int, last: int, finished: list[dict[int, float]]
    ) -> float:
        """Return the chance that the trial ends above the best, by a normal forecast."""
        best = max(curve[last] for curve in finished)
        gains = [curve[last] - curve[step] for curve in finished]
        mean = sum(gains) / len(gains)
        spread = math.sqrt(sum((gain - mean) ** 2 for gain in gains) / (len(gains) - 1))
        apart = value + mean - best
        if spread == 0:
            return 1.0 if apart >= 0 else 0.0
        return 0.5 * math.erfc(-apart / spread / math.sqrt(2))
