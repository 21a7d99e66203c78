"""Hyperband without waiting (Li et al. 2018; asynchronous as in Li et al. 2020, section 3).

How early trials may be told apart differs from problem to problem. So trials are dealt to
brackets, each an ASHA of its own whose first rung comes later than that of the one before;
a bracket gets trials in proportion to what they cost there, so that each costs alike.
"""

from __future__ import annotations

import math

from strandline.search.asha import Asha


class Hyperband:
    """Asynchronous Hyperband.

    Args:
        eta: the best 1/eta of a rung go on.
        grace: steps that every trial gets in the first bracket.
        brackets: the first rung of bracket k is at grace·eta^k.
    """

    def __init__(self, eta: float = 3.0, grace: int = 1, brackets: int = 3) -> None:
        if brackets < 1:
            raise ValueError("hyperband needs at least 1 bracket")
        self._brackets = [
            Asha(eta, max(grace, round(grace * eta**each))) for each in range(brackets)
        ]
        shares = [eta ** (brackets - 1 - each) * brackets / (each + 1) for each in range(brackets)]
        self._shares = [share / sum(shares) for share in shares]

    def decide(self, number: int, step: int, value: float) -> bool:
        return self._brackets[self._bracket_of(number)].decide(number, step, value)

    def _bracket_of(self, number: int) -> int:
        """Deal the numbers out so that any stretch of them holds each bracket's share."""
        # The golden ratio's multiples are spread as evenly as any (Kronecker's sequence).
        point = math.modf((number + 0.5) * (math.sqrt(5) - 1) / 2)[0]
        for bracket, share in enumerate(self._shares):
            point -= share
            if point < 0:
                return bracket
        return len(self._shares) - 1
