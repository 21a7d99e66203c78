"""What every early-stopping rule keeps, over each one that is registered."""

from __future__ import annotations

import math

import numpy as np
import pytest

from strandline.search.registry import SCHEDULERS, make_scheduler
from strandline.search.scheduler import Scheduler

STEPS = 27


def curve(quality: float, noise: np.random.Generator) -> list[float]:
    """Return a curve that rises towards the quality."""
    steps = np.arange(1, STEPS + 1)
    return list(quality * (1 - np.exp(-steps / 5)) + noise.normal(0, 0.01, STEPS))


def run(scheduler: Scheduler, curves: list[list[float]]) -> list[int]:
    """Run trials one after the other; return how many steps each was let do."""
    done = []
    for number, values in enumerate(curves):
        step = 0
        for step, value in enumerate(values, start=1):  # its last value is the answer
            if not scheduler.decide(number, step, value):
                break
        done.append(step)
    return done


def make_curves(seed: int, trials: int = 40) -> list[list[float]]:
    rng = np.random.default_rng(seed)
    return [curve(float(quality), rng) for quality in rng.uniform(0, 1, trials)]


@pytest.mark.parametrize("name", SCHEDULERS)
def test_the_same_reports_are_decided_the_same(name: str) -> None:
    curves = make_curves(0)
    assert run(make_scheduler(name), curves) == run(make_scheduler(name), curves)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_the_first_trial_is_never_stopped(name: str) -> None:
    assert run(make_scheduler(name), make_curves(1)[:1]) == [STEPS]


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_report_that_comes_again_changes_nothing(name: str) -> None:
    curves = make_curves(2, 12)
    once, twice = make_scheduler(name), make_scheduler(name)
    run(once, curves)
    run(twice, curves)
    for step, value in enumerate(curves[-1][:3], start=1):
        assert once.decide(11, step, value) == twice.decide(11, step, value)
        assert twice.decide(11, step, value) == once.decide(11, step, value)


@pytest.mark.parametrize("name", [name for name in SCHEDULERS if name != "none"])
def test_it_spends_less_and_keeps_a_trial_near_the_best(name: str) -> None:
    curves = make_curves(3, 60)
    done = run(make_scheduler(name), curves)
    assert sum(done) < 0.75 * STEPS * len(curves)
    finished = [values[-1] for values, steps in zip(curves, done, strict=True) if steps == STEPS]
    assert max(finished) > sorted(values[-1] for values in curves)[-4]


@pytest.mark.parametrize("name", SCHEDULERS)
def test_curves_that_are_all_alike_are_not_stopped_for_it(name: str) -> None:
    # Equal values tie with the best ones.
    done = run(make_scheduler(name), [[1.0] * STEPS] * 12)
    assert done == [STEPS] * 12


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_trial_may_start_over_after_a_crash(name: str) -> None:
    scheduler = make_scheduler(name)
    run(scheduler, make_curves(4, 8))
    assert scheduler.decide(9, 1, 10.0)
    assert scheduler.decide(9, 2, 20.0)
    assert scheduler.decide(9, 1, 10.0)
    assert scheduler.decide(9, 3, math.pi * 10)
