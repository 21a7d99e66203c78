"""Trials that wait after their first steps, and which of them go on."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from strandline.jobs.search import SearchOutcome
from strandline.ports import Resources, TrainableFactory, TrialSource
from strandline.search.algorithm import Observation, Thawing
from strandline.search.frozen import Frozen
from strandline.search.predictor_evolution import PredictorEvolution
from strandline.search.registry import make_scheduler
from strandline.search.scheduler import Freezing
from strandline.search.space import Candidate, Categorical, Space
from strandline.spec.errors import InvalidSpecError
from strandline.spec.records import Failure, FailureKind, Scalar, TrialState
from strandline.testing.algorithm_contract import CELL
from strandline.testing.searches import (
    CurveTrials,
    PowerCut,
    SearchPlace,
    cut_off_after,
    make_search_spec,
)

WORTH = {"none": 0.0, "skip": 0.5, "conv": 1.0}
GOOD = {f"edge{place}": "conv" for place in range(5)}
POOR = dict.fromkeys(GOOD, "none")
LETTERS = Space((Categorical("letter", ("a", "b", "c", "d", "e")),))


def worth(candidate: Mapping[str, Scalar]) -> float:
    # A little of its own for each, so that no two are equal.
    values = [str(value) for value in candidate.values()]
    own = sum(2.0**place for place, value in enumerate(values) if value == "skip")
    return sum(WORTH[value] for value in values) + own / 1000


def observed(number: int, candidate: Candidate, complete: bool) -> Observation:
    """Give the candidate half of its worth after one step, all of it after the second."""
    early, full = worth(candidate) / 2, worth(candidate)
    if complete:
        return Observation(number, candidate, full, curve=((1, early), (2, full)))
    return Observation(number, candidate, early, complete=False, curve=((1, early),))


def observations(count: int = 24) -> list[Observation]:
    """Return what random trials gave, the better half trained fully; a good and a poor one wait."""
    rng = np.random.default_rng(4)
    drawn = [each for each in (CELL.sample(rng) for _ in range(count)) if each not in (GOOD, POOR)]
    middle = float(np.median([worth(candidate) for candidate in drawn]))
    told = [observed(n, each, worth(each) > middle) for n, each in enumerate(drawn)]
    return [*told, observed(len(drawn), GOOD, False), observed(len(drawn) + 1, POOR, False)]


def taught(told: list[Observation]) -> PredictorEvolution:
    search = PredictorEvolution(CELL, seed=0)
    for each in told:
        search.observe(each)
    return search


def test_the_trial_that_most_is_expected_of_goes_on_and_a_poor_one_does_not() -> None:
    told = observations()
    *_, good, poor = (each.number for each in told)
    assert taught(told).thaw(len(told), [good, poor], ()) == good
    assert taught(told).thaw(len(told), [poor], ()) is None


def test_the_answer_rests_on_what_was_observed_not_on_when_or_how_often() -> None:
    told = observations()
    frozen = [each.number for each in told if not each.complete]
    answer = taught(told).thaw(len(told), frozen, ())
    assert answer is not None
    for seed in range(5):
        shuffled = told + told[::3]
        random.Random(seed).shuffle(shuffled)
        search = PredictorEvolution(CELL, seed=0)
        for place, each in enumerate(shuffled):
            search.observe(each)
            if place % 7 == seed and place > 12:  # nor does asking change anything
                known = {every.number for every in shuffled[: place + 1]}
                search.thaw(len(told), sorted(known & set(frozen)), ())
        loaded = PredictorEvolution(CELL, seed=0)
        loaded.load(search.save())
        for each_search in (search, loaded):
            assert each_search.thaw(len(told), frozen, ()) == answer


def test_every_other_decision_is_deaf_to_early_values() -> None:
    told = observations()
    misled = [
        each if each.complete else replace(each, value=-(each.value or 0), curve=((1, -1.0),))
        for each in told
    ]
    frozen = [each.number for each in told if not each.complete]
    heeds = [
        taught(told).thaw(number, frozen, ()) != taught(misled).thaw(number, frozen, ())
        or taught(told).suggest(number, ()) != taught(misled).suggest(number, ())
        for number in range(len(told), len(told) + 6)
    ]
    assert heeds in ([True, False] * 3, [False, True] * 3)


def test_an_early_value_is_replaced_by_the_full_one() -> None:
    told = observations()
    late = PredictorEvolution(CELL, seed=0)
    for each in told:
        late.observe(observed(each.number, each.candidate, complete=False))
        late.suggest(len(told), ())
    for each in told:
        late.observe(each)
    frozen = [each.number for each in told if not each.complete]
    assert late.thaw(len(told), frozen, ()) == taught(told).thaw(len(told), frozen, ())
    assert late.suggest(len(told), ()) == taught(told).suggest(len(told), ())


def test_what_full_trainings_tell_is_learned_anew_when_one_more_is_full() -> None:
    told = observations()
    numbers = range(len(told), len(told) + 8)
    for waiting in [each for each in told if not each.complete]:
        asked = taught(told)
        for number in numbers:  # what it learned for these is kept
            asked.suggest(number, ())
        now = observed(waiting.number, waiting.candidate, complete=True)
        asked.observe(now)
        fresh = taught([now if each is waiting else each for each in told])
        for number in numbers:
            kernels = asked._fit(number, 0), fresh._fit(number, 0)
            assert np.array_equal(kernels[0].pack(), kernels[1].pack())


def test_where_there_is_nothing_new_all_that_wait_go_on() -> None:
    search = PredictorEvolution(LETTERS, seed=0)
    letters = [{"letter": letter} for letter in "abcde"]
    for number, each in enumerate(letters):
        search.observe(Observation(number, each, float(number), complete=False))
    assert search.thaw(5, range(5), ()) == 4
    assert search.thaw(5, [0, 2], ()) == 2


def test_only_some_rules_and_algorithms_let_trials_wait() -> None:
    assert isinstance(make_scheduler("freeze-thaw"), Freezing)
    assert not isinstance(make_scheduler("asha"), Freezing)
    assert isinstance(PredictorEvolution(CELL, 0), Thawing)
    with pytest.raises(InvalidSpecError, match="at least 1 trial"):
        make_scheduler("freeze-thaw", {"waiting": 0})


# ---------------------------------------------------------------- in a search


FIELDS: dict[str, Any] = {
    "algorithm": {"name": "predictor-evolution", "settings": {"startup": 4, "pool": 20}},
    "earlyStopping": {"name": "freeze-thaw", "settings": {"waiting": 5}},
    "budget": {"trials": 14},
}
STEPS = 4


def search(place: SearchPlace, ports: Mapping[str, Any] | None = None, **fields: Any) -> Any:
    spec = make_search_spec(**{**FIELDS, **fields})
    trials = CurveTrials(place.clock, score=worth, steps=STEPS)
    return place.run(spec, trials, space=CELL, **(ports or {}))


def tell(outcome: SearchOutcome) -> list[Any]:
    """Return what must not depend on interruptions."""
    return [(t.number, t.candidate, t.state, t.step, t.metrics) for t in outcome.trials]


@pytest.fixture
def make_place(tmp_path: Path) -> Callable[[], SearchPlace]:
    count = iter(range(1000))

    def make() -> SearchPlace:
        folder = tmp_path / str(next(count))
        folder.mkdir()
        return SearchPlace(folder)

    return make


@pytest.fixture
def calm(make_place: Callable[[], SearchPlace]) -> list[Any]:
    return tell(search(make_place()))


def test_trials_wait_after_their_first_step_and_the_worst_of_too_many_end(
    calm: list[Any],
) -> None:
    steps = {state: [s for *_, st, s, _ in calm if st is state] for state in TrialState}
    assert set(steps[TrialState.PENDING]) == {1}
    assert 1 <= len(steps[TrialState.PENDING]) <= 5
    assert 1 in steps[TrialState.PRUNED]
    assert set(steps[TrialState.COMPLETED]) == {STEPS}
    waiting = [m["score"] for *_, st, s, m in calm if st is TrialState.PENDING]
    ended = [m["score"] for *_, st, s, m in calm if st is TrialState.PRUNED and s == 1]
    assert min(waiting) >= max(ended)


def test_a_search_cut_off_at_any_write_goes_on_with_the_trials_it_would_have(
    make_place: Callable[[], SearchPlace], calm: list[Any]
) -> None:
    for allowed in range(2, 200, 13):
        place = make_place()
        try:
            search(place, cut_off_after(place, allowed))
        except PowerCut:
            assert tell(search(place)) == calm, f"cut off after {allowed} writes"
            place.catalog.close()
        else:
            break
    assert allowed > 60


def test_a_budget_that_is_raised_makes_no_other_search_of_it(
    make_place: Callable[[], SearchPlace], calm: list[Any]
) -> None:
    for first in (9, 11, 13):
        place = make_place()
        search(place, budget={"trials": first})
        assert tell(search(place)) == calm, f"raised from {first} trials"
        place.catalog.close()


def test_a_search_too_short_to_choose_trains_its_best_trial_to_the_end(
    make_place: Callable[[], SearchPlace],
) -> None:
    outcome = search(make_place(), budget={"trials": 3})
    full = [trial for trial in outcome.trials if trial.state is TrialState.COMPLETED]
    assert [trial.step for trial in full] == [STEPS]
    assert full[0] == outcome.best
    assert worth(full[0].candidate) == max(worth(trial.candidate) for trial in outcome.trials)


class LosingRunner:
    """Runs one trial after the other on workers that are lost now and then."""

    def __init__(self, seed: int) -> None:
        self.lost = 0
        self._random = random.Random(seed)

    def held(self, parallelism: int) -> AbstractContextManager[None]:
        return nullcontext()

    def run(
        self,
        source: TrialSource,
        factory: TrainableFactory,
        resources: Resources,
        parallelism: int,
        step_timeout_seconds: float | None = None,
    ) -> None:
        trainable = factory()
        while not source.finished():
            assignment = source.next_assignment()
            assert assignment is not None
            trainable.reset(assignment)
            goes_on = True
            while goes_on:
                report = trainable.step()
                if self._random.random() < 0.4:
                    self.lost += 1
                    source.fail(assignment.number, Failure(kind=FailureKind.LOST, message="gone"))
                    break
                goes_on = source.report(report)


@pytest.mark.parametrize("seed", range(4))
def test_lost_workers_cost_nothing(
    make_place: Callable[[], SearchPlace], calm: list[Any], seed: int
) -> None:
    runner = LosingRunner(seed)
    assert tell(search(make_place(), {"runner": runner})) == calm
    assert runner.lost > 3


def test_other_algorithms_are_ruled_by_asha(make_place: Callable[[], SearchPlace]) -> None:
    fields = {"algorithm": {"name": "random"}}
    by_asha = search(make_place(), earlyStopping={"name": "asha"}, **fields)
    assert tell(search(make_place(), **fields)) == tell(by_asha)


def test_nobody_waits_where_there_are_several_objectives() -> None:
    rule, algorithm = make_scheduler("freeze-thaw", {"grace": 2}), PredictorEvolution(CELL, 0)
    assert Frozen(rule, algorithm, 1).step == 2
    assert Frozen(rule, algorithm, 2).step is None
