"""What a search decides: what to try, what to make of it, and when to end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from strandline.jobs.search import SearchOutcome
from strandline.ports import Assignment, Resources, StepReport, TrainableFactory, TrialSource
from strandline.search.engine import EndReason
from strandline.search.space import Categorical, Space
from strandline.spec.errors import InvalidSpecError
from strandline.spec.records import Failure, FailureKind, Scalar, TrialState
from strandline.testing.searches import (
    UID,
    CurveTrials,
    PowerCut,
    SearchPlace,
    cut_off_after,
    make_search_spec,
    score_x,
)

LETTERS = Space((Categorical("letter", ("a", "b", "c")),))


@pytest.fixture
def place(tmp_path: Path) -> SearchPlace:
    return SearchPlace(tmp_path)


def numbers_by_state(outcome: SearchOutcome, state: TrialState) -> list[int]:
    return [trial.number for trial in outcome.trials if trial.state is state]


def fail_below(limit: float, error: type[Exception] = ValueError) -> Any:
    def score(candidate: Mapping[str, Scalar]) -> float:
        if score_x(candidate) < limit:
            raise error("too small")
        return score_x(candidate)

    return score


# ---------------------------------------------------------------- what is tried


def test_the_default_candidates_are_tried_first_and_in_their_order(place: SearchPlace) -> None:
    defaults = [{"x": 0.25}, {"x": 0.125}]
    outcome = place.run(make_search_spec(), defaults=defaults)
    assert [trial.candidate for trial in outcome.trials[:2]] == defaults
    assert len({str(trial.candidate) for trial in outcome.trials}) == 4


def test_a_default_outside_the_space_is_left_out(place: SearchPlace) -> None:
    outcome = place.run(make_search_spec(budget={"trials": 1}), defaults=[{"x": 2.0}])
    assert 0.0 <= score_x(outcome.trials[0].candidate) <= 1.0


def test_a_space_that_is_exhausted_ends_the_search(place: SearchPlace) -> None:
    trials = CurveTrials(place.clock, score=lambda candidate: 1.0)
    outcome = place.run(make_search_spec(), trials, space=LETTERS)
    assert outcome.reason is EndReason.EXHAUSTED
    assert sorted(str(t.candidate["letter"]) for t in outcome.trials) == ["a", "b", "c"]


def test_the_same_seed_tries_the_same_candidates(tmp_path: Path) -> None:
    tried = []
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        (tmp_path / name).mkdir()
        outcome = SearchPlace(tmp_path / name).run(make_search_spec(seed=seed))
        tried.append([trial.candidate for trial in outcome.trials])
    assert tried[0] == tried[1]
    assert tried[0] != tried[2]


# ---------------------------------------------------------------- budgets


def test_a_budget_in_trials_is_spent_exactly(place: SearchPlace) -> None:
    outcome = place.run(make_search_spec(budget={"trials": 3}))
    assert (outcome.reason, len(outcome.trials)) == (EndReason.TRIALS, 3)


def test_a_budget_in_time_counts_over_all_runs(place: SearchPlace) -> None:
    first = place.run(make_search_spec(budget={"time": "10s"}))
    assert (first.reason, len(first.trials), first.elapsed_seconds) == (EndReason.TIME, 10, 10.0)
    place.clock.advance(1000)
    again = place.run(make_search_spec(budget={"time": "12s"}))
    assert (again.reason, len(again.trials), again.elapsed_seconds) == (EndReason.TIME, 12, 12.0)


def test_the_first_candidate_is_scored_however_short_the_time(place: SearchPlace) -> None:
    slow = CurveTrials(place.clock, seconds=60.0)
    outcome = place.run(
        make_search_spec(budget={"time": "1s"}), slow, affordable=lambda candidate, left: False
    )
    assert (outcome.reason, len(outcome.trials)) == (EndReason.TIME, 1)
    assert outcome.best is not None


def test_time_ends_a_trial_between_its_steps_and_what_it_reached_counts(
    place: SearchPlace,
) -> None:
    slow = CurveTrials(place.clock, steps=10)
    outcome = place.run(make_search_spec(budget={"time": "4s"}), slow)
    assert outcome.reason is EndReason.TIME
    assert [(trial.state, trial.step) for trial in outcome.trials] == [(TrialState.PENDING, 4)]
    assert outcome.best is not None


def test_candidates_that_would_not_end_in_time_are_left_out(place: SearchPlace) -> None:
    outcome = place.run(
        make_search_spec(budget={"time": "1h"}),
        CurveTrials(place.clock, score=lambda candidate: 1.0),
        space=LETTERS,
        defaults=[{"letter": "b"}, {"letter": "a"}, {"letter": "c"}],
        affordable=lambda candidate, left: candidate["letter"] != "a" and left <= 3600,
    )
    assert [trial.candidate["letter"] for trial in outcome.trials] == ["b", "c"]
    assert outcome.reason in (EndReason.NOTHING_FITS, EndReason.EXHAUSTED)


def test_device_hours_count_the_devices_of_each_trial(place: SearchPlace) -> None:
    trials = CurveTrials(place.clock)
    outcome = place.run(
        make_search_spec(budget={"deviceHours": 10.0}),
        trials,
        runner=ReportedSeconds(3600.0),
        resources=Resources(gpus=4.0),
    )
    assert (outcome.reason, len(outcome.trials)) == (EndReason.DEVICE_HOURS, 3)


class ReportedSeconds:
    """A runner whose steps take as long as it is told, or fail after so long."""

    def __init__(self, seconds: float, fail: FailureKind | None = None) -> None:
        self.seconds = seconds
        self.fail = fail

    def run(
        self, source: TrialSource, factory: TrainableFactory, *values: Any, **named: Any
    ) -> None:
        trials = factory()
        assert isinstance(trials, CurveTrials)
        while not source.should_stop() and not source.finished():
            assignment = source.next_assignment()
            if assignment is not None:
                self._run_one(source, trials, assignment)

    def _run_one(self, source: TrialSource, trials: CurveTrials, assignment: Assignment) -> None:
        trials.reset(assignment)
        if self.fail is not None:
            trials.clock.advance(self.seconds)
            source.fail(assignment.number, Failure(kind=self.fail, message="gone"))
            return
        report = trials.step()
        metrics = report.metrics
        source.report(StepReport(report.number, report.step, metrics, True, self.seconds))


def test_steps_that_were_lost_count_as_device_time_too(place: SearchPlace) -> None:
    outcome = place.run(
        make_search_spec(budget={"deviceHours": 2.0}, maxFailedTrials=100),
        runner=ReportedSeconds(3600.0, fail=FailureKind.TIMEOUT),
    )
    assert (outcome.reason, len(outcome.trials)) == (EndReason.DEVICE_HOURS, 2)


def test_a_finished_search_goes_on_when_its_budget_is_raised(place: SearchPlace) -> None:
    first = place.run(make_search_spec(budget={"trials": 3}))
    nothing_new = place.run(make_search_spec(budget={"trials": 3}))
    assert nothing_new.trials == first.trials
    more = place.run(make_search_spec(budget={"trials": 5}))
    assert more.trials[:3] == first.trials
    assert len(more.trials) == 5


# ---------------------------------------------------------------- reasons to stop


@pytest.mark.parametrize(
    ("goal", "sign", "wanted"), [("maximize", 1, 0.0), ("minimize", -1, 0.0), ("maximize", 1, 0.5)]
)
def test_a_goal_that_is_reached_ends_the_search(
    place: SearchPlace, goal: str, sign: int, wanted: float
) -> None:
    values = iter([wanted - sign * 2.0, wanted - sign * 1.0, wanted, wanted + sign])
    outcome = place.run(
        make_search_spec(
            objectives=[{"metric": "score", "goal": goal}],
            stop={"goal": wanted},
            budget={"trials": 9},
        ),
        CurveTrials(place.clock, score=lambda candidate: next(values)),
    )
    assert (outcome.reason, len(outcome.trials)) == (EndReason.GOAL, 3)
    assert outcome.best is not None
    assert outcome.best.number == 2


def test_a_plateau_ends_the_search_after_so_many_trials_without_a_better_value(
    place: SearchPlace,
) -> None:
    values = iter([0.1, 0.5, 0.5, 0.3, 0.2, 0.9])
    outcome = place.run(
        make_search_spec(stop={"plateauTrials": 3}, budget={"trials": 9}),
        CurveTrials(place.clock, score=lambda candidate: next(values), seconds=0.0),
    )
    assert (outcome.reason, len(outcome.trials)) == (EndReason.PLATEAU, 5)
    assert outcome.best is not None
    assert outcome.best.number == 1  # the first of equals


def test_a_wish_to_stop_ends_the_search_and_it_goes_on_later(place: SearchPlace) -> None:
    trials = CurveTrials(place.clock, steps=3)
    outcome = place.run(
        make_search_spec(), trials, stop_requested=lambda: place.clock.monotonic() >= 4
    )
    assert outcome.reason is EndReason.STOPPED
    assert [(t.state, t.step) for t in outcome.trials] == [
        (TrialState.COMPLETED, 3),
        (TrialState.PENDING, 1),
    ]
    resumed = place.run(make_search_spec(), trials)
    assert [trial.step for trial in resumed.trials] == [3, 3, 3, 3]
    assert len(trials.tried) == 4  # the second trial went on from its first step


# ---------------------------------------------------------------- failures


def test_a_trial_that_fails_is_classified_and_the_search_goes_on(place: SearchPlace) -> None:
    outcome = place.run(
        make_search_spec(budget={"trials": 8}),
        CurveTrials(place.clock, score=fail_below(0.5, MemoryError)),
    )
    failed = [trial for trial in outcome.trials if trial.state is TrialState.FAILED]
    assert 0 < len(failed) < 8
    assert {trial.failure.kind for trial in failed if trial.failure} == {FailureKind.OUT_OF_MEMORY}
    assert all(score_x(trial.candidate) < 0.5 for trial in failed)
    assert outcome.reason is EndReason.TRIALS


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_value_that_is_no_number_fails_its_trial(place: SearchPlace, bad: float) -> None:
    values = iter([bad, 1.0])
    outcome = place.run(
        make_search_spec(budget={"trials": 2}),
        CurveTrials(place.clock, score=lambda candidate: next(values)),
    )
    failure = outcome.trials[0].failure
    assert failure is not None
    assert failure.kind is FailureKind.NOT_A_NUMBER
    assert failure.message == "score is not a number after step 1"
    assert outcome.best is not None
    assert outcome.best.number == 1


def test_too_many_failures_in_a_row_end_the_search_and_it_may_be_tried_again(
    place: SearchPlace,
) -> None:
    spec = make_search_spec(budget={"trials": 20}, maxFailedTrials=2)
    broken = place.run(spec, CurveTrials(place.clock, score=fail_below(2.0)))
    assert (broken.reason, len(broken.trials), broken.best) == (EndReason.FAILURES, 3, None)
    mended = place.run(spec, CurveTrials(place.clock))
    assert mended.reason is EndReason.TRIALS
    assert numbers_by_state(mended, TrialState.FAILED) == [0, 1, 2]


def test_a_success_between_failures_starts_their_count_anew(place: SearchPlace) -> None:
    fails = iter([True, True, False] * 3)

    def score(candidate: Mapping[str, Scalar]) -> float:
        if next(fails):
            raise ValueError("bad luck")
        return 1.0

    spec = make_search_spec(budget={"trials": 9}, maxFailedTrials=2)
    assert place.run(spec, CurveTrials(place.clock, score=score)).reason is EndReason.TRIALS


def test_a_crash_is_forgiven_twice_then_it_is_the_trials_fault(place: SearchPlace) -> None:
    trials = CurveTrials(place.clock)
    outcome = place.run(
        make_search_spec(budget={"trials": 1}),
        trials,
        runner=ReportedSeconds(1.0, fail=FailureKind.CRASH),
    )
    assert len(trials.tried) == 3
    assert [trial.state for trial in outcome.trials] == [TrialState.FAILED]


def test_a_trial_whose_nodes_go_away_is_not_given_up_before_the_tenth(place: SearchPlace) -> None:
    trials = CurveTrials(place.clock)
    outcome = place.run(
        make_search_spec(budget={"trials": 1}),
        trials,
        runner=ReportedSeconds(1.0, fail=FailureKind.LOST),
    )
    assert len(trials.tried) == 11
    assert [trial.state for trial in outcome.trials] == [TrialState.FAILED]


def test_an_objective_that_trials_do_not_report_is_named_with_those_they_do(
    place: SearchPlace,
) -> None:
    spec = make_search_spec(objectives=[{"metric": "speed"}])
    with pytest.raises(InvalidSpecError, match="'speed': the objective must be one of score"):
        place.run(spec)


# ---------------------------------------------------------------- what is kept


def test_each_step_is_in_the_catalog_before_the_next_begins(place: SearchPlace) -> None:
    seen: list[int] = []

    def score(candidate: Mapping[str, Scalar]) -> float:
        seen.append(len(place.catalog.list_metrics(UID, 0)))
        return 1.0

    place.run(
        make_search_spec(budget={"trials": 1}), CurveTrials(place.clock, score=score, steps=4)
    )
    assert seen == [0, 1, 2, 3]


def test_no_checkpoint_is_left_when_all_trials_ended(place: SearchPlace) -> None:
    place.run(make_search_spec(), CurveTrials(place.clock, steps=3))
    assert list(place.store.digests()) == []


def test_the_best_trials_last_checkpoint_stays_when_it_is_wanted(place: SearchPlace) -> None:
    outcome = place.run(make_search_spec(), CurveTrials(place.clock, steps=3), keep_best=True)
    assert outcome.best is not None
    assert outcome.checkpoint is not None
    step, score = json.loads(outcome.checkpoint)
    assert (step, score) == (3, outcome.best.metrics["score"])
    assert len(list(place.store.digests())) == 1


def test_a_better_trial_takes_the_place_of_the_checkpoint_kept(place: SearchPlace) -> None:
    first = place.run(make_search_spec(), CurveTrials(place.clock, steps=3), keep_best=True)
    more = make_search_spec(budget={"trials": 40})
    second = place.run(more, CurveTrials(place.clock, steps=3), keep_best=True)
    assert first.best is not None
    assert second.best is not None
    assert second.best.number > first.best.number
    assert second.checkpoint is not None
    assert json.loads(second.checkpoint)[1] == second.best.metrics["score"]
    assert len(list(place.store.digests())) == 1


def test_a_search_cut_off_at_any_write_leaves_the_best_checkpoint_alone(tmp_path: Path) -> None:
    spec = make_search_spec(budget={"trials": 4})
    for allowed in range(3, 60, 2):
        (tmp_path / str(allowed)).mkdir()
        place = SearchPlace(tmp_path / str(allowed))
        trials = CurveTrials(place.clock, steps=2)
        with suppress(PowerCut):
            place.run(spec, trials, keep_best=True, **cut_off_after(place, allowed))
        outcome = place.run(spec, CurveTrials(place.clock, steps=2), keep_best=True)
        assert outcome.best is not None
        assert outcome.checkpoint is not None
        # The end of the trial may be there without its last checkpoint: then an earlier one.
        step, score = json.loads(outcome.checkpoint)
        assert step == 1 or score == outcome.best.metrics["score"]
        names = {n: f"search/{UID}/trial/{n}/checkpoint" for n in range(4)}
        kept = [n for n, name in names.items() if place.catalog.read_pointer(name) is not None]
        assert kept == [outcome.best.number]
        place.catalog.close()


def tell(outcome: SearchOutcome) -> list[Any]:
    """Return what must not depend on interruptions."""
    return [(t.number, t.candidate, t.state, t.step, t.metrics, t.parent) for t in outcome.trials]


@pytest.mark.parametrize("algorithm", ["random", "tpe", "pbt"])
def test_a_search_cut_off_at_any_write_ends_like_an_undisturbed_one(
    tmp_path: Path, algorithm: str
) -> None:
    settings = {
        "tpe": {"startup": 2, "candidates": 4},
        "pbt": {"population": 2, "truncation": 0.5},
    }.get(algorithm, {})
    spec = make_search_spec(
        algorithm={"name": algorithm, "settings": settings},
        earlyStopping={"name": "asha", "settings": {"eta": 2.0}},
        budget={"trials": 5},
    )

    def run_cut(place: SearchPlace, allowed: int) -> bool:
        try:
            place.run(spec, CurveTrials(place.clock, steps=3), **cut_off_after(place, allowed))
        except PowerCut:
            return True
        return False

    (tmp_path / "calm").mkdir()
    calm_place = SearchPlace(tmp_path / "calm")
    calm = calm_place.run(spec, CurveTrials(calm_place.clock, steps=3))
    assert {TrialState.COMPLETED, TrialState.PRUNED} == {trial.state for trial in calm.trials}

    cuts = 0
    was_cut = True
    while was_cut:
        folder = tmp_path / f"cut-{cuts}"
        folder.mkdir()
        place = SearchPlace(folder)
        was_cut = run_cut(place, cuts)
        resumed = place.run(spec, CurveTrials(place.clock, steps=3))
        assert tell(resumed) == tell(calm), f"cut off after {cuts} writes"
        place.catalog.close()
        cuts += 1
    assert cuts > 30
