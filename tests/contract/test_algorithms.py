"""The contract of search algorithms over every one that is registered."""

from __future__ import annotations

from functools import partial

import pytest

from strandline.search.algorithm import Algorithm, Observation
from strandline.search.registry import ALGORITHMS, make_algorithm
from strandline.search.space import Space, candidate_key
from strandline.testing.algorithm_contract import (
    CELL,
    SMALL,
    AlgorithmContract,
    MakeAlgorithm,
    score,
)


def make_named(name: str, space: Space, seed: int) -> Algorithm:
    return make_algorithm(name, space, seed)


@pytest.mark.parametrize("name", ALGORITHMS)
class TestRegisteredAlgorithms(AlgorithmContract):
    @pytest.fixture
    def make(self, name: str) -> MakeAlgorithm:
        return partial(make_named, name)

    def test_trials_of_other_searches_are_learned_from_and_take_no_candidate(
        self, make: MakeAlgorithm
    ) -> None:
        for space in (SMALL, CELL):
            algorithm, copy = make(space, 0), make(space, 0)
            known = list(space.list_candidates())[:12]
            for number, each in enumerate(known):
                algorithm.observe(Observation(number - len(known), each, score(each)))
            copy.load(algorithm.save())
            assert copy.suggest(0, ()) == algorithm.suggest(0, ())
            tried = self.run(algorithm, space, range(8))
            assert len({candidate_key(candidate) for candidate in tried}) == 8
            assert space is not SMALL or SMALL.size() == 8, "all of it may be tried again"
