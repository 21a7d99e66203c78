from __future__ import annotations

from datetime import UTC, datetime

import pytest

from strandline.adapters.kube.election import ElectionSettings, LeaseView, next_spec
from strandline.spec.errors import InvalidSpecError
from strandline.testing.fake_clock import FakeClock

NOW = datetime(2026, 1, 1, 12, 0, 0, 5, tzinfo=UTC)


def held_by(holder: str, renewed: str = "2026-01-01T00:00:00.000000Z") -> dict[str, object]:
    return {"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": renewed}


def test_a_lease_of_another_may_be_taken_when_it_did_not_change_for_its_duration() -> None:
    clock = FakeClock()
    view = LeaseView("me", clock)
    view.note(held_by("other"))
    clock.advance(14.9)
    view.note(held_by("other"))
    assert not view.may_take()
    clock.advance(0.1)
    assert view.may_take()


def test_a_renewal_starts_the_time_anew_whatever_the_holders_clock_says() -> None:
    clock = FakeClock()
    view = LeaseView("me", clock)
    view.note(held_by("other", "1999-01-01T00:00:00.000000Z"))
    clock.advance(14.0)
    view.note(held_by("other", "1999-01-01T00:00:02.000000Z"))
    clock.advance(14.0)
    assert not view.may_take()


@pytest.mark.parametrize("holder", ["", "me"])
def test_a_lease_that_is_free_or_ours_may_be_taken_at_once(holder: str) -> None:
    view = LeaseView("me", FakeClock())
    view.note(held_by(holder))
    assert view.may_take()


def test_taking_over_counts_a_transition_and_renewing_keeps_when_it_began() -> None:
    taken = next_spec(held_by("other") | {"leaseTransitions": 3}, "me", 15, NOW)
    assert taken["leaseTransitions"] == 4
    assert taken["acquireTime"] == taken["renewTime"] == "2026-01-01T12:00:00.000005Z"
    renewed = next_spec(taken, "me", 15, NOW.replace(second=30))
    assert renewed["leaseTransitions"] == 4
    assert renewed["acquireTime"] == taken["acquireTime"]
    assert renewed["renewTime"] == "2026-01-01T12:00:30.000005Z"


def test_settings_under_which_two_could_lead_are_refused() -> None:
    with pytest.raises(InvalidSpecError, match="must last longer"):
        ElectionSettings(lease_seconds=10, renew_deadline_seconds=10.0)
