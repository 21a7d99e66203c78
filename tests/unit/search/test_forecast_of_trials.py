"""Which trials are trained to their end when the algorithm can say what they promise."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from strandline.jobs.search import SearchOutcome
from strandline.search.algorithm import Forecaster, Observation
from strandline.search.predictor_evolution import PredictorEvolution
from strandline.search.random import RandomSearch
from strandline.search.registry import ALGORITHMS, make_algorithm, make_scheduler
from strandline.search.scheduler import Halving
from strandline.search.space import Candidate
from strandline.spec.records import Scalar, TrialState
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


def worth(candidate: Candidate | dict[str, Scalar]) -> float:
    return sum(WORTH[str(value)] for value in candidate.values())


def observed(number: int, candidate: Candidate, complete: bool) -> Observation:
    """Give the candidate half of its worth after one step, all of it after the second."""
    early, full = worth(candidate) / 2, worth(candidate)
    if complete:
        return Observation(number, candidate, full, curve=((1, early), (2, full)))
    return Observation(number, candidate, early, complete=False, curve=((1, early),))


def taught(count: int = 24) -> PredictorEvolution:
    """Return an algorithm that knows so many random trials, the better half trained fully."""
    rng = np.random.default_rng(4)
    drawn = [CELL.sample(rng) for _ in range(count)]
    middle = float(np.median([worth(candidate) for candidate in drawn]))
    search = PredictorEvolution(CELL, seed=0)
    for number, candidate in enumerate(drawn):
        if candidate not in (GOOD, POOR):
            search.observe(observed(number, candidate, worth(candidate) > middle))
    return search


def test_a_trial_that_looks_best_goes_on_and_one_that_looks_worst_does_not() -> None:
    search = taught()
    assert search.goes_on(observed(24, GOOD, complete=False), ()) is True
    assert search.goes_on(observed(24, POOR, complete=False), ()) is False


def test_the_answer_is_the_same_after_save_and_load() -> None:
    search, loaded = taught(), PredictorEvolution(CELL, seed=0)
    loaded.load(search.save())
    rng = np.random.default_rng(9)
    running = [CELL.sample(rng) for _ in range(3)]
    for number in range(24, 34):
        asked = observed(number, CELL.sample(rng), complete=False)
        answer = search.goes_on(asked, running)
        assert answer is not None
        assert answer == loaded.goes_on(asked, running)
        assert answer == search.goes_on(asked, running)  # nor does asking change anything


def test_too_little_to_learn_from_is_no_answer() -> None:
    early = observed(24, GOOD, complete=False)
    assert taught(8).goes_on(early, ()) is None
    assert taught().goes_on(replace(early, curve=()), ()) is None
    # Nobody was trained fully who had a value after this step.
    assert taught().goes_on(replace(early, curve=((5, 3.0),)), ()) is None


def test_several_objectives_are_left_to_the_rule() -> None:
    search = make_algorithm("pareto-predictor", CELL, 0)
    assert isinstance(search, Forecaster)
    rng = np.random.default_rng(2)
    for number in range(20):
        each = observed(number, CELL.sample(rng), complete=True)
        search.observe(replace(each, values=(each.value or 0.0, float(rng.normal()))))
    early = replace(observed(20, GOOD, complete=False), values=(2.0, 1.0))
    assert search.goes_on(early, ()) is None


@pytest.mark.parametrize("name", ["asha", "hyperband"])
def test_rungs_follow_each_other_as_trials_are_judged(name: str) -> None:
    rule = make_scheduler(name)
    assert isinstance(rule, Halving)
    for number in range(8):
        rungs = [step for step in range(1, 82) if rule.next_rung(number, step) is not None]
        assert rungs[-1] == 81
        assert [rule.next_rung(number, step) for step in rungs[:-1]] == rungs[1:]


@pytest.mark.parametrize("name", ["none", "median", "curve-extrapolation"])
def test_rules_without_rungs_ask_nobody(name: str) -> None:
    assert not isinstance(make_scheduler(name), Halving)


class Choosy(RandomSearch):
    """Draws at random and lets odd trials alone go on."""

    asked: list[tuple[int, tuple[tuple[int, float], ...], int]] = []  # noqa: RUF012  # by tests

    def goes_on(self, observation: Observation, pending: Iterable[Candidate]) -> bool | None:
        self.asked.append((observation.number, observation.curve, len(list(pending))))
        return bool(observation.number % 2)


def search(place: SearchPlace, steps: int, **fields: Any) -> SearchOutcome:
    spec = make_search_spec(earlyStopping={"name": "asha"}, **fields)
    return place.run(spec, CurveTrials(place.clock, score=worth, steps=steps), space=CELL)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, Any, int]]:
    monkeypatch.setitem(ALGORITHMS, "choosy", f"{__name__}:Choosy")
    monkeypatch.setattr(Choosy, "asked", [])
    return Choosy.asked


def test_the_algorithm_decides_at_the_last_rung_alone(
    tmp_path: Path, asked: list[tuple[int, Any, int]]
) -> None:
    # Rungs of nine steps: 1 and 3; the next one is the end itself.
    outcome = search(SearchPlace(tmp_path), 9, algorithm={"name": "choosy"}, budget={"trials": 30})
    assert asked
    assert {curve[-1][0] for _, curve, _ in asked} == {3}
    numbers = {number for number, _, _ in asked}
    full = {t.number for t in outcome.trials if t.state is TrialState.COMPLETED}
    assert full & numbers == {number for number in numbers if number % 2}


def test_it_is_not_asked_before_anybody_was_trained_fully_nor_when_no_other_may_begin(
    tmp_path: Path, asked: list[tuple[int, Any, int]]
) -> None:
    search(SearchPlace(tmp_path), 2, algorithm={"name": "choosy"}, budget={"trials": 6})
    assert [number for number, _, _ in asked] == [1, 2, 3, 4]


def test_a_search_that_asks_ends_like_an_undisturbed_one_wherever_it_is_cut_off(
    tmp_path: Path,
) -> None:
    fields = {
        "algorithm": {"name": "predictor-evolution", "settings": {"startup": 4, "pool": 20}},
        "budget": {"trials": 14},
    }

    def tell(outcome: SearchOutcome) -> list[Any]:
        return [(t.candidate, t.state, t.step, t.metrics) for t in outcome.trials]

    (tmp_path / "calm").mkdir()
    calm = search(SearchPlace(tmp_path / "calm"), 2, **fields)
    assert {TrialState.COMPLETED, TrialState.PRUNED} == {trial.state for trial in calm.trials}
    for allowed in range(25, 90, 9):
        folder = tmp_path / f"cut-{allowed}"
        folder.mkdir()
        place = SearchPlace(folder)
        spec = make_search_spec(earlyStopping={"name": "asha"}, **fields)
        trials = CurveTrials(place.clock, score=worth, steps=2)
        with pytest.raises(PowerCut):
            place.run(spec, trials, space=CELL, **cut_off_after(place, allowed))
        assert tell(search(place, 2, **fields)) == tell(calm), f"cut off after {allowed} writes"
        place.catalog.close()
