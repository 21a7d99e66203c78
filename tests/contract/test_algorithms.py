"""The contract of search algorithms over every one that is registered."""

from __future__ import annotations

from functools import partial

import pytest

from strandline.search.algorithm import Algorithm
from strandline.search.registry import ALGORITHMS, make_algorithm
from strandline.search.space import Space
from strandline.testing.algorithm_contract import AlgorithmContract, MakeAlgorithm


def make_named(name: str, space: Space, seed: int) -> Algorithm:
    return make_algorithm(name, space, seed)


@pytest.mark.parametrize("name", ALGORITHMS)
class TestRegisteredAlgorithms(AlgorithmContract):
    @pytest.fixture
    def make(self, name: str) -> MakeAlgorithm:
        return partial(make_named, name)
