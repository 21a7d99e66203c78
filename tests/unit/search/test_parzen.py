"""The estimator over categories against Optuna's, draw for draw and density for density."""

from __future__ import annotations

import numpy as np
import optuna
import pytest

from strandline.cells.family import Plan
from strandline.search.algorithm import Observation
from strandline.search.cell_space import cell_space
from strandline.search.optuna_search import OptunaSearch
from strandline.search.parzen import Mixture, is_plain
from strandline.search.space import Candidate, Categorical, Condition, Float, Space
from strandline.search.tpe import TpeSearch
from strandline.testing.algorithm_contract import MIXED

PLAN = Plan(image_size=32, labels=10, filters=16, cells=2)
# One parameter with a single value, which is never drawn, and names out of their order.
PLAIN = Space(
    (
        Categorical("size", (3, 5, 7)),
        Categorical("always", ("this",)),
        Categorical("kind", ("a", "b", "c", "d", "e")),
        Categorical("wide", (False, True)),
    )
)


class ByOptuna(TpeSearch):
    """The same search with every draw made by Optuna's own sampler."""

    def _draw(self, study: optuna.Study, number: int, attempt: int) -> Candidate:
        return OptunaSearch._draw(self, study, number, attempt)


@pytest.mark.parametrize(("name", "told"), [("", 10), ("nasbench201", 30), ("mbconv", 270)])
def test_it_draws_what_optunas_sampler_draws(name: str, told: int) -> None:
    space = cell_space(name, PLAN) if name else PLAIN
    assert is_plain(space)
    rng = np.random.default_rng(7)
    ours, theirs = (kind(space, seed=5, repeats=True) for kind in (TpeSearch, ByOptuna))
    for number in range(told + 12):
        # Rounded: many values are equal, and the order among those counts, too.
        value = round(float(rng.normal()), 1)
        candidate: Candidate | None = space.sample(rng)
        if number >= told:
            candidate = ours.suggest(number, ())
            assert candidate == theirs.suggest(number, ())
        assert candidate is not None
        for search in (ours, theirs):
            search.observe(Observation(number, candidate, value))


def test_a_trial_observed_anew_counts_as_it_is_now() -> None:
    rng = np.random.default_rng(1)
    told = [Observation(n, PLAIN.sample(rng), float(rng.normal())) for n in range(20)]
    ours, fresh = TpeSearch(PLAIN, seed=0), TpeSearch(PLAIN, seed=0)
    for each in told:
        ours.observe(each)
    ours.suggest(20, ())
    changed = Observation(3, {**told[3].candidate, "kind": "e", "size": 7}, 9.0)
    ours.observe(changed)
    for each in [*told[:3], changed, *told[4:]]:
        fresh.observe(each)
    for number in range(20, 40):
        assert ours.suggest(number, ()) == fresh.suggest(number, ())


def test_the_densities_of_a_mixture_add_up_to_one() -> None:
    sizes = [3, 2, 4]
    rows = np.random.default_rng(0).integers(sizes, size=(40, 3))
    everything = np.stack(np.meshgrid(*map(np.arange, sizes)), axis=-1).reshape(-1, 3)
    density = np.exp(Mixture(rows, sizes).log_density(everything))
    assert density.sum() == pytest.approx(1.0)


def test_it_draws_as_often_as_its_density_says() -> None:
    rows = np.random.default_rng(3).integers([2, 3], size=(30, 2))
    mixture = Mixture(rows, [2, 3])
    drawn = mixture.sample(np.random.RandomState(0), 40_000)
    everything = np.array([(one, other) for one in range(2) for other in range(3)])
    shares = [(drawn == row).all(1).mean() for row in everything]
    np.testing.assert_allclose(shares, np.exp(mixture.log_density(everything)), atol=0.01)


def test_spaces_with_numbers_order_or_conditions_are_left_to_optuna() -> None:
    kind = Categorical("kind", ("a", "b"))
    assert not is_plain(MIXED)
    assert not is_plain(Space((kind, Float("rate", 0.0, 1.0))))
    assert not is_plain(Space((Categorical("size", (1, 2, 3), ordered=True),)))
    later = Categorical("later", (1, 2), when=Condition("kind", ("a",)))
    assert not is_plain(Space((kind, later)))
