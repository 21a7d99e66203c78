"""The controller's policy: what it draws, how likely that is, and which way is up."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from strandline.search.controller import Controller
from strandline.search.space import Categorical, Condition, Int, Space, candidate_key

SPACE = Space(
    (
        Categorical("head", ("linear", "mlp")),
        Int("layers", 1, 3, when=Condition("head", ("mlp",))),
        Categorical("norm", ("batch", "none")),
    )
)


def make_controller(layers: int = 2) -> Controller:
    controller = Controller(SPACE, 0, width=4, layers=layers)
    for weights in controller.weights.values():
        weights *= 15  # a policy that has preferences
    return controller


def test_draws_are_as_frequent_as_their_probabilities_say() -> None:
    controller = make_controller()
    drawn = Counter(map(candidate_key, controller.sample(np.random.default_rng(0), 20_000)))
    every = list(SPACE.list_candidates())
    odds = np.exp(controller.log_probabilities(every))
    assert odds.sum() == pytest.approx(1)
    assert odds.max() > 2 * odds.min()
    shares = [drawn[candidate_key(each)] / 20_000 for each in every]
    assert shares == pytest.approx(odds, abs=0.015)


def test_candidates_side_by_side_are_what_each_is_alone() -> None:
    controller = make_controller()
    every = list(SPACE.list_candidates())
    weights = np.random.default_rng(0).normal(size=len(every))
    alone = [controller.log_probabilities([each])[0] for each in every]
    assert controller.log_probabilities(every) == pytest.approx(alone)
    together = controller.gradient(every, weights, 0.3)
    parts = [controller.gradient([each], weights[[place]], 0.3) for place, each in enumerate(every)]
    for name, slope in together.items():
        assert slope == pytest.approx(sum(part[name] for part in parts), abs=1e-12)


@pytest.mark.parametrize("layers", [1, 2])
def test_the_gradient_is_the_slope_of_what_it_says(layers: int) -> None:
    controller = make_controller(layers)
    every = list(SPACE.list_candidates())
    weights = np.random.default_rng(1).normal(size=len(every))

    def value() -> float:
        return float(weights @ controller.log_probabilities(every))

    gradient = controller.gradient(every, weights, 0.0)
    for name, array in controller.weights.items():
        flat, slopes = array.reshape(-1), gradient[name].reshape(-1)
        for place in range(0, len(flat), 3):
            kept = flat[place]
            flat[place] = kept + 1e-5
            above = value()
            flat[place] = kept - 1e-5
            below = value()
            flat[place] = kept
            assert slopes[place] == pytest.approx((above - below) / 2e-5, abs=1e-6)


def test_entropy_draws_the_policy_towards_even_odds() -> None:
    controller = make_controller()
    every = list(SPACE.list_candidates())
    before = np.exp(controller.log_probabilities(every))
    for _ in range(200):
        slopes = controller.gradient(every, np.zeros(len(every)), 1.0)
        for name, slope in slopes.items():
            controller.weights[name] += 0.02 * slope
    after = np.exp(controller.log_probabilities(every))
    assert after.max() < before.max()
    assert -after @ np.log(after) > -before @ np.log(before)
