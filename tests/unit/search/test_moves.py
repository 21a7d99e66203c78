"""Small steps keep to the space and are small."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from strandline.search.moves import cross, mutate, neighbours, settle
from strandline.search.space import Categorical, Float, Int, Parameter, Space, candidate_key
from strandline.testing.algorithm_contract import BOUNDED, CELL, MIXED, SMALL, SPACES

seeds = st.integers(0, 2**32 - 1)
spaces = st.sampled_from(sorted(SPACES)).map(SPACES.__getitem__)


@given(spaces, seeds)
def test_a_mutation_belongs_to_the_space_and_differs(space: Space, seed: int) -> None:
    rng = np.random.default_rng(seed)
    candidate = space.sample(rng)
    mutated = mutate(space, candidate, rng)
    space.validate(mutated)
    assert mutated != candidate


@given(seeds)
def test_a_mutation_changes_one_parameter_where_none_depends_on_another(seed: int) -> None:
    rng = np.random.default_rng(seed)
    candidate = CELL.sample(rng)
    mutated = mutate(CELL, candidate, rng)
    assert sum(candidate[name] != mutated[name] for name in candidate) == 1


@given(spaces, seeds)
def test_a_cross_belongs_to_the_space_and_takes_from_its_parents(space: Space, seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = space.sample(rng), space.sample(rng)
    space.validate(cross(space, one, other, rng))
    child = cross(CELL, a := CELL.sample(rng), b := CELL.sample(rng), rng)
    assert all(child[name] in (a[name], b[name]) for name in child)


def test_the_neighbours_of_a_cell_are_all_that_differ_in_one_choice() -> None:
    rng = np.random.default_rng(0)
    candidate = CELL.sample(rng)
    found = list(neighbours(CELL, candidate, rng))
    assert len({candidate_key(each) for each in found}) == len(found) == 5 * 2
    for each in found:
        assert sum(candidate[name] != each[name] for name in candidate) == 1


@pytest.mark.parametrize("space", [MIXED, BOUNDED, SMALL])
def test_neighbours_belong_to_the_space(space: Space) -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        candidate = space.sample(rng)
        found = list(neighbours(space, candidate, rng))
        assert found
        for each in found:
            space.validate(each)
            assert each != candidate


@pytest.mark.parametrize(
    "parameter",
    [
        Float("x", -1.0, 3.0),
        Float("x", 1e-5, 1.0, log=True),
        Float("x", 0.0, 1.0, step=0.1),
        Float("x", 0.1, 0.7, step=0.25),
        Int("x", 3, 99),
        Int("x", 1, 1000, log=True),
        Int("x", 0, 10, step=3),
        Categorical("x", ("a", "b", "c"), ordered=True),
    ],
)
@given(st.floats(0, 1))
def test_the_unit_interval_leads_to_a_value_and_back(parameter: Parameter, unit: float) -> None:
    value = parameter.from_unit(unit)
    assert parameter.allows(value)
    again = parameter.from_unit(parameter.to_unit(value))
    assert again == pytest.approx(value) if isinstance(value, float) else again == value


def test_a_quantized_float_has_the_values_of_its_grid() -> None:
    assert Float("x", 0.1, 0.7, step=0.25).listed() == (0.1, 0.35, 0.6)
    assert Float("x", 0.0, 0.3, step=0.1).listed() == (0.0, 0.1, 0.2, 0.3)
    assert not Float("x", 0.0, 1.0, step=0.25).allows(0.3)


def test_values_that_do_not_fit_are_drawn_anew() -> None:
    rng = np.random.default_rng(0)
    settled = settle(MIXED, {"head": "mlp", "layers": 9, "strength": 1.0}, rng)
    MIXED.validate(settled)
    assert settled["head"] == "mlp"
    assert "strength" not in settled
