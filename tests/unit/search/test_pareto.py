"""Fronts, crowding and limits, against the definitions; and searches that use them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, strategies as st

from strandline.search.algorithm import Observation
from strandline.search.objectives import worth_of
from strandline.search.pareto import crowding, pareto_front, rank_fronts
from strandline.search.registry import make_algorithm
from strandline.search.space import Float, Space
from strandline.spec.errors import InvalidSpecError
from strandline.spec.v1alpha1 import Goal, Objective

points = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 5), st.sampled_from([0.0, 0.0, 0.5, 1.0])),
    min_size=1,
    max_size=12,
)


def is_better(one: Sequence[float], other: Sequence[float]) -> bool:
    """Deb's constrained domination, in words."""
    *a, beyond_a = one
    *b, beyond_b = other
    if beyond_a != beyond_b:
        return beyond_a < beyond_b
    return all(x >= y for x, y in zip(a, b, strict=True)) and a != b


@given(points)
def test_the_front_is_what_nothing_dominates(found: list[tuple[int, int, float]]) -> None:
    front = pareto_front([each[:2] for each in found], [each[2] for each in found])
    expected = [
        place
        for place, each in enumerate(found)
        if not any(is_better(other, each) for other in found)
    ]
    assert front == expected


def test_the_front_of_many_points_is_the_front_of_all_at_once() -> None:
    rng = np.random.default_rng(0)
    values, excess = rng.normal(size=(2_500, 2)), rng.choice([0.0, 0.0, 1.0], 2_500)
    expected = np.flatnonzero(rank_fronts(values, excess) == 0)
    assert pareto_front(list(values), list(excess)) == list(expected)


@given(points)
def test_each_front_is_the_front_of_what_is_left(found: list[tuple[int, int, float]]) -> None:
    values = np.array([each[:2] for each in found], float)
    excess = np.array([each[2] for each in found])
    ranks = rank_fronts(values, excess)
    for rank in range(ranks.max() + 1):
        left = np.flatnonzero(ranks >= rank)
        front = pareto_front(list(values[left]), list(excess[left]))
        assert set(left[front]) == set(np.flatnonzero(ranks == rank))


def test_ends_of_a_front_are_the_loneliest() -> None:
    distance = crowding(np.array([[0.0, 10.0], [1.0, 9.0], [5.0, 5.0], [10.0, 0.0]]))
    assert math.isinf(distance[0])
    assert math.isinf(distance[3])
    assert distance[2] > distance[1]


ACCURACY = Objective(metric="accuracy", goal=Goal.MAXIMIZE)


def test_a_trial_beyond_a_limit_is_worth_less_the_further_it_is() -> None:
    capped = [ACCURACY, Objective(metric="ms", goal=Goal.MINIMIZE, limit=20)]
    within = worth_of({"accuracy": 0.9, "ms": 20}, capped)
    little = worth_of({"accuracy": 0.9, "ms": 30}, capped)
    much = worth_of({"accuracy": 0.99, "ms": 60}, capped)
    assert within is not None
    assert little is not None
    assert much is not None
    assert (within.value, within.excess, within.values) == (0.9, 0.0, (0.9, -20.0))
    assert little.excess == pytest.approx(0.5)
    assert within.rank > little.rank > much.rank


def test_being_far_within_a_limit_is_worth_no_more() -> None:
    capped = [ACCURACY, Objective(metric="ms", goal=Goal.MINIMIZE, limit=20)]
    one, other = (worth_of({"accuracy": 0.9, "ms": ms}, capped) for ms in (1, 19))
    assert one is not None
    assert other is not None
    assert one.value == other.value


def test_an_objective_that_trials_do_not_report_is_named() -> None:
    with pytest.raises(InvalidSpecError, match="no 'ms': the objectives must be among accuracy"):
        worth_of({"accuracy": 0.9}, [ACCURACY, Objective(metric="ms")])


@pytest.mark.parametrize("name", ["nsga2", "pareto-predictor"])
def test_a_front_is_covered_better_than_by_random_search(name: str) -> None:
    """Schaffer's problem in four dimensions: the front is x = t·(1, 1, 1, 1)."""
    space = Space(tuple(Float(f"x{place}", -2.0, 3.0) for place in range(4)))

    def values_of(candidate: dict[str, float]) -> tuple[float, float]:
        x = np.array(list(candidate.values()), float)
        return -float(((x - 0.0) ** 2).sum()), -float(((x - 1.0) ** 2).sum())

    def covered(algorithm: str, seed: int) -> float:
        search = make_algorithm(algorithm, space, seed)
        found = []
        for number in range(120):
            candidate = search.suggest(number, ())
            assert candidate is not None
            values = values_of({name: float(str(v)) for name, v in candidate.items()})
            found.append(values)
            search.observe(Observation(number, candidate, values[0], values=values))
        front = np.array(found)[pareto_front(found, [0.0] * len(found))]
        targets = [(-4 * t**2, -4 * (1 - t) ** 2) for t in np.linspace(0, 1, 11)]
        gaps = [np.maximum(np.array(t) - front, 0).sum(1).min() for t in targets]
        return float(np.mean(gaps))  # inverted generational distance plus: less is better

    ours = [covered(name, seed) for seed in range(3)]
    random = [covered("random", seed) for seed in range(3)]
    assert np.mean(ours) < np.mean(random)
