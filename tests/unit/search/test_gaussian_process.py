"""Bayesian optimisation: its kernel against derivatives, its points against candidates."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from strandline.search.algorithm import Observation
from strandline.search.gaussian_process import GaussianProcessSearch, log_improvement
from strandline.search.matern import MaternPosterior, evidence_loss, fit_matern
from strandline.search.predictor_evolution import expected_improvement
from strandline.search.space import Candidate, Float, Space
from strandline.search.surrogate import squared_distances
from strandline.search.unit_cube import UnitCube
from strandline.testing.algorithm_contract import BOUNDED, CELL, MIXED

VALLEY = Space((Float("x", -1.0, 1.0), Float("y", -1.0, 1.0), Float("idle", -1.0, 1.0)))


def worth(candidate: Candidate) -> float:
    x, y = float(candidate["x"] or 0), float(candidate["y"] or 0)
    return -((x - 0.3) ** 2) - 2 * (y + 0.2) ** 2


def test_the_gradient_of_the_evidence_is_right_for_every_length() -> None:
    rng = np.random.default_rng(0)
    points = rng.random((14, 3))
    distances = np.stack([squared_distances(p[:, None], p[:, None]) for p in points.T])
    values = rng.normal(size=14)
    at = rng.normal(0, 0.4, 5)
    _, gradient = evidence_loss(at, distances, values)
    expected = approx_fprime(at, lambda each: evidence_loss(each, distances, values)[0], 1e-7)
    assert gradient == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_a_parameter_that_does_nothing_is_given_the_longest_length() -> None:
    rng = np.random.default_rng(1)
    points = rng.random((40, 2))
    values = np.sin(6 * points[:, 0])
    kernel = fit_matern(points, np.array([0, 1]), (values - values.mean()) / values.std())
    assert kernel.lengths[1] > 5 * kernel.lengths[0]


def test_it_goes_through_what_it_knows_and_knows_less_between() -> None:
    rng = np.random.default_rng(2)
    points = np.sort(rng.random((12, 1)), axis=0)
    values = np.cos(9 * points[:, 0])
    groups = np.array([0])
    posterior = MaternPosterior(fit_matern(points, groups, values), points, groups, values)
    mean, sure = posterior.predict(points)
    assert np.abs(mean - values).max() < 0.1
    widest = int(np.diff(points[:, 0]).argmax())
    _, unsure = posterior.predict(points[widest : widest + 2].mean(0, keepdims=True))
    assert unsure[0] > sure.max()


def test_the_logarithm_of_the_improvement_is_one_where_there_is_one() -> None:
    mean = np.linspace(-8.0, 4.0, 25)
    found = log_improvement(mean, np.full(25, 0.7), 0.5)
    expected = expected_improvement(mean, np.full(25, 0.7), 0.5)
    assert np.exp(found) == pytest.approx(expected, rel=1e-4, abs=1e-300)
    far = log_improvement(np.array([-300.0, -200.0]), np.ones(2), 0.0)
    assert np.isfinite(far).all()
    assert far[0] < far[1]


@pytest.mark.parametrize("space", [MIXED, CELL, BOUNDED], ids=["mixed", "cell", "bounded"])
def test_points_and_candidates_say_the_same(space: Space) -> None:
    rng = np.random.default_rng(3)
    cube = UnitCube(space)
    drawn = rng.random((60, len(space.parameters)))
    candidates = [cube.candidate(point) for point in drawn]
    again = cube.points(candidates)
    assert [cube.candidate(point) for point in again] == candidates
    # Whole numbers of a wide range are taken for continuous: rounding moves them a little.
    assert cube.columns(again) == pytest.approx(cube.columns(drawn), abs=0.03)
    assert cube.columns(drawn).shape[1] == len(cube.groups)


def test_what_a_condition_leaves_out_makes_no_difference() -> None:
    cube = UnitCube(MIXED)
    point = np.full((2, len(MIXED.parameters)), 0.1)  # a linear head
    point[1, 2:] = 0.9  # of a network that is not there
    assert set(cube.candidate(point[0])) == {"head", "strength"}
    columns = cube.columns(point)
    assert (columns[0] == columns[1]).all()


def test_it_finds_the_bottom_of_a_valley_that_chance_does_not() -> None:
    algorithm = GaussianProcessSearch(VALLEY, 0)
    found = []
    for number in range(30):
        candidate = algorithm.suggest(number, ())
        assert candidate is not None
        found.append(worth(candidate))
        algorithm.observe(Observation(number, candidate, worth(candidate)))
    assert max(found) > -1e-4
    rng = np.random.default_rng(0)
    assert max(worth(VALLEY.sample(rng)) for _ in range(30)) < -1e-4


def test_many_workers_are_sent_to_different_places() -> None:
    algorithm = GaussianProcessSearch(VALLEY, 0)
    rng = np.random.default_rng(1)
    for number in range(12):
        drawn = VALLEY.sample(rng)
        algorithm.observe(Observation(number, drawn, worth(drawn)))
    running: list[Candidate] = []
    for number in range(12, 16):
        candidate = algorithm.suggest(number, running)
        assert candidate is not None
        running.append(candidate)
    points = UnitCube(VALLEY).points(running)
    apart = squared_distances(points, points)[np.triu_indices(4, 1)]
    assert apart.min() > 1e-6
