"""A catalog or store that stays away for a while costs a search nothing but time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from strandline.jobs.search import SearchOutcome
from strandline.jobs.search_journal import Patience
from strandline.spec.errors import ConflictError, UnavailableError
from strandline.testing.fake_clock import FakeClock
from strandline.testing.searches import CurveTrials, SearchPlace, make_search_spec


class Flaky:
    """Stands before a port; at chosen calls the connection is lost for a while.

    A lost call may have been carried out, with only its answer lost.
    """

    def __init__(self, port: Any, clock: FakeClock, calls: list[int], outage: Outage) -> None:
        self._port, self._clock, self._calls, self._outage = port, clock, calls, outage

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._port, name)
        if not callable(attribute):
            return attribute

        def call(*values: Any, **named: Any) -> Any:
            now = self._clock.monotonic()
            if now < self._outage.until:
                raise UnavailableError("the connection is lost")
            self._calls[0] += 1
            if self._calls[0] % self._outage.every == 0:
                self._outage.until = now + self._outage.seconds
                if self._calls[0] % (2 * self._outage.every) == 0:
                    attribute(*values, **named)
                raise UnavailableError("the connection is lost")
            return attribute(*values, **named)

        return call


class Outage:
    def __init__(self, every: int, seconds: float) -> None:
        self.every, self.seconds, self.until = every, seconds, 0.0


@pytest.fixture
def place(tmp_path: Path) -> SearchPlace:
    return SearchPlace(tmp_path)


def run(place: SearchPlace, outage: Outage, patience: float = 120.0, **more: Any) -> SearchOutcome:
    calls = [0]
    return place.run(
        make_search_spec(budget={"trials": 20}, earlyStopping={"name": "asha"}),
        CurveTrials(place.clock, steps=3),
        catalog=Flaky(place.catalog, place.clock, calls, outage),
        store=Flaky(place.store, place.clock, calls, outage),
        patience=Patience(place.clock, patience, place.clock.advance),
        **more,
    )


def tell(outcome: SearchOutcome) -> list[Any]:
    return [(t.candidate, t.state, t.step, t.metrics) for t in outcome.trials]


@pytest.fixture
def calm(tmp_path: Path) -> SearchOutcome:
    (tmp_path / "calm").mkdir()
    calm = SearchPlace(tmp_path / "calm")
    return run(calm, Outage(every=10**9, seconds=0.0))


@pytest.mark.parametrize("every", [7, 23, 60])
def test_a_search_waits_for_lost_connections_and_ends_like_an_undisturbed_one(
    place: SearchPlace, calm: SearchOutcome, every: int
) -> None:
    outcome = run(place, Outage(every, seconds=50.0))
    assert tell(outcome) == tell(calm)
    assert place.clock.monotonic() > 60 + 50


def test_a_connection_that_stays_away_ends_the_search_and_nothing_is_lost(
    place: SearchPlace, calm: SearchOutcome
) -> None:
    for _ in range(6):
        with pytest.raises(UnavailableError):
            run(place, Outage(every=31, seconds=500.0))
        place.clock.advance(1000)
    assert tell(run(place, Outage(every=10**9, seconds=0.0))) == tell(calm)


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
