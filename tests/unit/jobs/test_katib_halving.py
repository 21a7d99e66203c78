"""Katib's hyperband: the best are given more, whatever is asked for and in any number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, strategies as st

from strandline.jobs.katib.declared import Declared
from strandline.jobs.katib.halving import rungs_of
from strandline.jobs.katib.learners import Learners
from strandline.jobs.katib.plans import plan_of
from strandline.jobs.katib.requests import (
    Assignments,
    Condition,
    Experiment,
    PastTrial,
    Request,
)
from strandline.jobs.katib.suggest import suggest, validate
from strandline.search.algorithm import Observation
from strandline.spec.errors import InvalidSpecError

SETTINGS = (("resource_name", "epochs"), ("r_l", "9"), ("eta", "3"))
PARAMETERS = (Declared("rate", "double", "0", "1"), Declared("epochs", "int", "1", "9"))


def make_experiment(
    settings: Sequence[tuple[str, str]] = SETTINGS, parameters: Sequence[Declared] = PARAMETERS
) -> Experiment:
    return Experiment(
        "halving", tuple(parameters), "minimize", "loss", "hyperband", tuple(settings)
    )


def ended(given: Assignments, number: int, *, failed: bool = False) -> PastTrial:
    condition = Condition.FAILED if failed else Condition.SUCCEEDED
    stamp = f"2026-01-01T00:{number // 60:02}:{number % 60:02}Z"
    # The lower the rate the better, with however many epochs.
    return PastTrial(condition, stamp, given, None if failed else given[0][1])


def played(count: int, at_once: int, learners: Learners | None = None) -> list[PastTrial]:
    trials: list[PastTrial] = []
    while len(trials) < count:
        found = suggest(Request(make_experiment(), trials, at_once, len(trials)), learners)
        trials += [ended(each, len(trials) + place) for place, each in enumerate(found)]
    return trials


@pytest.mark.parametrize(
    ("most", "eta", "expected"),
    [(9, 3, (1, 3, 9)), (81, 3, (1, 3, 9, 27, 81)), (10, 4, (2, 10)), (2, 2, (1, 2))],
)
def test_rungs_grow_up_to_the_whole_resource(
    most: float, eta: float, expected: tuple[int, ...]
) -> None:
    assert rungs_of(most, eta) == expected


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_the_best_third_of_each_rung_goes_on_with_three_times_as_much(at_once: int) -> None:
    trials = played(52, at_once)
    assert len({trial.assignments for trial in trials}) == len(trials)
    rungs: dict[str, list[float]] = {"1": [], "3": [], "9": []}
    for trial in trials:
        rungs[trial.assignments[1][1]].append(float(trial.assignments[0][1]))
    assert len(rungs["1"]) > 2 * len(rungs["3"]) > 4 * len(rungs["9"]) > 0
    assert set(rungs["9"]) <= set(rungs["3"]) <= set(rungs["1"])
    assert min(rungs["9"]) == min(rungs["3"])
    assert sum(rungs["3"]) / len(rungs["3"]) < sum(rungs["1"]) / len(rungs["1"])


def test_a_configuration_that_failed_does_not_go_on() -> None:
    first = suggest(Request(make_experiment(), (), 6))
    trials = [ended(each, number, failed=True) for number, each in enumerate(first)]
    after = suggest(Request(make_experiment(), trials, 3, 6))
    assert Counter(each[1][1] for each in after) == {"1": 3}


def test_one_that_was_promoted_and_runs_is_not_promoted_again() -> None:
    trials = played(3, 3)
    (promoted,) = suggest(Request(make_experiment(), trials, 1, 3))
    assert promoted[1] == ("epochs", "3")
    running = PastTrial(Condition.PENDING, "", promoted)
    (after,) = suggest(Request(make_experiment(), [*trials, running], 1, 4))
    assert after[1] == ("epochs", "1")


def test_what_was_kept_changes_no_answer() -> None:
    assert played(30, 2, Learners()) == played(30, 2)


@given(count=st.integers(0, 20))
def test_a_saved_state_goes_on_like_the_one_it_was_saved_from(count: int) -> None:
    plan = plan_of(make_experiment())
    algorithm, again = plan.begin(), plan.begin()
    for number in range(count):
        candidate = algorithm.suggest(number, [])
        assert candidate is not None
        value = None if number % 5 == 4 else float(str(candidate["rate"]))
        algorithm.observe(Observation(number, candidate, value))
    again.load(algorithm.save())
    for number in range(count, count + 4):
        assert again.suggest(number, []) == algorithm.suggest(number, [])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"settings": SETTINGS[1:]}, "resource_name is missing"),
        ({"settings": SETTINGS[:1]}, "r_l is missing"),
        ({"settings": (("resource_name", "rate"), ("r_l", "9"))}, "name an int parameter"),
        ({"settings": (("resource_name", "epochs"), ("r_l", "2"))}, "at least eta"),
        ({"settings": (*SETTINGS[:2], ("eta", "1"))}, "above 1"),
        ({"settings": (*SETTINGS, ("speed", "1"))}, "no setting 'speed'"),
        ({"parameters": PARAMETERS[1:]}, "beside its resource"),
    ],
)
def test_settings_that_halve_nothing_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidSpecError) as caught:
        validate(make_experiment(**changes))
    assert words in str(caught.value)
