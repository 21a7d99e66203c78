"""Suggestions are a function of the request alone, never repeat, and learn."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from strandline.jobs.katib.algorithms import KATIB_ALGORITHMS
from strandline.jobs.katib.declared import Declared
from strandline.jobs.katib.learners import Learner, Learners
from strandline.jobs.katib.requests import (
    Assignments,
    Condition,
    Experiment,
    PastTrial,
    Request,
)
from strandline.jobs.katib.suggest import suggest, validate
from strandline.search.registry import ALGORITHMS
from strandline.spec.errors import BudgetExhaustedError, InvalidSpecError

SERVED = [
    name
    for name, known in KATIB_ALGORITHMS.items()
    if not known.unserved and known.ours in ALGORITHMS and name not in ("enas", "hyperband")
]
# Ours that Katib's names stand for are tested by those; the controller by Experiments, too.
_TESTED = {known.ours for known in KATIB_ALGORITHMS.values() if not known.unserved} - {"reinforce"}
_UNSERVED = {name for name, known in KATIB_ALGORITHMS.items() if known.unserved}
SERVED += [f"strandline-{name}" for name in ALGORITHMS if name not in _TESTED | _UNSERVED]
MIXED = (
    Declared("rate", "double", "0.0001", "0.1", distribution="logUniform"),
    Declared("decay", "double", "0", "0.5", "0.05"),
    Declared("layers", "int", "1", "16"),
    Declared("batch", "discrete", values=("8", "16", "32")),
    Declared("head", "categorical", values=("a", "b")),
)
SMALL = (
    Declared("n", "int", "1", "3"),
    Declared("word", "categorical", values=("a", "b")),
)
GRID_ONLY = (Declared("n", "int", "1", "9"), Declared("k", "double", "0", "1", "0.25"))


def make_experiment(
    algorithm: str = "random", parameters: Sequence[Declared] = MIXED, **changes: Any
) -> Experiment:
    made = Experiment("tuning", tuple(parameters), "minimize", "loss", algorithm)
    return replace(made, **changes)


def ended(assignments: Assignments, number: int, value: str | None = "0.5") -> PastTrial:
    stamp = f"2026-01-01T00:{number // 60:02}:{number % 60:02}Z"
    condition = Condition.FAILED if value is None else Condition.SUCCEEDED
    return PastTrial(condition, stamp, assignments, value)


def loss(assignments: Assignments) -> float:
    found = dict(assignments)
    return (int(found["layers"]) - 5) ** 2 / 25 + float(found["decay"]) + len(found["batch"]) / 9


def played(
    experiment: Experiment,
    count: int,
    learners: Learners | None = None,
    parallel: int = 2,
    outcome: Callable[[Assignments], float] = loss,
) -> list[PastTrial]:
    """Play `count` trials; of those that run, the oldest ends first."""
    trials: list[PastTrial] = []
    running: list[Assignments] = []
    while len(trials) < count:
        wanted = min(parallel, count - len(trials)) - len(running)
        known = [*trials, *(PastTrial(Condition.PENDING, "", each) for each in running)]
        running += suggest(Request(experiment, known, wanted, len(known)), learners)
        first = running.pop(0)
        trials.append(ended(first, len(trials), repr(outcome(first))))
    return trials


def game_for(algorithm: str) -> tuple[Experiment, int, Callable[[Assignments], float]]:
    """An Experiment that the algorithm can search, its trials, and what each gives."""
    if algorithm in ("grid", "cmaes"):
        return make_experiment(algorithm, GRID_ONLY), 30, lambda given: float(given[1][1])
    if algorithm == "bayesianoptimization":  # seconds for each suggestion that it thinks about
        return make_experiment(algorithm, settings=(("n_initial_points", "12"),)), 15, loss
    return make_experiment(algorithm), 30, loss


@pytest.mark.parametrize("algorithm", SERVED)
def test_no_suggestion_repeats_and_all_are_in_the_feasible_space(algorithm: str) -> None:
    experiment, count, outcome = game_for(algorithm)
    trials = played(experiment, count, Learners(), 3, outcome)
    assert len({trial.assignments for trial in trials}) == count
    for declared in experiment.parameters:
        values = {dict(trial.assignments)[declared.name] for trial in trials}
        if declared.values:
            assert values <= set(declared.values)
        else:
            assert all(float(declared.min) <= float(v) <= float(declared.max) for v in values)
        if declared.type == "int":
            assert all(value.isdigit() for value in values)


@pytest.mark.parametrize("algorithm", SERVED)
def test_the_answer_is_the_same_with_and_without_what_was_kept(algorithm: str) -> None:
    experiment, count, outcome = game_for(algorithm)
    kept = played(experiment, count, Learners(), 3, outcome)
    assert kept == played(experiment, count, None, 3, outcome)


@settings(max_examples=40)
@given(data=st.data(), algorithm=st.sampled_from(["random", "tpe"]))
def test_no_order_of_requests_makes_what_is_kept_change_an_answer(
    data: st.DataObject, algorithm: str
) -> None:
    # Requests of two experiments, with ever other parts of their trials, in any order: some
    # learners fit, others have seen too much, and few are kept.
    experiments = [make_experiment(algorithm), make_experiment(algorithm, name="other")]
    whole = [played(each, 14) for each in experiments]
    learners = Learners(most=2, most_trials=20)
    for _ in range(data.draw(st.integers(1, 6))):
        which = data.draw(st.integers(0, 1))
        trials = data.draw(st.lists(st.sampled_from(whole[which]), max_size=14, unique=True))
        running = data.draw(st.integers(0, len(trials)))
        known = [replace(t, condition=Condition.PENDING, ended="") for t in trials[:running]]
        request = Request(experiments[which], [*known, *trials[running:]], 2, len(trials))
        assert suggest(request, learners) == suggest(request)


@pytest.mark.parametrize("algorithm", ["random", "tpe"])
def test_neither_the_order_of_trials_nor_their_number_of_listing_changes_an_answer(
    algorithm: str,
) -> None:
    experiment = make_experiment(algorithm)
    trials = played(experiment, 20)
    shuffled = random.Random(3).sample(trials, len(trials))
    assert suggest(Request(experiment, shuffled, 3, 20)) == suggest(
        Request(experiment, trials, 3, 20)
    )


def test_ends_in_the_same_second_have_an_order_too() -> None:
    experiment = make_experiment("tpe")
    trials = [replace(trial, ended="2026-01-01T00:00:00Z") for trial in played(experiment, 15)]
    backwards = trials[::-1]
    assert suggest(Request(experiment, backwards, 2)) == suggest(Request(experiment, trials, 2))


def test_without_times_trials_count_in_the_order_in_which_they_are_listed() -> None:
    experiment = make_experiment("strandline-regularized-evolution")
    trials = played(experiment, 30)
    timeless = [replace(trial, ended="") for trial in trials]
    assert suggest(Request(experiment, timeless, 3, 30), Learners()) == suggest(
        Request(experiment, trials, 3, 30)
    )


def test_several_suggestions_at_once_differ_from_each_other_and_from_what_runs() -> None:
    experiment = make_experiment("random", SMALL)
    first = suggest(Request(experiment, (), 2))
    running = [PastTrial(Condition.PENDING, "", each) for each in first]
    rest = suggest(Request(experiment, running, 4, 2))
    every = set(
        itertools.product((("n", "1"), ("n", "2"), ("n", "3")), (("word", "a"), ("word", "b")))
    )
    assert {*first, *rest} == every


def test_what_is_left_is_suggested_and_then_the_end_is_said() -> None:
    experiment = make_experiment("random", SMALL)
    found = suggest(Request(experiment, (), 10))
    assert len(set(found)) == len(found) == 6
    trials = [ended(each, number) for number, each in enumerate(found)]
    with pytest.raises(BudgetExhaustedError, match="all 6 different trials"):
        suggest(Request(experiment, trials, 1, 6))


@pytest.mark.parametrize("value", [None, "", "unavailable", "nan", "inf", "-1e999"])
def test_a_trial_without_a_usable_value_is_not_tried_again(value: str | None) -> None:
    experiment = make_experiment("tpe", SMALL, settings=(("n_startup_trials", "2"),))
    tried = suggest(Request(experiment, (), 5))
    trials = [ended(each, number, value) for number, each in enumerate(tried)]
    last = suggest(Request(experiment, trials, 1, 5))
    assert last[0] not in tried


def test_a_trial_stopped_early_counts_with_its_value() -> None:
    experiment = make_experiment("tpe", settings=(("n_startup_trials", "3"),))
    trials = played(experiment, 12)
    stopped = [replace(trial, condition=Condition.STOPPED_EARLY) for trial in trials]
    found = suggest(Request(experiment, stopped, 1, 12))
    failed = [replace(trial, condition=Condition.FAILED) for trial in trials]
    assert found != suggest(Request(experiment, failed, 1, 12))


def test_a_trial_of_another_space_is_left_aside() -> None:
    experiment = make_experiment("tpe")
    strangers = [
        ended((("rate", "5"),), 0),
        ended((*suggest(Request(experiment, (), 1))[0], ("more", "1")), 1),
    ]
    assert len(suggest(Request(experiment, strangers, 2, 2))) == 2


def test_tpe_learns_which_way_is_better() -> None:
    parameters = (Declared("x", "double", "0", "1"), Declared("y", "double", "0", "1"))

    def mean_of_last(goal: str) -> float:
        experiment = make_experiment("tpe", parameters, goal=goal)
        trials = played(experiment, 40, Learners(), 1, lambda given: float(given[0][1]))
        return sum(float(dict(trial.assignments)["x"]) for trial in trials[25:]) / 15

    assert mean_of_last("minimize") < 0.25
    assert mean_of_last("maximize") > 0.75


def test_experiments_of_other_names_draw_otherwise_and_a_seed_makes_them_equal() -> None:
    def first(name: str, *seed: tuple[str, str]) -> list[Assignments]:
        return suggest(Request(make_experiment(name=name, settings=seed), (), 2))

    assert first("a") != first("b")
    assert first("a", ("random_state", "4")) == first("b", ("random_state", "4"))


def test_a_client_that_always_sends_the_same_count_gets_new_suggestions_all_the_same() -> None:
    experiment = make_experiment("random", (Declared("x", "double", "0", "1"),))
    trials: list[PastTrial] = []
    for number in range(260):  # more than the attempts that one number of a trial has
        found = suggest(Request(experiment, trials, 1, given=497))
        trials.append(ended(found[0], number))
    assert len({trial.assignments for trial in trials}) == 260


def test_suggestions_that_never_became_trials_do_not_stop_the_sequence() -> None:
    # Katib's controller does not tell of trials whose metrics are unavailable.
    experiment = make_experiment("random")
    first, later = (suggest(Request(experiment, (), 3, given)) for given in (0, 3))
    assert not set(first) & set(later)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"algorithm": "magic"}, "choose random, grid"),
        ({"algorithm": "pbt"}, "not served"),
        ({"algorithm": "strandline-pbt"}, "not served"),
        ({"algorithm": "darts"}, "not served"),
        ({"settings": (("speed", "9"),)}, "remove it; it takes random_state"),
        ({"settings": (("random_state", "-1"),)}, "whole number from 0"),
        ({"algorithm": "tpe", "settings": (("n_ei_candidates", "none"),)}, "whole number from 1"),
        ({"algorithm": "strandline-tpe", "settings": (("deep", "1"),)}, "no setting 'deep'"),
        ({"algorithm": "strandline-tpe", "settings": (("startup", "soon"),)}, "startup is 'soon'"),
        ({"algorithm": "strandline-tpe", "settings": (("random_state", "x"),)}, "whole number"),
        ({"parameters": ()}, "name at least one"),
        ({"parameters": (MIXED[0], MIXED[0])}, "stands there twice"),
        ({"parameters": (Declared("", "int", "1", "2"),)}, "no name"),
        ({"parameters": (Declared("x", "unknown"),)}, "choose double"),
        ({"parameters": (Declared("x", "double", "1", "0"),)}, "above max"),
        ({"parameters": (Declared("x", "categorical"),)}, "at least one value"),
        ({"parameters": SMALL, "most_trials": 7}, "only 6 different trials"),
        ({"goal": ""}, "minimize or maximize"),
        ({"metric": ""}, "objectiveMetricName"),
    ],
)
def test_an_experiment_that_cannot_be_searched_is_refused_with_what_to_change(
    changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidSpecError) as caught:
        validate(make_experiment(**changes))
    assert words in str(caught.value)


NUMBER = st.sampled_from(
    [
        "",
        "0",
        "1",
        "-1",
        "0.5",
        "1e3",
        "1e-5",
        "1e400",
        "-1e400",
        "nan",
        "inf",
        "x",
        "١",
        "1_0",
        " 2",
    ]
)
DECLARED = st.builds(
    Declared,
    name=st.sampled_from(["a", "b", "", "c d", "é"]),
    type=st.sampled_from(["double", "int", "discrete", "categorical", "unknown"]),
    min=NUMBER,
    max=NUMBER,
    step=NUMBER,
    values=st.lists(NUMBER, max_size=3).map(tuple),
    distribution=st.sampled_from(["", "uniform", "logUniform", "normal", "logNormal", "odd"]),
)


@settings(max_examples=400)
@given(
    parameters=st.lists(DECLARED, max_size=3).map(tuple),
    algorithm=st.sampled_from(["random", "tpe", "grid", "hyperband", "strandline-tpe", ""]),
    given_settings=st.lists(
        st.tuples(
            st.sampled_from(["random_state", "n_startup_trials", "eta", "r_l", "startup", "é"]),
            NUMBER,
        ),
        max_size=3,
    ).map(tuple),
    trial=st.lists(st.tuples(st.sampled_from(["a", "b", ""]), NUMBER), max_size=3).map(tuple),
)
def test_whatever_is_asked_the_answer_is_suggestions_or_a_reason(
    parameters: tuple[Declared, ...],
    algorithm: str,
    given_settings: Assignments,
    trial: Assignments,
) -> None:
    experiment = make_experiment(algorithm, parameters, settings=given_settings)
    trials = [ended(trial, 0), PastTrial(Condition.PENDING, "", trial)]
    try:
        found = suggest(Request(experiment, trials, 2, 2))
    except (InvalidSpecError, BudgetExhaustedError):
        return
    assert len(set(found)) == len(found) in (1, 2)


def test_settings_of_katibs_own_algorithms_without_equal_are_ignored(
    caplog: pytest.LogCaptureFixture,
) -> None:
    validate(make_experiment("tpe", settings=(("gamma", "0.25"), ("n_EI_candidates", "12"))))
    (record,) = caplog.records
    assert "gamma = 0.25" in record.getMessage()
    assert "ignored" in record.getMessage()


@pytest.mark.parametrize("name", ["strandline-random", "strandline-tpe"])
def test_our_algorithms_have_names_of_their_own(name: str) -> None:
    validate(make_experiment(name))


def test_more_suggestions_than_anybody_needs_are_refused() -> None:
    with pytest.raises(InvalidSpecError, match="at most at once"):
        suggest(Request(make_experiment(), (), 10_001))


def test_none_wanted_none_given() -> None:
    assert suggest(Request(make_experiment(), (), 0)) == []


def test_learners_are_bounded_in_number_and_in_what_they_have_observed() -> None:
    learners = Learners(most=3, most_trials=100)
    algorithm: Any = object()
    for number in range(10):
        learners.put(Learner(f"plan{number}", algorithm, 10, b""))
    assert [n for n in range(10) if learners.lengths(f"plan{n}")] == [7, 8, 9]
    learners.put(Learner("large", algorithm, 95, b""))
    assert [n for n in range(10) if learners.lengths(f"plan{n}")] == []
    assert learners.lengths("large") == {95}
