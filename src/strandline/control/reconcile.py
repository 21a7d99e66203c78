"""Decide what brings an object closer to its spec: pure, the same on laptop and cluster.

`reconcile` looks at one object and what was observed about it, and returns the actions to
take now. Calling it again after they were taken returns nothing new, however often it is
called and whenever its caller was killed: all memory is in the status and the job's view.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from strandline.control.backoff import (
    FIRST_DELAY_SECONDS,
    MAX_FAILURES,
    delay_seconds,
    describe_exit,
    permanent_reason,
)
from strandline.control.followed import followed_status
from strandline.control.placement import Unplaced, place
from strandline.ports import Resource
from strandline.spec.actions import (
    ANYWHERE,
    Action,
    DatasetView,
    JobState,
    LookAgain,
    Observed,
    Placement,
    SearchView,
    StartJob,
    StopJob,
    WriteStatus,
)
from strandline.spec.conditions import (
    COMPLETE,
    INTERRUPTED,
    RECONCILING,
    STALLED,
    SUSPENDED,
    TAKEN_UP,
    WAITING_FOR_WORKERS,
    Why,
    get_condition,
    is_settled,
    is_taken_up,
    is_true,
    mark_done,
    mark_failed,
    mark_suspended,
    mark_working,
)

Actions = tuple[Action, ...]

_CHANGED = "SpecChanged"


def reconcile(resource: Resource, observed: Observed) -> Actions:
    """Return what to do about `resource` now; nothing when all is as it should be."""
    match resource.kind:
        case "Dataset":
            return _reconcile_dataset(resource, observed)
        case "Search":
            return _reconcile_learning(resource, observed, "Searching", "Trials are running.")
        case "Training":
            return _reconcile_learning(resource, observed, "Training", "The network learns.")
        case _:
            status = followed_status(resource, observed)
            return () if status is None else _write(resource, status)


def _reconcile_dataset(resource: Resource, observed: Observed) -> Actions:
    if is_settled(resource.status, resource.generation) or _is_interrupted(resource):
        return ()
    return _drive_job(resource, observed, "Importing", "The images are being imported.")


def _reconcile_learning(
    resource: Resource, observed: Observed, reason: str, message: str
) -> Actions:
    if is_settled(resource.status, resource.generation):
        return ()
    if resource.spec.get("suspend"):
        why = _why(resource, observed, "Suspended", "spec.suspend is true; its state is kept.")
        return _stop(observed) + _write(resource, mark_suspended(resource.status, why))
    if _is_interrupted(resource):
        return ()
    if observed.job.state is JobState.RUNNING:
        return _drive_job(resource, observed, reason, message)
    placement = _place(resource, observed)
    if isinstance(placement, Unplaced):
        why = _why(resource, observed, placement.reason, placement.message)
        look = () if placement.look_seconds is None else (LookAgain(placement.look_seconds),)
        return (*_write(resource, mark_working(resource.status, why)), *look)
    return _drive_job(resource, observed, reason, message, placement)


def _place(resource: Resource, observed: Observed) -> Placement | Unplaced:
    """Return where the job can start now, or why it cannot."""
    waiting = _waits_for(resource, observed)
    if waiting is not None:
        return Unplaced(*waiting, look_seconds=None)
    return place(resource, observed.pools)


def _waits_for(resource: Resource, observed: Observed) -> tuple[str, str] | None:
    """Return what has to be there first, as reason and sentence; None when all is."""
    missing = _missing_dataset(resource.spec["dataset"], observed.dataset)
    if missing:
        return "WaitingForDataset", missing
    cell = resource.spec.get("cell") or {}
    if (name := cell.get("search")) is None:
        return None
    unfinished = _unfinished_search(name, observed.search, cell.get("trial"))
    return ("WaitingForSearch", unfinished) if unfinished else None


def _unfinished_search(name: str, search: SearchView | None, trial: int | None) -> str | None:
    """Return why no cell can be taken from a search yet, None when one can."""
    if search is None:
        return f"There is no search {name} yet."
    if trial is not None or is_true(search.status, COMPLETE, search.generation):
        return None
    stalled = get_condition(search.status, STALLED)
    if stalled and is_true(search.status, STALLED, search.generation):
        return f"Search {name} failed: {stalled['message']}"
    return f"Search {name} has not ended yet."


def _drive_job(
    resource: Resource,
    observed: Observed,
    reason: str,
    message: str,
    placement: Placement = ANYWHERE,
) -> Actions:
    """Start, restart or give up the job of an object whose spec is not fulfilled."""
    job = observed.job
    working = mark_working(resource.status, _why(resource, observed, reason, message))
    if job.state is JobState.RUNNING:
        if job.generation in (None, resource.generation):
            return _tell_of_run(resource, observed, working)
        return _after_edit(resource, observed)
    start = StartJob(resource.generation, placement)
    if job.state is JobState.NONE or job.generation != resource.generation:
        return (*_write(resource, working), start)
    return _after_end(resource, observed, working, start)


def _tell_of_run(resource: Resource, observed: Observed, working: Mapping[str, Any]) -> Actions:
    """Say what a started job waits for, and that it works once it does.

    A job that works says so itself; what was said here meanwhile must not outlive it.
    """
    seconds = observed.job.look_seconds
    look = () if seconds is None else (LookAgain(seconds),)
    if observed.job.waiting is not None:
        why = _why(resource, observed, *observed.job.waiting)
        return (*_write(resource, mark_working(resource.status, why)), *look)
    said = get_condition(resource.status, RECONCILING)
    truth = get_condition(working, RECONCILING)
    assert truth is not None
    own = (TAKEN_UP, WAITING_FOR_WORKERS)  # what only the job knows
    if said is None or said["reason"] in (truth["reason"], *own, _CHANGED):
        return look
    return (*_write(resource, working), *look)


def _after_edit(resource: Resource, observed: Observed) -> Actions:
    """Decide about a job that runs for an older spec.

    A search looks at its spec itself: it goes on by the new one, or ends to be started again.
    """
    if resource.kind == "Search":
        if is_taken_up(resource.status, resource.generation):
            return ()
        changed = "The spec changed: the job takes that up, or stops and goes on with it."
        why = _why(resource, observed, _CHANGED, changed)
        return (*_write(resource, mark_working(resource.status, why)), LookAgain(1.0))
    changed = "The spec changed: the job stops, and goes on with the new one."
    why = _why(resource, observed, _CHANGED, changed)
    return (StopJob(), *_write(resource, mark_working(resource.status, why)), LookAgain(1.0))


def _after_end(
    resource: Resource, observed: Observed, working: Mapping[str, Any], start: StartJob
) -> Actions:
    """Decide after a job ended without having settled the status itself."""
    job = observed.job
    if job.exit_code == 0:
        why = _why(resource, observed, "JobSucceeded", "The job ended well.")
        return _write(resource, mark_done(resource.status, why))
    if job.preempted:
        text = "Its place was taken from it (evicted, drained or preempted)"
        return _start_after(
            resource, observed, working, start, FIRST_DELAY_SECONDS, "Preempted", text
        )
    ended = describe_exit(job.exit_code)
    said = f"; its last words: {job.last_words}" if job.last_words else ""
    if reason := permanent_reason(job.exit_code):
        why = _why(resource, observed, reason, f"The job failed: {ended}{said}")
        return _write(resource, mark_failed(resource.status, why))
    if job.failures >= MAX_FAILURES:
        text = f"The job ended badly {job.failures} times in a row; lastly {ended}{said}"
        why = _why(resource, observed, "BackoffLimitExceeded", text)
        return _write(resource, mark_failed(resource.status, why))
    text = f"The job failed: {ended}{said}"
    delay = delay_seconds(job.failures)
    return _start_after(resource, observed, working, start, delay, "BackingOff", text)


def _start_after(
    resource: Resource,
    observed: Observed,
    working: Mapping[str, Any],
    start: StartJob,
    delay_seconds: float,
    reason: str,
    text: str,
) -> Actions:
    """Start the job once it ended so long ago; until then say why it waits."""
    due = (observed.job.ended_at or observed.now) + timedelta(seconds=delay_seconds)
    if observed.now >= due:
        return (*_write(resource, working), start)
    why = _why(resource, observed, reason, f"{text}; it starts again at {due:%H:%M:%S} UTC")
    wait = LookAgain((due - observed.now).total_seconds())
    return (*_write(resource, mark_working(resource.status, why)), wait)


def _missing_dataset(reference: Mapping[str, Any], dataset: DatasetView | None) -> str | None:
    """Return why a search cannot start on its dataset yet, None when it can."""
    name, wanted = reference["name"], reference.get("version")
    if dataset is None:
        return f"There is no dataset {name} yet."
    numbers = [version.version for version in dataset.versions]
    if wanted is not None:
        return None if wanted in numbers else f"Dataset {name} has no version {wanted} yet."
    if numbers and (not dataset.status or is_settled(dataset.status, dataset.generation)):
        return None
    stalled = get_condition(dataset.status, STALLED)
    if stalled and is_true(dataset.status, STALLED, dataset.generation):
        return f"The import of dataset {name} failed: {stalled['message']}"
    return f"Dataset {name} is still being imported."


def _is_interrupted(resource: Resource) -> bool:
    condition = get_condition(resource.status, SUSPENDED)
    return (
        condition is not None
        and condition["reason"] == INTERRUPTED
        and is_true(resource.status, SUSPENDED, resource.generation)
    )


def _stop(observed: Observed) -> Actions:
    return (StopJob(),) if observed.job.state is JobState.RUNNING else ()


def _why(resource: Resource, observed: Observed, reason: str, message: str) -> Why:
    return Why(reason, message, resource.generation, observed.now)


def _write(resource: Resource, status: Mapping[str, Any]) -> Actions:
    return () if dict(resource.status) == dict(status) else (WriteStatus(status),)
