"""What a training says while it runs: epochs, workers, hours, and what it waits for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from strandline.jobs.training_status import TrainingReporter
from strandline.spec.conditions import RECONCILING, WAITING_FOR_WORKERS, get_condition
from strandline.spec.records import Trial
from strandline.spec.v1alpha1 import TrainingStatus
from strandline.testing.searches import SearchPlace

SPEC = {"dataset": {"name": "coast"}, "cell": {"search": "cells"}, "workers": 2}
EPOCH = Trial(search="u", number=0, candidate={}, step=3, metrics={"score": 0.5})


@pytest.fixture
def place(tmp_path: Path) -> SearchPlace:
    made = SearchPlace(tmp_path)
    made.catalog.apply_resource("Training", "t", SPEC)
    return made


def make_reporter(place: SearchPlace) -> TrainingReporter:
    resource = place.catalog.get_resource("Training", "t")
    return TrainingReporter(place.catalog, place.clock, resource, "score")


def status(place: SearchPlace) -> dict[str, Any]:
    found = dict(place.catalog.get_resource("Training", "t").status)
    TrainingStatus.model_validate(found)
    return found


def test_an_epoch_and_the_hours_of_all_devices_are_told(place: SearchPlace) -> None:
    reporter = make_reporter(place)
    reporter.workers_changed(2, "")
    reporter.epoch_over(EPOCH, device_seconds=7200)
    told = {"epoch": 3, "metric": "score", "value": 0.5, "workers": 2, "deviceHours": 2.0}
    assert status(place) == told


def test_what_it_cost_is_told_where_prices_are_known(place: SearchPlace) -> None:
    reporter = make_reporter(place)
    reporter.epoch_over(EPOCH, device_seconds=1800)
    assert "cost" not in status(place)
    reporter.epoch_over(EPOCH.model_copy(update={"cost": 1.25}), device_seconds=3600)
    assert status(place)["cost"] == 1.25


def test_hours_of_earlier_runs_are_added_up(place: SearchPlace) -> None:
    make_reporter(place).epoch_over(EPOCH, device_seconds=3600)
    again = make_reporter(place)
    again.epoch_over(EPOCH, device_seconds=1800)
    again.epoch_over(EPOCH, device_seconds=3600)
    assert status(place)["deviceHours"] == 2.0


def test_a_training_says_that_it_waits_for_workers_until_it_has_them(place: SearchPlace) -> None:
    reporter = make_reporter(place)
    reporter.workers_changed(0, "1 worker is there, and at least 2 must be.")
    waiting = get_condition(status(place), RECONCILING)
    assert waiting is not None
    assert waiting["reason"] == WAITING_FOR_WORKERS
    assert waiting["message"] == "1 worker is there, and at least 2 must be."
    assert status(place)["workers"] == 0
    reporter.workers_changed(2, "")
    working = get_condition(status(place), RECONCILING)
    assert working is not None
    assert working["reason"] == "Training"


def test_in_the_end_nobody_learns(place: SearchPlace) -> None:
    reporter = make_reporter(place)
    reporter.workers_changed(2, "")
    reporter.workers_left()
    assert "workers" not in status(place)
