"""Strengths of operations, and their guard against cells of skip connections."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from strandline.cells.family import Plan
from strandline.search.algorithm import Observation
from strandline.search.cell_space import cell_space
from strandline.search.darts import SKIPS, DartsSearch, Strengths, count_skips
from strandline.search.registry import make_algorithm
from strandline.search.space import Candidate
from strandline.spec.errors import InvalidSpecError

PLAN = Plan(image_size=16, labels=3, filters=4, cells=1)
FREE = 99


def make_strengths(name: str = "nasbench201", skips: int = 2, seed: int = 0) -> Strengths:
    """Return strengths that differ, and lean to skip connections."""
    strengths = Strengths(cell_space(name, PLAN), 0, skips)
    rng = np.random.default_rng(seed)
    for parameter, options in strengths.options.items():
        lean = [2.0 * (value in SKIPS) for value in options]
        strengths.weights[parameter] = rng.normal(size=len(options)) + lean
    return strengths


def most_skips(candidate: Candidate) -> int:
    return max(count_skips(candidate).values(), default=0)


def level(strengths: Strengths, candidate: Candidate) -> float:
    return sum(
        float(strengths.weights[name][strengths.options[name].index(value)])
        for name, value in candidate.items()
    )


@pytest.mark.parametrize("name", ["nasbench201", "nasnet", "darts"])
@pytest.mark.parametrize("skips", [0, 1, 2])
def test_no_cell_that_is_drawn_has_more_skip_connections_than_allowed(
    name: str, skips: int
) -> None:
    strengths = make_strengths(name, skips)
    rng = np.random.default_rng(0)
    drawn = [strengths.likeliest()]
    drawn += strengths.sample(rng, 50)
    drawn += strengths.sample_uniform(rng, 50)
    assert max(map(most_skips, drawn)) == skips
    assert most_skips(make_strengths(name, FREE).likeliest()) > skips


@pytest.mark.parametrize("seed", range(3))
def test_within_the_limit_the_likeliest_cell_is_the_best_of_all(seed: int) -> None:
    strengths = make_strengths(seed=seed)
    names = list(strengths.options)
    every = (dict(zip(names, each, strict=True)) for each in product(*strengths.options.values()))
    allowed = [each for each in every if most_skips(each) <= 2]
    best = max(allowed, key=lambda each: level(strengths, each))
    assert strengths.likeliest() == best


def test_cells_are_counted_apart() -> None:
    found = count_skips(
        {
            "normal_0_first_op": "skip_connect",
            "normal_1_first_op": "skip_connect",
            "normal_1_inputs": "previous+current",
            "reduction_0_first_op": "identity",
        }
    )
    assert found == {"normal": 2, "reduction": 1}


def test_draws_follow_the_odds_where_nothing_is_limited() -> None:
    strengths = make_strengths(skips=FREE)
    rng = np.random.default_rng(0)
    drawn = strengths.sample(rng, 4000)
    for name, options in strengths.options.items():
        shares = [np.mean([each[name] == value for each in drawn]) for value in options]
        assert shares == pytest.approx(strengths.odds(name), abs=0.03)


def test_drawn_uniformly_every_option_has_its_turn_as_first_choice() -> None:
    strengths = make_strengths(skips=FREE)
    rng = np.random.default_rng(0)
    for _ in range(20):
        drawn = strengths.sample_uniform(rng, 5)
        for name, options in strengths.options.items():
            assert sorted(str(each[name]) for each in drawn) == sorted(map(str, options))


def test_the_gradient_of_a_probability_is_that_of_finite_differences() -> None:
    strengths = make_strengths()
    candidate = strengths.likeliest()
    found = strengths.gradient(candidate, 1.5)

    def compute() -> float:
        return 1.5 * sum(
            float(np.log(strengths.odds(name)[strengths.options[name].index(value)]))
            for name, value in candidate.items()
        )

    for name, gradient in found.items():
        for place, told in enumerate(gradient):
            strengths.weights[name][place] += 1e-6
            above = compute()
            strengths.weights[name][place] -= 2e-6
            below = compute()
            strengths.weights[name][place] += 1e-6
            assert told == pytest.approx((above - below) / 2e-6, abs=1e-6)


def test_strengths_follow_scores_where_nothing_can_be_differentiated() -> None:
    policy = DartsSearch(cell_space("nasbench201", PLAN), 0, repeats=True, learning_rate=0.05)
    for number in range(300):
        candidate = policy.suggest(number, ())
        assert candidate is not None
        convolutions = sum(value == "nor_conv_3x3" for value in candidate.values())
        policy.observe(Observation(number, candidate, convolutions / 6))
    likeliest = policy.strengths.likeliest()
    assert sum(value == "nor_conv_3x3" for value in likeliest.values()) >= 5


def test_gradients_of_a_loss_lower_the_strength_of_what_raises_it_through_a_save() -> None:
    policy = DartsSearch(cell_space("nasbench201", PLAN), 0)
    slopes = {name: np.array([1.0, 0, 0, -1.0, 0]) for name in policy.strengths.weights}
    policy.descend(slopes)
    copy = DartsSearch(cell_space("nasbench201", PLAN), 0)
    copy.load(policy.save())
    for each in (policy, copy):
        each.descend(slopes)
        assert set(each.strengths.likeliest().values()) == {"nor_conv_3x3"}
        assert all(w[0] < w[1] < w[3] for w in each.strengths.weights.values())
    assert copy.save() == policy.save()


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"relaxation": "both"}, "relaxation must be sampled or mixed"),
        ({"skips": -1}, "skips and weight_decay must not be below 0"),
        ({"epochs": 0}, "epochs and siblings must be at least 1"),
        ({"siblings": 0}, "epochs and siblings must be at least 1"),
        ({"warmup": 1.0}, r"warmup must be in \[0, 1\)"),
        ({"uniform": 1.5}, r"uniform in \[0, 1\]"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, str], why: str) -> None:
    with pytest.raises(InvalidSpecError, match=why):
        make_algorithm("darts", cell_space("nasbench201", PLAN), 0, settings)
