"""The Gaussian process against formulas and numerical derivatives."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from strandline.search.algorithm import Observation
from strandline.search.encoding import Encoder
from strandline.search.fidelity import choose, gather
from strandline.search.predictor_evolution import expected_improvement
from strandline.search.surrogate import (
    Kernel,
    Surrogate,
    _loss,
    fit_kernel,
    normal_scores,
    squared_distances,
)
from strandline.testing.algorithm_contract import CELL, MIXED


def test_the_gradient_of_the_evidence_is_right() -> None:
    rng = np.random.default_rng(0)
    blocks = [rng.normal(size=(12, 3)), rng.normal(size=(12, 2))]
    distances = [squared_distances(block, block) for block in blocks]
    low = np.arange(12) % 3 == 0
    scores = rng.normal(size=12)
    at = Kernel.prior(2).pack() + rng.normal(0, 0.3, 8)
    _, gradient = _loss(at, distances, low, scores)
    for place in range(len(at)):
        step = np.zeros(len(at))
        step[place] = 1e-6
        up, down = (_loss(at + sign * step, distances, low, scores)[0] for sign in (1, -1))
        assert gradient[place] == pytest.approx((up - down) / 2e-6, rel=1e-4, abs=1e-6)


def test_it_goes_through_what_it_knows_and_knows_little_of_what_is_far() -> None:
    rng = np.random.default_rng(1)
    blocks = (rng.normal(size=(30, 2)),)
    scores = np.sin(2 * blocks[0][:, 0])
    none = np.zeros(30, bool)
    surrogate = Surrogate(fit_kernel(blocks, none, scores), blocks, none, scores)
    mean, deviation = surrogate.predict(blocks)
    assert np.abs(mean - scores).max() < 0.3
    _, far = surrogate.predict((blocks[0] + 100,))
    assert (far > 2 * deviation).all()


def test_it_predicts_what_it_was_not_told() -> None:
    rng = np.random.default_rng(2)
    candidates = [CELL.sample(rng) for _ in range(80)]
    encoder = Encoder(CELL, 0)
    worth = {"none": 0.0, "skip": 0.5, "conv": 1.0}
    scores = np.array([sum(worth[str(value)] for value in c.values()) for c in candidates])
    known, asked = slice(0, 50), slice(50, 80)
    blocks = encoder.encode(candidates[known])
    none = np.zeros(50, bool)
    normal = normal_scores(scores[known])
    surrogate = Surrogate(fit_kernel(blocks, none, normal), blocks, none, normal)
    mean, _ = surrogate.predict(encoder.encode(candidates[asked]))
    assert np.corrcoef(mean, scores[asked])[0, 1] > 0.9


def test_expected_improvement_is_the_integral() -> None:
    mean, deviation, best = 0.3, 0.7, 0.9

    def gain(y: float) -> float:
        return float(max(0.0, y - best) * norm.pdf(y, mean, deviation))

    expected, _ = quad(gain, best, mean + 10 * deviation)
    found = expected_improvement(np.array([mean]), np.array([deviation]), best)
    assert found[0] == pytest.approx(expected, rel=1e-6)


def test_random_candidates_are_at_a_mean_squared_distance_of_one_in_each_block() -> None:
    rng = np.random.default_rng(3)
    encoder = Encoder(MIXED, 0)
    for block in encoder.encode([MIXED.sample(rng) for _ in range(400)]):
        distances = squared_distances(block, block)
        assert distances.sum() / (400 * 399) == pytest.approx(1.0, rel=0.15)


def observation(number: int, value: float, steps: int, last: int) -> Observation:
    curve = tuple((step, value * step / last) for step in range(1, steps + 1))
    return Observation(number, {"n": number}, curve[-1][1], complete=steps == last, curve=curve)


def test_trials_stopped_early_are_evidence_of_the_low_fidelity() -> None:
    full = [observation(number, 10.0 + number, 4, 4) for number in range(3)]
    stopped = [observation(3 + number, float(number), 1, 4) for number in range(5)]
    evidence = gather([*full, *stopped])
    assert list(evidence.low) == [False] * 3 + [True] * 8
    assert [each["n"] for each in evidence.candidates] == [0, 1, 2, 0, 1, 2, 3, 4, 5, 6, 7]


def test_what_looked_bad_early_is_expected_to_be_worse_than_full_trainings() -> None:
    rng = np.random.default_rng(4)
    blocks = (rng.normal(size=(20, 6)),)
    quality = blocks[0][:, 0]
    trained = np.argsort(-quality)[:6]  # those that looked good
    both = tuple(np.concatenate([block[trained], block]) for block in blocks)
    low = np.arange(26) >= 6
    scores = np.concatenate([normal_scores(quality[trained]), normal_scores(quality)])
    surrogate = Surrogate(fit_kernel(both, low, scores), both, low, scores)
    mean, _ = surrogate.predict(blocks)
    # The full ones' own scores are centred, and yet nobody is taken for an average one.
    assert np.delete(mean, trained).max() < np.sort(mean[trained])[1]
    assert np.corrcoef(mean, quality)[0, 1] > 0.95


def test_with_full_trainings_alone_their_mean_is_known() -> None:
    rng = np.random.default_rng(5)
    blocks, none = (rng.normal(size=(8, 2)),), np.zeros(8, bool)
    kernel = Kernel.prior(1)
    surrogate = Surrogate(kernel, blocks, none, normal_scores(rng.normal(size=8)))
    mean, deviation = surrogate.predict((blocks[0] + 100,))
    assert np.allclose(mean, 0)
    assert np.allclose(deviation, np.exp(kernel.amplitudes[0]))


def test_of_too_much_evidence_early_values_give_way_first() -> None:
    full = [observation(number, 10.0 + number, 4, 4) for number in range(30)]
    stopped = [observation(30 + number, float(number), 1, 4) for number in range(50)]
    evidence = gather([*full, *stopped])
    chosen = choose(evidence, 50)
    assert len(set(chosen)) == len(chosen) == 50
    assert (~evidence.low[chosen]).sum() == 30
    assert (~evidence.low[choose(evidence, 20)]).sum() == 15
    assert list(choose(evidence, 200)) == list(range(110))


def test_full_trainings_alone_are_evidence_of_one_fidelity() -> None:
    evidence = gather([observation(number, float(number), 4, 4) for number in range(5)])
    assert not evidence.low.any()
    assert list(np.argsort(evidence.scores)) == [0, 1, 2, 3, 4]
