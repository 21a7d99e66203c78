"""NSGA-II (Deb et al. 2002): evolution towards the whole front of several objectives.

Survival by front and crowding among the newest results, binary tournaments, uniform
crossover and one mutation. Limits count by constrained domination.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from strandline.search.algorithm import Observation
from strandline.search.moves import cross, mutate
from strandline.search.pareto import best_first
from strandline.search.random import draw_new
from strandline.search.record import Learner
from strandline.search.space import Candidate, Space, candidate_key

_ATTEMPTS = 50
# Survivors are chosen among so many populations' worth of results.
_GENERATIONS = 10


class Nsga2Search(Learner):
    """NSGA-II without generations: each result may replace one at once.

    Args:
        population: survivors that may become parents.
        crossing: probability that a child has two parents.
        repeats: whether a candidate that was tried may be suggested again.
    """

    def __init__(
        self,
        space: Space,
        seed: int,
        population: int = 30,
        crossing: float = 0.5,
        repeats: bool = False,
    ) -> None:
        if population < 2 or not 0 <= crossing <= 1:
            raise ValueError("population must be at least 2, crossing in [0, 1]")
        super().__init__(space, seed, repeats=repeats)
        self._population = population
        self._crossing = crossing
        self._alive: tuple[int, list[Observation]] = (-1, [])

    def suggest(self, number: int, pending: Iterable[Candidate]) -> Candidate | None:
        taken = self._unavailable(pending)
        alive = self._survivors()
        if len(alive) < self._population:
            return draw_new(self._space, self._seed, number, taken)
        rng = self._rng(number)
        for _ in range(_ATTEMPTS):
            child = alive[_tournament(len(alive), rng)].candidate
            if rng.random() < self._crossing:
                other = alive[_tournament(len(alive), rng)].candidate
                child = cross(self._space, child, other, rng)
            child = mutate(self._space, child, rng)
            if candidate_key(child) not in taken:
                return child
        return draw_new(self._space, self._seed, number, taken)

    def _survivors(self) -> list[Observation]:
        """Return the population, best first."""
        if self._alive[0] != self._version:
            known = self._newest(self._population * _GENERATIONS)
            if known:
                width = max(len(objectives(each)) for each in known)
                known = [each for each in known if len(objectives(each)) == width]
                values = np.array([objectives(each) for each in known])
                order = best_first(values, np.array([each.excess for each in known]))
                known = [known[int(place)] for place in order[: self._population]]
            self._alive = (self._version, known)
        return self._alive[1]

    def _import(self, own: object) -> None:
        self._alive = (-1, [])


def objectives(observation: Observation) -> tuple[float, ...]:
    """Return the values of all objectives of an observation that has them."""
    return observation.values or (observation.value or 0.0,)


def _tournament(size: int, rng: np.random.Generator) -> int:
    """Return the better one of two places; they are ordered best first."""
    return int(rng.integers(size, size=2).min())
