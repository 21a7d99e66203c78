"""Where the best value will be, and when that cannot be told."""

from __future__ import annotations

import numpy as np
import pytest

from strandline.search.forecast import FEWEST, FURTHEST, forecast


def values(count: int, seed: int = 0) -> list[float]:
    return [float(each) for each in np.random.default_rng(seed).normal(size=count)]


def test_the_best_never_falls_and_more_trials_promise_more() -> None:
    seen = values(40)
    told = [forecast(seen, trials) for trials in (40, 60, 80, 160)]
    previous = (max(seen), max(seen), max(seen))
    for each in told:
        assert each is not None
        now = (each.low, each.middle, each.high)
        assert each.low <= each.middle <= each.high
        assert all(a >= b for a, b in zip(now, previous, strict=True))
        previous = now


def test_with_no_trials_to_come_the_best_is_what_it_is() -> None:
    seen = values(32)
    told = forecast(seen, 32)
    assert told is not None
    assert told.low == told.middle == told.high == max(seen)


def test_the_forecast_scales_and_shifts_with_the_values() -> None:
    seen = values(40)
    plain, scaled = forecast(seen, 80), forecast([5 + 10 * each for each in seen], 80)
    assert plain is not None
    assert scaled is not None
    for end in ("low", "middle", "high"):
        assert getattr(scaled, end) == pytest.approx(5 + 10 * getattr(plain, end))


@pytest.mark.parametrize(
    ("seen", "trials"),
    [
        ([], 10),
        ([1.0], 2),
        (values(FEWEST - 1), 2 * FEWEST),
        ([1.0] * 50, 100),
        (values(40), int(40 * FURTHEST) + 1),
    ],
    ids=["none", "one", "too few", "all equal", "too far"],
)
def test_what_cannot_be_told_is_not(seen: list[float], trials: int) -> None:
    assert forecast(seen, trials) is None


def test_most_random_searches_end_inside_their_interval() -> None:
    inside = []
    for seed in range(200):
        drawn = values(80, seed)
        told = forecast(drawn[:40], 80)
        assert told is not None
        inside.append(told.low - 1e-12 <= max(drawn) <= told.high + 1e-12)
    assert np.mean(inside) > 0.7
