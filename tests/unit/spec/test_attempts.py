"""What attempts tell of a job, whoever looks at them and however often."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from strandline.spec.actions import JobState, JobView
from strandline.spec.attempts import LONG_RUN, Attempt, job_name, next_attempt, view_attempts

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
UID = "3f2a9c1b-77aa-4c1e-9d43-5c0f6d1c2b11"


def failed(number: int, **fields: Any) -> Attempt:
    times = {"started_at": NOON, "ended_at": NOON + timedelta(seconds=5)}
    return Attempt(number, 1, **{"ended": True, "exit_code": 1, **times, **fields})


def test_an_object_without_attempts_has_no_job() -> None:
    assert view_attempts([]) == JobView()
    assert next_attempt([], 1) == (1, 0)


def test_an_attempt_that_has_not_ended_is_the_job_whatever_came_after_it() -> None:
    seen = view_attempts([failed(1), Attempt(2, 1, waiting=("Unschedulable", "no node"))])
    assert seen == JobView(JobState.RUNNING, 1, waiting=("Unschedulable", "no node"))
    assert view_attempts([Attempt(1, 1), failed(2)]).state is JobState.RUNNING


def test_bad_ends_in_a_row_are_counted_over_attempts() -> None:
    assert view_attempts([failed(1)]).failures == 1
    assert next_attempt([failed(1)], 1) == (2, 1)
    assert view_attempts([failed(1), failed(2, failures_before=1)]).failures == 2


def test_a_long_run_starts_the_count_anew() -> None:
    long = failed(4, failures_before=3, ended_at=NOON + LONG_RUN)
    assert view_attempts([long]).failures == 1
    assert next_attempt([long], 1) == (5, 1)


def test_a_new_spec_starts_the_count_anew() -> None:
    assert next_attempt([failed(3, failures_before=2)], 2) == (4, 0)


def test_losing_its_place_is_no_failure() -> None:
    evicted = failed(2, failures_before=1, preempted=True, exit_code=None)
    assert view_attempts([evicted]).failures == 1
    assert next_attempt([evicted], 1) == (3, 1)


def test_an_attempt_that_was_stopped_leaves_nothing_to_judge() -> None:
    stopped = failed(1, stopped=True)
    assert view_attempts([stopped]) == JobView()
    assert next_attempt([stopped], 1) == (2, 0)


def test_names_of_attempts_differ_and_are_dns_labels() -> None:
    assert job_name("Search", "coast", UID, 2) == "search-coast-3f2a9c1b-2"
    names = {job_name("Search", "c" * 63, UID, n, longest=47) for n in range(1, 101)}
    assert len(names) == 100
    for name in names:
        assert len(name) <= 47
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name)
