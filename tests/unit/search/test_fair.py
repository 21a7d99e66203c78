"""Draws in which every option has its turn."""

from __future__ import annotations

from collections import Counter

import numpy as np

from strandline.cells.family import Plan
from strandline.search.cell_space import cell_space
from strandline.search.constraints import Constraint
from strandline.search.fair import draw_fairly
from strandline.search.space import Categorical, Condition, Int, Space

PLAN = Plan(image_size=16, labels=3, filters=4, cells=1)


def test_each_operation_stands_once_at_each_edge() -> None:
    space = cell_space("nasbench201", PLAN)
    drawn = draw_fairly(space, np.random.default_rng(0), 5)
    for parameter in space.parameters:
        assert len({str(each[parameter.name]) for each in drawn}) == 5
    assert len({space.canonical(each) for each in drawn}) > 1


def test_over_many_draws_all_pairs_of_options_meet() -> None:
    space = cell_space("nasbench201", PLAN)
    rng = np.random.default_rng(0)
    one, other = (each.name for each in space.parameters[:2])
    met = Counter(
        (each[one], each[other]) for _ in range(200) for each in draw_fairly(space, rng, 5)
    )
    assert len(met) == 25
    assert min(met.values()) > 15


def test_fewer_and_more_draws_than_options_are_as_even_as_they_can_be() -> None:
    space = Space((Categorical("size", ("s", "m", "l")),))
    rng = np.random.default_rng(0)
    assert len({each["size"] for each in draw_fairly(space, rng, 2)}) == 2
    counts = Counter(each["size"] for each in draw_fairly(space, rng, 7))
    assert sorted(counts.values()) == [2, 2, 3]


def test_conditions_and_constraints_hold() -> None:
    space = Space(
        (
            Categorical("head", ("linear", "mlp")),
            Int("layers", 1, 4, when=Condition("head", ("mlp",))),
            Int("width", 1, 4),
        ),
        (Constraint("width < 4"),),
    )
    rng = np.random.default_rng(0)
    for _ in range(50):
        for candidate in draw_fairly(space, rng, 4):
            space.validate(candidate)
