"""What is decided besides where jobs are pods: waiting, losing a place, pools."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from strandline.control.backoff import FIRST_DELAY_SECONDS
from strandline.control.placement import LOOK_SECONDS, UNSATISFIABLE, WAITING
from strandline.control.reconcile import reconcile
from strandline.ports import Resource
from strandline.spec.actions import (
    Action,
    DatasetView,
    JobState,
    JobView,
    LookAgain,
    Observed,
    PoolView,
    StartJob,
    WriteStatus,
)
from strandline.spec.conditions import (
    RECONCILING,
    TAKEN_UP,
    WAITING_FOR_WORKERS,
    Why,
    get_condition,
    mark_working,
)
from strandline.spec.records import DatasetVersion, Task

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
DIGEST = "sha256:" + "0" * 64
VERSION = DatasetVersion(
    dataset="coast",
    version=1,
    digest=DIGEST,
    task=Task.MULTICLASS,
    labels=("a", "b"),
    items_object=DIGEST,
    items=2,
    labeled=2,
    created_at=NOON,
)
READY = DatasetView(0, {}, (VERSION,))


def search(status: dict[str, Any] | None = None, **spec: Any) -> Resource:
    full = {"dataset": {"name": "coast"}, **spec}
    return Resource("Search", "a", "uid", 1, 1, {}, {}, full, status or {}, NOON)


def working(reason: str) -> dict[str, Any]:
    return mark_working({}, Why(reason, "A sentence.", 1, NOON))


def seen(job: JobView, **fields: Any) -> Observed:
    return Observed(now=NOON, job=job, dataset=READY, **fields)


def reason_of(actions: tuple[Action, ...]) -> tuple[str, str]:
    (status,) = [action.status for action in actions if isinstance(action, WriteStatus)]
    condition = get_condition(status, RECONCILING)
    assert condition is not None
    return condition["reason"], condition["message"]


RUNNING = JobView(JobState.RUNNING, 1)
STUCK = replace(RUNNING, waiting=("Unschedulable", "0/3 nodes are available."))


def test_why_a_started_job_does_not_run_is_told_once() -> None:
    actions = reconcile(search(working("Searching")), seen(STUCK))
    assert reason_of(actions) == ("Unschedulable", "0/3 nodes are available.")
    (write,) = actions
    assert isinstance(write, WriteStatus)
    assert reconcile(search(dict(write.status)), seen(STUCK)) == ()


def test_a_job_that_may_say_nothing_is_looked_at_again_and_again() -> None:
    for job in (RUNNING, STUCK):
        silent = replace(job, look_seconds=7.0)
        first = reconcile(search(working("SpecTakenUp")), seen(silent))
        assert LookAgain(7.0) in first
        (status,) = [each.status for each in first if isinstance(each, WriteStatus)] or [
            working("SpecTakenUp")
        ]
        assert reconcile(search(dict(status)), seen(silent)) == (LookAgain(7.0),)


def test_what_a_job_waited_for_is_no_longer_told_when_it_runs() -> None:
    actions = reconcile(search(working("Unschedulable")), seen(RUNNING))
    assert reason_of(actions)[0] == "Searching"
    for said in ("Searching", TAKEN_UP, WAITING_FOR_WORKERS, "SpecChanged"):
        assert reconcile(search(working(said)), seen(RUNNING)) == ()


def test_a_job_whose_place_was_taken_starts_again_soon_and_has_not_failed() -> None:
    lost = JobView(JobState.ENDED, 1, None, 5, NOON, preempted=True)
    waits = reconcile(search(), seen(lost))
    assert reason_of(waits)[0] == "Preempted"
    assert waits[-1] == LookAgain(FIRST_DELAY_SECONDS)
    later = replace(seen(lost), now=NOON + timedelta(seconds=FIRST_DELAY_SECONDS))
    assert reconcile(search(), later)[-1] == StartJob(1)


GPU = {"accelerator": {"kind": "gpu"}}
FREE = PoolView("l4", GPU, capacity=4, available=2)
ON_L4: Any = {"pools": [{"name": "l4"}]}
NO_JOB = JobView()


def test_a_search_starts_on_the_pool_that_has_room() -> None:
    actions = reconcile(search(**ON_L4), seen(NO_JOB, pools={"l4": FREE}))
    start = actions[-1]
    assert isinstance(start, StartJob)
    assert [share.name for share in start.placement.pools] == ["l4"]


def test_a_search_without_a_pool_waits_with_the_reason_and_looks_again() -> None:
    none = reconcile(search(**ON_L4), seen(NO_JOB, pools={}))
    assert reason_of(none)[0] == UNSATISFIABLE
    assert none[-1] == LookAgain(LOOK_SECONDS)
    full = reconcile(search(**ON_L4), seen(NO_JOB, pools={"l4": replace(FREE, available=0)}))
    assert reason_of(full)[0] == WAITING


def test_a_search_that_runs_keeps_its_place_whatever_becomes_of_the_pool() -> None:
    assert reconcile(search(working("Searching"), **ON_L4), seen(RUNNING, pools={})) == ()


def test_pools_mean_nothing_on_a_laptop() -> None:
    assert reconcile(search(**ON_L4), seen(NO_JOB))[-1] == StartJob(1)
