"""Run the job of an object, and leave its status telling the truth, however the job ends.

The same edge serves the agent's jobs and the foreground commands; they differ in who goes
on after trouble. The agent starts its job again, so trouble that may pass leaves the
object unsettled. Nobody restarts a command that a person ran: it leaves the object held,
with the reason, until that person resumes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from strandline.jobs.status import change_status, with_fields
from strandline.ports import Catalog, Clock, Resource
from strandline.spec.conditions import (
    INTERRUPTED,
    Why,
    is_taken_up,
    mark_done,
    mark_failed,
    mark_suspended,
    mark_working,
)
from strandline.spec.errors import (
    ConflictError,
    InterruptedRunError,
    NotFoundError,
    StrandlineError,
    UnavailableError,
    outcome_of,
)

_MAY_PASS = (InterruptedRunError, UnavailableError, ConflictError)
_WORKING = {"Dataset": "Importing", "Search": "Searching", "Training": "Training"}


@dataclass(frozen=True, slots=True)
class Finished:
    """What a job that ended well says of its object.

    Attributes:
        reason: CamelCase word of the Ready condition.
        message: a sentence for people.
        fields: further fields of the status, by their names in the document; None removes one.
    """

    reason: str
    message: str
    fields: Mapping[str, Any] = field(default_factory=dict)


def run_object_job(
    catalog: Catalog,
    clock: Clock,
    kind: str,
    name: str,
    body: Callable[[Resource], Finished],
    foreground: bool = False,
) -> None:
    """Run `body` on the object as it is now and write its status before and after.

    Whatever `body` raises is raised again. The caller holds the object's run lock.

    Raises:
        NotFoundError: there is no such object.
    """
    resource = catalog.get_resource(kind, name)
    generation = resource.generation

    def why(reason: str, message: str) -> Why:
        return Why(reason, message, generation, clock.now())

    working = why(_WORKING.get(kind, "Running"), "The job runs.")
    change_status(catalog, kind, name, lambda r: mark_working(r.status, working))
    try:
        finished = body(resource)
    except StrandlineError as error:
        _note_trouble(catalog, resource, why, error, foreground)
        raise
    except KeyboardInterrupt:
        stopped = InterruptedRunError("It was stopped at once.")
        _note_trouble(catalog, resource, why, stopped, foreground)
        raise
    done = why(finished.reason, finished.message)

    def finish(now: Resource) -> Mapping[str, Any]:
        taken_up = is_taken_up(now.status, now.generation)
        told = replace(done, generation=now.generation) if taken_up else done
        return with_fields(mark_done(now.status, told), finished.fields)

    change_status(catalog, kind, name, finish)


def _note_trouble(
    catalog: Catalog,
    resource: Resource,
    why: Callable[[str, str], Why],
    error: StrandlineError,
    foreground: bool,
) -> None:
    passes = isinstance(error, _MAY_PASS)
    if passes and not foreground:
        return  # the agent stopped it, or starts it again
    reason = INTERRUPTED if passes else outcome_of(error).reason
    mark = mark_suspended if passes else mark_failed
    told = why(reason, str(error) or reason)
    try:
        change_status(catalog, resource.kind, resource.name, lambda r: mark(r.status, told))
    except NotFoundError:
        return  # deleted while it ran: nobody is left to be told
