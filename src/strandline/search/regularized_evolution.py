"""Regularized evolution (Real et al. 2019, arXiv 1802.01548).

The population is the newest so many results: the oldest dies whatever it is worth. The best
of a few drawn from it gets one change.
"""

from __future__ import annotations

from collections.abc import Iterable

from strandline.search.moves import mutate
from strandline.search.random import draw_new
from strandline.search.record import Learner
from strandline.search.space import Candidate, Space, candidate_key

_ATTEMPTS = 50


class RegularizedEvolution(Learner):
    """Aging evolution by mutation.

    Args:
        population: results that may become parents. The paper has 100 for 20,000 trials;
            here it is 20, for searches of hundreds.
        sample: drawn from the population for each parent.
        repeats: whether a candidate that was tried may be suggested again.
    """

    def __init__(
        self,
        space: Space,
        seed: int,
        population: int = 20,
        sample: int = 5,
        repeats: bool = False,
    ) -> None:
        if not 1 <= sample <= population:
            raise ValueError("sample must be at least 1 and at most population")
        super().__init__(space, seed, repeats=repeats)
        self._population = population
        self._sample = sample

    def suggest(self, number: int, pending: Iterable[Candidate]) -> Candidate | None:
        taken = self._unavailable(pending)
        newest = self._newest(self._population)
        if len(newest) < self._population:
            return draw_new(self._space, self._seed, number, taken)
        rng = self._rng(number)
        for _ in range(_ATTEMPTS):
            drawn = rng.choice(len(newest), self._sample, replace=False)
            best = max((newest[int(place)] for place in drawn), key=lambda each: each.value or 0.0)
            child = mutate(self._space, best.candidate, rng)
            if candidate_key(child) not in taken:
                return child
        return draw_new(self._space, self._seed, number, taken)
