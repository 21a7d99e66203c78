"""What is known of all trials together, also when several run at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from strandline.jobs.search import CatalogJournal
from strandline.ports import Assignment, StepReport, Workplace
from strandline.search.engine import EndReason, SearchEngine
from strandline.search.ledger import Ledger
from strandline.search.registry import make_algorithm, make_scheduler
from strandline.spec.records import Failure, FailureKind, Trial, TrialState
from strandline.spec.v1alpha1 import Goal, Objective
from strandline.testing.searches import LINE, UID, SearchPlace, make_search_spec

SCORE = Objective(metric="score", goal=Goal.MAXIMIZE)


def make_trial(number: int, state: TrialState, score: float | None = None, **fields: Any) -> Trial:
    metrics = {} if score is None else {"score": score}
    defaults = {"candidate": {"x": number}, "metrics": metrics, "step": len(metrics)}
    return Trial(search=UID, number=number, state=state, **{**defaults, **fields})


def test_a_row_replaces_the_one_before_in_every_sum() -> None:
    ledger = Ledger([SCORE])
    ledger.put(make_trial(0, TrialState.RUNNING, seconds=1.0))
    ledger.put(make_trial(0, TrialState.COMPLETED, 0.5, seconds=3.0))
    ledger.put(make_trial(1, TrialState.RUNNING, seconds=0.5))
    assert ledger.seconds == 3.5
    assert [trial.number for trial in ledger.running] == [1]
    assert {state: count for state, count in ledger.counts.items() if count} == {
        TrialState.COMPLETED: 1,
        TrialState.RUNNING: 1,
    }


def test_the_lowest_number_among_equals_is_best_whichever_ended_first() -> None:
    for order in ([0, 1, 2], [2, 1, 0]):
        ledger = Ledger([SCORE])
        for number in order:
            ledger.put(make_trial(number, TrialState.COMPLETED, 0.5))
        best = ledger.best()
        assert best is not None
        assert best.number == 0
        assert ledger.ended_since_best == 2


def test_pruned_and_failed_trials_are_not_best_while_one_was_completed() -> None:
    ledger = Ledger([SCORE])
    ledger.put(make_trial(0, TrialState.PRUNED, 0.9))
    ledger.put(make_trial(1, TrialState.FAILED, 1.0))
    ledger.put(make_trial(2, TrialState.COMPLETED, 0.1))
    best = ledger.best()
    assert best is not None
    assert best.number == 2


def test_without_a_completed_trial_the_furthest_is_best_and_no_plateau_begins() -> None:
    ledger = Ledger([SCORE])
    assert ledger.best() is None
    ledger.put(make_trial(0, TrialState.PRUNED, 0.9, step=1))
    ledger.put(make_trial(1, TrialState.PENDING, 0.4, step=3))
    ledger.put(make_trial(2, TrialState.PRUNED, 0.5, step=3))
    best = ledger.best()
    assert best is not None
    assert (best.number, ledger.ended_since_best) == (2, 0)


def test_less_is_more_when_the_objective_is_minimized() -> None:
    ledger = Ledger([Objective(metric="score", goal=Goal.MINIMIZE)])
    for number, score in enumerate([0.5, 0.2, 0.9]):
        ledger.put(make_trial(number, TrialState.COMPLETED, score))
    best = ledger.best()
    assert best is not None
    assert best.number == 1


# ---------------------------------------------------------------- several at once


def make_engine(place: SearchPlace, **fields: Any) -> SearchEngine:
    spec = make_search_spec(
        **{"algorithm": {"name": "tpe", "settings": {"startup": 2}}, "parallelism": 3, **fields}
    )
    journal = CatalogJournal(UID, place.catalog, place.store)
    return SearchEngine(
        UID,
        spec,
        make_algorithm(spec.algorithm.name, LINE, spec.seed, spec.algorithm.settings),
        make_scheduler("none"),
        journal,
        place.clock,
        history=journal.history(),
    )


def take(engine: SearchEngine) -> Assignment:
    assignment = engine.next_assignment()
    assert assignment is not None
    return assignment


def end(engine: SearchEngine, place: SearchPlace, number: int, score: float) -> None:
    place.clock.advance(1)
    assert not engine.report(StepReport(number, 1, {"score": score}, done=True, seconds=1.0))


@pytest.fixture
def place(tmp_path: Path) -> SearchPlace:
    return SearchPlace(tmp_path)


def test_a_restored_engine_goes_on_as_the_first_one_whatever_order_trials_ended_in(
    place: SearchPlace,
) -> None:
    engine = make_engine(place, budget={"trials": 20})
    for _ in range(3):
        take(engine)
    for number, score in ((2, 0.3), (0, 0.9), (1, 0.1)):
        end(engine, place, number, score)
    restored = make_engine(place, budget={"trials": 20})
    assert restored.trials == engine.trials
    assert take(restored).candidate == take(engine).candidate


def test_no_two_trials_at_once_have_the_same_candidate(place: SearchPlace) -> None:
    engine = make_engine(place, budget={"trials": 30})
    taken = [take(engine) for _ in range(3)]
    for number in range(3):
        end(engine, place, number, 1.0)
    taken += [take(engine) for _ in range(10)]
    assert len({str(assignment.candidate) for assignment in taken}) == 13


def test_trials_that_run_are_waited_for_when_the_budget_is_given_out(place: SearchPlace) -> None:
    engine = make_engine(place, budget={"trials": 2})
    take(engine), take(engine)
    assert engine.next_assignment() is None
    assert not engine.finished()
    end(engine, place, 1, 0.5)
    assert not engine.finished()
    end(engine, place, 0, 0.4)
    assert engine.finished()
    assert engine.end_reason is EndReason.TRIALS


def test_a_trial_costs_what_its_workers_cost_wherever_they_were(place: SearchPlace) -> None:
    engine = make_engine(place)
    taken = engine.next_assignment(Workplace("spot", hourly_price=1.0))
    assert taken is not None
    number = taken.number
    engine.report(StepReport(number, 1, {"score": 0.1}, False, 1800.0, checkpoint=b"one"))
    assert engine.trials[number].pool == "spot"
    place.clock.advance(900)
    engine.fail(number, Failure(kind=FailureKind.LOST, message="the node went"))
    assert engine.trials[number].cost == pytest.approx(0.75)
    # A restart in between loses nothing of it.
    engine = make_engine(place)
    assert engine.next_assignment(Workplace("safe", hourly_price=4.0)) is not None
    end(engine, place, number, 0.5)
    ended = engine.trials[number]
    assert (ended.pool, ended.seconds) == ("safe", 2701.0)
    assert ended.cost == pytest.approx(0.75 + 4.0 / 3600)


def test_a_trial_of_no_pool_has_no_cost(place: SearchPlace) -> None:
    engine = make_engine(place)
    end(engine, place, take(engine).number, 0.5)
    assert (engine.trials[0].pool, engine.trials[0].cost) == (None, None)


def test_a_crashed_trial_is_given_out_again_from_its_checkpoint(place: SearchPlace) -> None:
    engine = make_engine(place)
    number = take(engine).number
    engine.report(StepReport(number, 1, {"score": 0.1}, False, 1.0, checkpoint=b"one"))
    engine.fail(number, Failure(kind=FailureKind.CRASH, message="killed"))
    again = take(engine)
    assert (again.number, again.start_step, again.checkpoint) == (number, 1, b"one")


def test_time_that_is_up_drops_trials_that_outlive_a_reached_goal(place: SearchPlace) -> None:
    engine = make_engine(place, budget={"time": "10s"}, stop={"goal": 0.5})
    take(engine), take(engine)
    end(engine, place, 0, 0.9)
    assert engine.finished()
    assert not engine.should_stop()  # the other trial may end
    place.clock.advance(10)
    assert engine.should_stop()
    assert engine.end_reason is EndReason.GOAL
    engine.close()
    assert engine.trials[1].state is TrialState.PENDING
