"""What the status of a running search tells, and how seldom it is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from strandline.jobs.search import SearchProgress
from strandline.jobs.search_status import FORECAST_SECONDS, REPORT_SECONDS, SearchReporter
from strandline.ports import Resource
from strandline.spec.lanes import NO_POOL, LaneGroup
from strandline.spec.records import Trial, TrialState
from strandline.spec.v1alpha1 import SearchStatus, to_document
from strandline.testing.catalog_contract import NOON
from strandline.testing.searches import SearchPlace, make_search_spec

PROGRESS = SearchProgress(None, None, {}, 60.0, None, "score")


@pytest.fixture
def place(tmp_path: Path) -> SearchPlace:
    return SearchPlace(tmp_path)


def make_search(place: SearchPlace, **spec: Any) -> Resource:
    made, _ = place.catalog.apply_resource("Search", "quick", to_document(make_search_spec(**spec)))
    return made


def end_trial(place: SearchPlace, search: Resource, number: int, score: float) -> None:
    place.catalog.record_trial(
        Trial(
            search=search.uid,
            number=number,
            state=TrialState.COMPLETED,
            candidate={"x": score},
            metrics={"score": score},
            step=1,
            seconds=36.0,
            ended_at=NOON,
        )
    )


def status(place: SearchPlace) -> SearchStatus:
    return SearchStatus.model_validate(place.catalog.get_resource("Search", "quick").status)


def test_counts_and_best_trial_of_a_running_search_are_in_its_status(place: SearchPlace) -> None:
    search = make_search(place)
    report = SearchReporter(place.catalog, place.clock, search)
    report(PROGRESS)
    assert status(place).best is None
    for number, score in enumerate((0.3, 0.9)):
        end_trial(place, search, number, score)
    place.clock.advance(REPORT_SECONDS)
    report(PROGRESS)
    told = status(place)
    assert told.progress == "2/4"
    assert told.trials is not None
    assert told.trials.completed == 2
    assert told.best is not None
    assert (told.best.number, told.best.value) == (1, 0.9)
    assert told.device_hours == 0.02


def test_workers_and_costs_are_told_by_pool(place: SearchPlace) -> None:
    search = make_search(place)
    groups = (
        LaneGroup("a100", 8, per_worker=8, hourly_price=2.0),
        LaneGroup("l4", 2, hourly_price=0.5),
        LaneGroup(NO_POOL, 1),
    )
    report = SearchReporter(place.catalog, place.clock, search, groups=groups)
    report(PROGRESS)
    assert status(place).cost is None
    for number, (pool, cost) in enumerate((("a100", 0.25), ("a100", 0.5), (None, None))):
        place.catalog.record_trial(
            Trial(
                search=search.uid,
                number=number,
                state=TrialState.RUNNING,
                candidate={"x": 0.5},
                pool=pool,
                cost=cost,
            )
        )
    place.clock.advance(REPORT_SECONDS)
    report(PROGRESS)
    told = status(place)
    assert [(use.name, use.workers, use.wanted) for use in told.pools] == [
        ("a100", 1, 1),
        ("l4", 0, 2),
    ]
    assert told.cost == 0.75


def test_the_status_is_written_once_in_a_while(place: SearchPlace) -> None:
    report = SearchReporter(place.catalog, place.clock, make_search(place))
    report(PROGRESS)
    before = place.catalog.get_resource("Search", "quick").resource_version
    for _ in range(9):
        place.clock.advance(REPORT_SECONDS / 10)
        report(PROGRESS)
    assert place.catalog.get_resource("Search", "quick").resource_version == before
    place.clock.advance(REPORT_SECONDS / 10)
    report(PROGRESS)
    assert place.catalog.get_resource("Search", "quick").resource_version > before


def test_where_it_will_get_to_is_told_once_that_can_be_told(place: SearchPlace) -> None:
    search = make_search(place, budget={"trials": 40})
    report = SearchReporter(place.catalog, place.clock, search)
    report(PROGRESS)
    assert status(place).forecast is None
    for number in range(20):
        end_trial(place, search, number, (number * 7 % 20) / 20)
    place.clock.advance(FORECAST_SECONDS)
    report(PROGRESS)
    forecast = status(place).forecast
    assert forecast is not None
    assert forecast.trials == 40
    assert forecast.low <= forecast.value <= forecast.high


def test_a_search_that_was_deleted_is_no_error_to_its_reporter(place: SearchPlace) -> None:
    told: list[SearchProgress] = []
    report = SearchReporter(place.catalog, place.clock, make_search(place), told.append)
    place.catalog.delete_resource("Search", "quick")
    report(PROGRESS)
    assert told == [PROGRESS]
