"""The ridge predictor of the reference, as the data's README describes it.

The reference ran it with 40 seeds only. Run here with as many as our own searches, the comparison
is not limited by its noise. Nothing of it was tuned: twenty random candidates, then
rounds of five: ridge regression on one-hot features against the ranks of the values so far;
of 200 new candidates, one or two mutations away from the ten best, the five that it expects
most of.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.stats import rankdata

from strandline.search.algorithm import Observation
from strandline.search.encoding import Floats
from strandline.search.space import Candidate, Categorical, Space, candidate_key

STARTUP, ROUND, PARENTS, POOL, PENALTY = 20, 5, 10, 200, 1.0
_ATTEMPTS = 5000


class RidgePredictor:
    """Suggests and observes one after another, like an algorithm at parallelism 1.

    Args:
        space: of categorical parameters without conditions.
    """

    def __init__(self, space: Space, seed: int) -> None:
        self._parameters = [each for each in space.parameters if isinstance(each, Categorical)]
        assert len(self._parameters) == len(space.parameters), "every decision is a category"
        self._space = space
        self._rng = np.random.default_rng(seed)
        self._tried: dict[str, tuple[Candidate, float]] = {}
        self._next: list[Candidate] = []

    def suggest(self, number: int, pending: Iterable[Candidate]) -> Candidate | None:
        if not self._next:
            self._next = self._round() if self._tried else self._start()
        return self._next.pop(0) if self._next else None

    def observe(self, observation: Observation) -> None:
        candidate, value = observation.candidate, observation.value
        assert value is not None, "a table knows all of them"
        self._tried[candidate_key(candidate)] = candidate, value

    def _start(self) -> list[Candidate]:
        drawn: dict[str, Candidate] = {}
        while len(drawn) < STARTUP:
            candidate = self._space.sample(self._rng)
            drawn.setdefault(candidate_key(candidate), candidate)
        return list(drawn.values())

    def _round(self) -> list[Candidate]:
        tried = [candidate for candidate, _ in self._tried.values()]
        values = np.array([value for _, value in self._tried.values()])
        features, ranks = self._one_hot(tried), rankdata(values)
        normal = features.T @ features + PENALTY * np.eye(features.shape[1])
        weights = np.linalg.solve(normal, features.T @ (ranks - ranks.mean()))
        best = [tried[place] for place in np.argsort(-values, kind="stable")[:PARENTS]]
        pool = self._mutations(best)
        expected = self._one_hot(pool) @ weights
        return [pool[place] for place in np.argsort(-expected, kind="stable")[:ROUND]]

    def _mutations(self, parents: list[Candidate]) -> list[Candidate]:
        found: dict[str, Candidate] = {}
        for _ in range(_ATTEMPTS):
            child = dict(parents[int(self._rng.integers(len(parents)))])
            for _ in range(int(self._rng.integers(1, 3))):
                parameter = self._parameters[int(self._rng.integers(len(self._parameters)))]
                others = [each for each in parameter.values if each != child[parameter.name]]
                child[parameter.name] = others[int(self._rng.integers(len(others)))]
            key = candidate_key(child)
            if key not in self._tried:
                found.setdefault(key, child)
            if len(found) == POOL:
                break
        return list(found.values())

    def _one_hot(self, candidates: list[Candidate]) -> Floats:
        return np.array(
            [
                [float(candidate[p.name] == value) for p in self._parameters for value in p.values]
                for candidate in candidates
            ]
        )
