"""However a job ends, its object's status tells the truth, and who goes on is clear."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from strandline.adapters.clock import SystemClock
from strandline.adapters.sql import open_catalog
from strandline.control.reconcile import reconcile
from strandline.jobs.object_job import Finished, run_object_job
from strandline.jobs.status import change_status
from strandline.ports import Catalog, Resource
from strandline.spec.actions import JobState, JobView, Observed, StartJob
from strandline.spec.conditions import (
    TAKEN_UP,
    Why,
    get_condition,
    is_settled,
    is_true,
    mark_working,
)
from strandline.spec.errors import (
    ConflictError,
    InterruptedRunError,
    NotFoundError,
    UnavailableError,
    UnusableDataError,
)

SPEC = {"source": {"uri": "x"}}
CLOCK = SystemClock()


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    made = open_catalog(f"sqlite:///{tmp_path / 'catalog.sqlite'}")
    made.apply_resource("Dataset", "coast", SPEC)
    return made


def run(catalog: Catalog, body: Callable[[Resource], Finished], foreground: bool = False) -> None:
    run_object_job(catalog, CLOCK, "Dataset", "coast", body, foreground)


def fail(error: BaseException) -> Callable[[Resource], Finished]:
    def body(resource: Resource) -> Finished:
        raise error

    return body


def status(catalog: Catalog) -> Any:
    return catalog.get_resource("Dataset", "coast").status


def starts_again(catalog: Catalog) -> bool:
    """Tell whether the agent, coming by later, would run the job again."""
    seen = Observed(CLOCK.now(), JobView(JobState.NONE))
    actions = reconcile(catalog.get_resource("Dataset", "coast"), seen)
    return any(isinstance(each, StartJob) for each in actions)


def test_an_object_is_working_while_its_job_runs_and_ready_after(catalog: Catalog) -> None:
    def body(resource: Resource) -> Finished:
        assert is_true(status(catalog), "Reconciling", 1)
        return Finished("Imported", "12 images.", {"items": 12})

    run(catalog, body)
    assert status(catalog)["items"] == 12
    assert is_settled(status(catalog), 1)
    assert not starts_again(catalog)


@pytest.mark.parametrize("foreground", [True, False])
def test_trouble_that_stays_is_a_failure_with_its_reason(
    catalog: Catalog, foreground: bool
) -> None:
    with pytest.raises(UnusableDataError):
        run(catalog, fail(UnusableDataError("no image decodes")), foreground)
    ready = get_condition(status(catalog), "Ready")
    assert ready is not None
    assert (ready["reason"], ready["message"]) == ("UnusableData", "no image decodes")
    assert is_true(status(catalog), "Failed", 1)
    assert not starts_again(catalog)


@pytest.mark.parametrize("error", [InterruptedRunError("x"), UnavailableError("x")])
def test_trouble_that_may_pass_is_taken_up_again_by_the_agent(
    catalog: Catalog, error: Exception
) -> None:
    with pytest.raises(type(error)):
        run(catalog, fail(error))
    assert starts_again(catalog)


@pytest.mark.parametrize("error", [InterruptedRunError("x"), KeyboardInterrupt()])
def test_what_a_person_stopped_waits_for_that_person(
    catalog: Catalog, error: BaseException
) -> None:
    with pytest.raises(type(error)):
        run(catalog, fail(error), foreground=True)
    assert is_true(status(catalog), "Suspended", 1)
    assert not starts_again(catalog)
    run(catalog, lambda resource: Finished("Imported", "Now it is."), foreground=True)
    assert is_settled(status(catalog), 1)


def test_a_spec_that_changed_meanwhile_is_not_called_done(catalog: Catalog) -> None:
    def body(resource: Resource) -> Finished:
        catalog.apply_resource("Dataset", "coast", {"source": {"uri": "y"}})
        return Finished("Imported", "The old one.")

    run(catalog, body)
    assert not is_settled(status(catalog), 2)
    assert starts_again(catalog)


def test_an_object_deleted_meanwhile_hides_no_error(catalog: Catalog) -> None:
    def body(resource: Resource) -> Finished:
        catalog.delete_resource("Dataset", "coast")
        raise UnusableDataError("no image decodes")

    with pytest.raises(UnusableDataError):
        run(catalog, body)
    with pytest.raises(NotFoundError):
        run(catalog, body)


def test_a_status_that_others_change_too_loses_nothing(catalog: Catalog) -> None:
    interfered: list[bool] = []

    def change(resource: Resource) -> Any:
        if not interfered:
            interfered.append(True)
            catalog.update_status("Dataset", "coast", {**resource.status, "theirs": 1})
        return mark_working({**resource.status, "ours": 2}, Why("X", "m", 1, CLOCK.now()))

    written = change_status(catalog, "Dataset", "coast", change)
    assert (written.status["theirs"], written.status["ours"]) == (1, 2)


def test_a_status_that_never_rests_is_given_up(catalog: Catalog) -> None:
    def change(resource: Resource) -> Any:
        catalog.update_status("Dataset", "coast", {"n": resource.resource_version})
        return {}

    with pytest.raises(ConflictError):
        change_status(catalog, "Dataset", "coast", change)


def test_a_job_that_took_up_an_edit_has_fulfilled_the_edited_spec(catalog: Catalog) -> None:
    def take_up(resource: Resource) -> Finished:
        edited, _ = catalog.apply_resource("Dataset", "coast", {"source": {"uri": "y"}})
        why = Why(TAKEN_UP, "It goes on.", edited.generation, CLOCK.now())
        change_status(catalog, "Dataset", "coast", lambda r: mark_working(r.status, why))
        return Finished("Imported", "All is there.")

    run(catalog, take_up)
    assert is_settled(status(catalog), 2)
    assert not starts_again(catalog)


def test_an_edit_that_nobody_took_up_is_still_to_be_done(catalog: Catalog) -> None:
    def overlook(resource: Resource) -> Finished:
        catalog.apply_resource("Dataset", "coast", {"source": {"uri": "y"}})
        return Finished("Imported", "All is there.")

    run(catalog, overlook)
    assert not is_settled(status(catalog), 2)
    assert starts_again(catalog)
