"""A catalog or store that stays away for a while costs a search nothing but time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from strandline.jobs.search import SearchOutcome
from strandline.jobs.search_journal import Patience
from strandline.spec.errors import ConflictError, UnavailableError
from strandline.testing.fake_clock import FakeClock
from strandline.testing.outages import Flaky, Outage
from strandline.testing.searches import CurveTrials, SearchPlace, make_search_spec


@pytest.fixture
def place(tmp_path: Path) -> SearchPlace:
    return SearchPlace(tmp_path)


def run(
    place: SearchPlace, every: int, seconds: float, patience: float = 120.0, **more: Any
) -> SearchOutcome:
    outage = Outage(place.clock, every, seconds)
    return place.run(
        make_search_spec(budget={"trials": 20}, earlyStopping={"name": "asha"}),
        CurveTrials(place.clock, steps=3),
        catalog=Flaky(place.catalog, outage),
        store=Flaky(place.store, outage),
        patience=Patience(place.clock, patience, place.clock.advance),
        **more,
    )


def tell(outcome: SearchOutcome) -> list[Any]:
    return [(t.candidate, t.state, t.step, t.metrics) for t in outcome.trials]


@pytest.fixture
def calm(tmp_path: Path) -> SearchOutcome:
    (tmp_path / "calm").mkdir()
    calm = SearchPlace(tmp_path / "calm")
    return run(calm, every=10**9, seconds=0.0)


@pytest.mark.parametrize("every", [7, 23, 60])
def test_a_search_waits_for_lost_connections_and_ends_like_an_undisturbed_one(
    place: SearchPlace, calm: SearchOutcome, every: int
) -> None:
    outcome = run(place, every, seconds=50.0)
    assert tell(outcome) == tell(calm)
    assert place.clock.monotonic() > 60 + 50


def test_a_connection_that_stays_away_ends_the_search_and_nothing_is_lost(
    place: SearchPlace, calm: SearchOutcome
) -> None:
    for _ in range(6):
        with pytest.raises(UnavailableError):
            run(place, every=31, seconds=500.0)
        place.clock.advance(1000)
    assert tell(run(place, every=10**9, seconds=0.0)) == tell(calm)


def test_who_wants_to_stop_does_not_wait(place: SearchPlace) -> None:
    hurried = Patience(place.clock, 600.0, place.clock.advance, hurried=lambda: True)

    def fail() -> None:
        raise UnavailableError("gone")

    with pytest.raises(UnavailableError):
        hurried(fail)
    assert place.clock.monotonic() == 0.0


def test_pauses_grow_and_the_last_error_is_told() -> None:
    clock = FakeClock()
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        clock.advance(seconds)

    def fail() -> None:
        raise ConflictError(f"try {len(pauses)}")

    with pytest.raises(ConflictError, match="try 7"):
        Patience(clock, 60.0, sleep)(fail)
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0]
