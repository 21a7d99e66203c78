"""CMA-ES (Hansen & Ostermeier 2001), by the `cmaes` package that Optuna uses, too.

Parameters are moved on the unit interval; a category is a stretch of it. A generation is
made of the next so many results, whoever proposed them, so late and foreign ones do no harm.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from cmaes import CMA

from strandline.search.algorithm import Observation
from strandline.search.encoding import Floats
from strandline.search.random import draw_new
from strandline.search.record import Learner
from strandline.search.space import Candidate, Parameter, Space, candidate_key
from strandline.spec.records import Scalar

_ATTEMPTS = 20


class CmaEsSearch(Learner):
    """Evolution of a normal distribution over the unit cube.

    Args:
        sigma: standard deviation to begin with, of ranges of length 1.
        population: results a generation; 4 + 3 ln(parameters) if 0.
        repeats: whether a candidate that was tried may be suggested again.
    """

    def __init__(
        self,
        space: Space,
        seed: int,
        sigma: float = 0.3,
        population: int = 0,
        repeats: bool = False,
    ) -> None:
        super().__init__(space, seed, repeats=repeats)
        if not sigma > 0 or population < 0:
            raise ValueError("sigma must be above 0 and population not below")
        self._sigma = sigma
        self._population = population or None
        self._generation: list[int] = []
        self._evolution = self._begin()

    def suggest(self, number: int, pending: Iterable[Candidate]) -> Candidate | None:
        taken = self._unavailable(pending)
        for attempt in range(_ATTEMPTS):
            # One stream a trial: what it draws does not depend on how often others drew.
            self._evolution.reseed_rng((self._seed * 1_000_003 + number * 101 + attempt) % 2**32)
            point = self._evolution.ask()
            candidate = self._at(point)
            if self._space.feasible(candidate) and candidate_key(candidate) not in taken:
                return candidate
        return draw_new(self._space, self._seed, number, taken)

    def _learn(self, observation: Observation, before: Observation | None) -> None:
        if before is not None or not observation.usable:
            return  # its generation is over
        if not self._space.contains(observation.candidate):
            return  # the space was edited since
        self._generation.append(observation.number)
        if len(self._generation) == self._evolution.population_size:
            told = [self._observations[number] for number in self._generation]
            self._evolution.tell([(self._point(each), -(each.value or 0.0)) for each in told])
            self._generation = []
            if self._evolution.should_stop():
                self._evolution = self._begin()

    def _import(self, own: object) -> None:
        self._generation, self._evolution = [], self._begin()
        for observation in self._observations.values():
            self._learn(observation, None)

    def _begin(self) -> CMA:
        size = len(self._space.parameters)
        if size < 2:
            raise ValueError("cma-es needs two parameters or more")
        bounds = np.tile([0.0, 1.0], (size, 1))
        return CMA(
            np.full(size, 0.5), self._sigma, bounds=bounds, population_size=self._population, seed=1
        )

    def _at(self, point: Floats) -> Candidate:
        units = dict(zip((p.name for p in self._space.parameters), point, strict=True))

        def choose(parameter: Parameter) -> Scalar:
            return parameter.from_unit(float(units[parameter.name]))

        return self._space.walk(choose)

    def _point(self, observation: Observation) -> Floats:
        candidate = observation.candidate
        return np.array(
            [
                p.to_unit(candidate[p.name]) if p.name in candidate else 0.5
                for p in self._space.parameters
            ]
        )
