from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from strandline.learn import binomial
from strandline.learn.bootstrap import (
    bootstrap,
    jackknife_weights,
    number_clusters,
    percentile_estimate,
    resampled_weights,
)
from strandline.learn.metrics import Metric, mean_metrics
from strandline.spec.scorecard import IntervalMethod


def _share_of(right: np.ndarray) -> Metric:
    return mean_metrics({"share": right.astype(np.float64)})


@pytest.mark.parametrize(("successes", "trials"), [(0, 40), (1, 40), (39, 40), (40, 40), (7, 999)])
def test_exact_bounds_equal_scipy(successes: int, trials: int) -> None:
    expected = stats.binomtest(successes, trials).proportion_ci(0.95, method="exact")
    found = binomial.clopper_pearson(successes, trials)
    assert found == pytest.approx((expected.low, expected.high), abs=1e-9)


@pytest.mark.parametrize(("k", "n", "p"), [(0, 10, 0.1), (5, 10, 0.3), (400, 100_000, 0.005)])
def test_binomial_tail_equals_scipy(k: int, n: int, p: float) -> None:
    assert binomial.lower_tail(k, n, p) == pytest.approx(stats.binom.cdf(k, n, p), rel=1e-8)


@pytest.mark.parametrize(("images", "share"), [(60, 0.9), (400, 0.97), (400, 0.99)])
def test_intervals_hold_the_true_share_about_as_often_as_they_say(
    images: int, share: float
) -> None:
    rng = np.random.default_rng(0)
    held = 0
    for seed in range(150):
        right = rng.random(images) < share
        found = bootstrap(_share_of(right), np.arange(images), 400, seed).estimate("share", images)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= share <= found.high
    assert held / 150 >= 0.91


def test_a_perfect_score_is_not_certain() -> None:
    found = bootstrap(_share_of(np.ones(40, dtype=bool)), np.arange(40), 100).estimate("share", 40)
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(0.9119, abs=1e-3)
    assert found.method is IntervalMethod.CLOPPER_PEARSON


def test_near_duplicates_make_the_interval_wider_not_shorter() -> None:
    right = np.random.default_rng(1).random(50) < 0.8
    copied = np.repeat(right, 8)
    groups = np.repeat(np.arange(50), 8).tolist()
    once = bootstrap(_share_of(right), number_clusters(None, 50), 800)
    naive = bootstrap(_share_of(copied), number_clusters(None, 400), 800)
    aware = bootstrap(_share_of(copied), number_clusters(groups, 400), 800)
    widths = []
    for run in (once, naive, aware):
        found = run.estimate("share", run.clusters)
        assert found.low is not None
        assert found.high is not None
        widths.append(found.high - found.low)
    assert widths[1] < 0.6 * widths[0]
    assert widths[2] == pytest.approx(widths[0], rel=0.05)


def test_images_without_a_group_stand_alone() -> None:
    assert number_clusters([None, "a", None, "a"], 4).tolist() == [0, 1, 2, 1]


def test_resamples_draw_whole_clusters_and_depend_on_the_seed_only() -> None:
    clusters = np.array([0, 0, 1, 2, 2, 2])
    first = np.concatenate(list(resampled_weights(clusters, 50, 7)))
    again = np.concatenate(list(resampled_weights(clusters, 50, 7)))
    assert (first == again).all()
    assert (first != np.concatenate(list(resampled_weights(clusters, 50, 8)))).any()
    assert (first[:, 0] == first[:, 1]).all()
    assert (first[:, [0, 2, 3]].sum(axis=1) == 3).all()


def test_each_cluster_is_left_out_once_by_the_jackknife() -> None:
    clusters = np.repeat(np.arange(500), 2)
    weights = np.concatenate(list(jackknife_weights(clusters, 0)))
    assert len(weights) == 200
    assert ((weights == 0).sum(axis=0) == 1).all()
    assert (weights[:, ::2] == weights[:, 1::2]).all()


def test_a_metric_undefined_on_the_sample_has_no_interval() -> None:
    run = bootstrap(lambda weights: {"x": np.full(len(weights), np.nan)}, np.arange(5), 20)
    found = run.estimate("x", 5)
    assert (found.value, found.low, found.high) == (None, None, None)


def test_two_perfect_scores_tell_nothing_about_their_difference() -> None:
    found = percentile_estimate(0.0, np.zeros(100))
    assert (found.value, found.low, found.high) == (0.0, None, None)


def test_groups_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="2 groups for 3 images"):
        number_clusters(["a", "b"], 3)
