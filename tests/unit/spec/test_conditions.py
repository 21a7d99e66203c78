"""Conditions follow metav1 and kstatus, so that kubectl and its like can wait on them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from strandline.spec.conditions import (
    Why,
    drop_conditions,
    get_condition,
    is_settled,
    is_true,
    mark_done,
    mark_failed,
    mark_suspended,
    mark_working,
    set_condition,
)
from strandline.spec.v1alpha1 import SearchStatus

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def why(generation: int = 1, minutes: int = 0, reason: str = "Because") -> Why:
    return Why(reason, "A sentence.", generation, NOON + timedelta(minutes=minutes))


def kstatus(status: dict[str, Any], generation: int) -> str:
    """Return what kstatus makes of it (cli-utils, pkg/kstatus/status/core.go, generic)."""
    if status.get("observedGeneration", generation) != generation:
        return "InProgress"
    if is_true(status, "Reconciling"):
        return "InProgress"
    if is_true(status, "Stalled"):
        return "Failed"
    ready = get_condition(status, "Ready")
    if ready is None or ready["status"] == "True":
        return "Current"
    return "InProgress"


@pytest.mark.parametrize(
    ("mark", "expected"),
    [
        (mark_working, "InProgress"),
        (mark_done, "Current"),
        (mark_failed, "Failed"),
        (mark_suspended, "InProgress"),
    ],
)
def test_kstatus_reads_every_state_from_every_other(mark: Any, expected: str) -> None:
    for before in (mark_working, mark_done, mark_failed, mark_suspended):
        status = mark(before({}, why()), why(2, 5))
        assert kstatus(status, 2) == expected
        assert kstatus(status, 3) == "InProgress"


def test_the_transition_time_changes_with_the_value_only() -> None:
    first = mark_working({}, why(minutes=0))
    later = mark_working(first, why(minutes=5, reason="Other"))
    ready = get_condition(later, "Ready")
    assert ready is not None
    assert ready["lastTransitionTime"] == "2026-01-31T12:00:00Z"
    assert ready["reason"] == "Other"
    done = get_condition(mark_done(later, why(minutes=9)), "Ready")
    assert done is not None
    assert done["lastTransitionTime"] == "2026-01-31T12:09:00Z"


def test_a_status_is_never_changed_in_place() -> None:
    before = mark_working({"trials": {"running": 1}}, why())
    copy = {**before, "conditions": [dict(each) for each in before["conditions"]]}
    mark_done(before, why(2, 1))
    assert before == copy


def test_other_fields_of_a_status_stay() -> None:
    assert mark_failed({"trials": {"failed": 3}}, why())["trials"] == {"failed": 3}


def test_only_a_condition_about_this_generation_settles() -> None:
    assert is_settled(mark_done({}, why(1)), 1)
    assert is_settled(mark_failed({}, why(1)), 1)
    assert not is_settled(mark_done({}, why(1)), 2)
    assert not is_settled(mark_working(mark_done({}, why(1)), why(1)), 1)
    assert not is_settled({}, 1)


def test_marked_statuses_fit_the_schema_of_the_kind() -> None:
    for mark in (mark_working, mark_done, mark_failed, mark_suspended):
        SearchStatus.model_validate(mark({}, why()))


def test_unknown_is_a_value_and_a_long_message_is_cut() -> None:
    status = set_condition({}, "Ready", None, Why("X", "m" * 10_000, 1, NOON))
    assert status["conditions"][0]["status"] == "Unknown"
    assert len(status["conditions"][0]["message"]) == 4096
    assert drop_conditions(status, ["Ready"])["conditions"] == []
