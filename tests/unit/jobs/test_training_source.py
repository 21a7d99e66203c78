"""The one trial of a Training: every epoch is kept, and no failure is final."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from strandline.jobs.search_journal import CatalogJournal
from strandline.jobs.training_source import TrainingSource
from strandline.ports import Assignment, Resources, StepReport, Workplace
from strandline.spec.records import Failure, FailureKind, Trial, TrialState
from strandline.testing.inline_runner import InlineRunner
from strandline.testing.searches import CurveTrials, PowerCut, SearchPlace, cut_off_after

EPOCHS = 4
CRASH = Failure(kind=FailureKind.CRASH, message="the worker process died")


@pytest.fixture
def place(tmp_path: Path) -> SearchPlace:
    return SearchPlace(tmp_path)


def make_source(
    place: SearchPlace, seen: list[Trial] | None = None, **ports: Any
) -> TrainingSource:
    given = {"catalog": place.catalog, "store": place.store, **ports}
    return TrainingSource(
        "training-1/abc",
        {"x": 0.5},
        CatalogJournal("training-1/abc", given["catalog"], given["store"]),
        place.clock,
        stop_requested=lambda: False,
        on_epoch=(seen if seen is not None else []).append,
    )


def run(place: SearchPlace, source: TrainingSource) -> None:
    trials = CurveTrials(place.clock, steps=EPOCHS)
    try:
        InlineRunner().run(source, trials, Resources(), 1)
    finally:
        source.close()


def report(step: int, value: float = 0.5) -> StepReport:
    return StepReport(0, step, {"score": value}, step == EPOCHS, 1.0, b"weights")


def test_every_epoch_is_told_and_kept(place: SearchPlace) -> None:
    seen: list[Trial] = []
    source = make_source(place, seen)
    run(place, source)
    assert source.complete
    assert [trial.step for trial in seen] == [1, 2, 3, 4]
    assert seen[-1].state is TrialState.COMPLETED
    assert source.checkpoint() is not None
    assert [step for step, _ in place.catalog.list_metrics("training-1/abc", 0)] == [1, 2, 3, 4]


def test_a_training_cut_off_at_any_write_ends_like_an_undisturbed_one(tmp_path: Path) -> None:
    def checkpoint_after(allowed: int | None) -> tuple[bytes | None, dict[str, float]]:
        folder = tmp_path / str(allowed)
        folder.mkdir()
        place = SearchPlace(folder)
        if allowed is not None:
            with suppress(PowerCut):
                run(place, make_source(place, **cut_off_after(place, allowed)))
        source = make_source(place)
        run(place, source)
        place.catalog.close()
        return source.checkpoint(), dict(source.trial.metrics)

    calm = checkpoint_after(None)
    for allowed in range(24):
        assert checkpoint_after(allowed) == calm, f"cut off after {allowed} writes"


def test_a_worker_that_died_goes_on_from_the_last_epoch(place: SearchPlace) -> None:
    source = make_source(place)
    assert source.next_assignment() == Assignment(0, {"x": 0.5}, 0, None)
    source.report(report(1))
    source.fail(0, CRASH)
    assert source.next_assignment() == Assignment(0, {"x": 0.5}, 1, b"weights")
    assert not source.finished()


def test_a_worker_that_dies_again_and_again_ends_the_run_but_not_the_training(
    place: SearchPlace,
) -> None:
    source = make_source(place)
    source.next_assignment()
    source.report(report(1))
    for _ in range(3):
        assert not source.finished()
        source.fail(0, CRASH)
        source.next_assignment()
    assert source.finished()
    assert source.trial.state is TrialState.FAILED
    again = make_source(place)
    assert again.next_assignment() == Assignment(0, {"x": 0.5}, 1, b"weights")
    assert again.trial.failure is None


def test_what_its_workers_cost_is_added_up_over_runs(place: SearchPlace) -> None:
    source = make_source(place)
    source.workers_changed(2, 4)
    source.next_assignment(Workplace("l4", hourly_price=0.9))
    source.report(report(1))
    source.close()
    assert source.trial.pool == "l4"
    cost = source.trial.seconds * 4 / 3600 * 0.9
    assert source.trial.cost == pytest.approx(cost)
    again = make_source(place)
    again.next_assignment(Workplace("free", hourly_price=0.0))
    again.report(report(2))
    assert again.trial.pool == "free"
    assert again.trial.cost == pytest.approx(cost)


def test_deaths_with_epochs_in_between_end_nothing(place: SearchPlace) -> None:
    source = make_source(place)
    for epoch in range(1, EPOCHS):
        source.next_assignment()
        source.report(report(epoch))
        source.fail(0, CRASH)
        assert not source.finished()


@pytest.mark.parametrize("kind", [FailureKind.OUT_OF_MEMORY, FailureKind.TIMEOUT])
def test_what_would_only_happen_again_ends_the_run(place: SearchPlace, kind: FailureKind) -> None:
    source = make_source(place)
    source.next_assignment()
    source.fail(0, Failure(kind=kind, message="it did"))
    assert source.finished()
    assert source.trial.failure is not None


def test_a_loss_that_is_no_number_ends_the_run_before_it_is_kept(place: SearchPlace) -> None:
    source = make_source(place)
    source.next_assignment()
    source.report(report(1))
    assert not source.report(report(2, float("nan")))
    assert source.finished()
    failure = source.trial.failure
    assert failure is not None
    assert failure.kind is FailureKind.NOT_A_NUMBER
    assert make_source(place).next_assignment() == Assignment(0, {"x": 0.5}, 1, b"weights")


def test_a_stopped_training_waits(place: SearchPlace) -> None:
    source = make_source(place)
    source.next_assignment()
    source.report(report(1))
    source.close()
    assert source.trial.state is TrialState.PENDING
    assert not source.complete
