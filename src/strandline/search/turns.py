"""Whose turn it is among trials that were begun and wait for a worker.

Usually only what a crash or a suspended search left waits, and goes on in its order. The
trials of a population take turns: the least advanced one goes on, so that they can be
compared, and however few workers there are, the population is kept full.
"""

from __future__ import annotations

from strandline.search.ledger import Ledger
from strandline.search.scheduler import Population


class Turns:
    """The trials that wait.

    Args:
        population: whose members take turns; None when trials run through.
    """

    def __init__(self, ledger: Ledger, population: Population | None) -> None:
        self._ledger = ledger
        self._population = population
        self._waiting: list[int] = []

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, number: int) -> None:
        """Let a trial wait."""
        self._waiting.append(number)

    def next(self, may_start: bool) -> int | None:
        """Take out the trial to go on; None when none waits, or a new one is to start first."""
        if not self._waiting:
            return None
        population = self._population
        if population is None:
            return self._waiting.pop(0)
        chosen = min(self._waiting, key=self._rank)
        full = len(self._waiting) + len(self._ledger.running) >= population.size
        if may_start and not full and self._stands(chosen):
            return None
        self._waiting.remove(chosen)
        return chosen

    def _rank(self, number: int) -> tuple[bool, int, int]:
        # What was in the middle of its turn when the search was cut off finishes it first.
        return self._stands(number), self._ledger[number].step, number

    def _stands(self, number: int) -> bool:
        assert self._population is not None
        return self._population.is_waiting(number, self._ledger[number].step)
