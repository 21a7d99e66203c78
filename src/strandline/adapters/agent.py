"""Carry out what `control` decides about an object: the part that all agents share.

An agent observes, has it decided, and does it through a catalog and a `JobExecutor`. It
keeps nothing in memory that matters, so it may be killed after any write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from strandline.ports import Catalog, Clock, JobExecutor, Resource
from strandline.spec.actions import (
    Action,
    DatasetView,
    JobView,
    LookAgain,
    Observed,
    PoolView,
    SearchView,
    StartJob,
    StopJob,
    WriteStatus,
)
from strandline.spec.errors import NotFoundError
from strandline.spec.records import Event

Reconcile = Callable[[Resource, Observed], Sequence[Action]]
Say = Callable[[str], None]
Pools = Callable[[], Mapping[str, PoolView]]
Tell = Callable[[Resource, Event], None]

POLL_SECONDS = 1.0
MOMENT_SECONDS = 0.05


def list_all(catalog: Catalog, kind: str, after: str | None = None) -> Iterator[Resource]:
    """Iterate over the resources of a kind, those after name `after`, page by page."""
    while page := catalog.list_resources(kind, limit=500, after=after):
        yield from page
        after = page[-1].name


def observe(catalog: Catalog, resource: Resource, job: JobView, clock: Clock) -> Observed:
    """Gather what a decision about `resource` rests on."""
    seen = Observed(now=clock.now(), job=job)
    if resource.kind in ("Search", "Training"):
        name = str(resource.spec["dataset"]["name"])
        seen = replace(seen, dataset=_observe_dataset(catalog, name))
        source = (resource.spec.get("cell") or {}).get("search")
        return seen if source is None else replace(seen, search=_observe_search(catalog, source))
    if resource.kind == "Model":
        return replace(seen, model_versions=catalog.list_model_versions(resource.name))
    return seen


def _observe_dataset(catalog: Catalog, name: str) -> DatasetView | None:
    versions = catalog.list_dataset_versions(name)
    try:
        found = catalog.get_resource("Dataset", name)
    except NotFoundError:
        # A version can exist without a document: imported by a program.
        return DatasetView(0, {}, versions) if versions else None
    return DatasetView(found.generation, found.status, versions)


def _observe_search(catalog: Catalog, name: str) -> SearchView | None:
    try:
        found = catalog.get_resource("Search", name)
    except NotFoundError:
        return None
    return SearchView(found.generation, found.status)


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done about an object, and the view of its job that it rests on."""

    job: JobView
    actions: Sequence[Action]


class Attendant:
    """Attends to one object after the other, each by itself.

    Args:
        tell: is told what happened to an object, besides the catalog's events.
        pools: returns the ComputePools there are, by name; None where there are none.
        poll_seconds: when to look again at a job that was started or stopped.
    """

    def __init__(
        self,
        catalog: Catalog,
        jobs: JobExecutor,
        reconcile: Reconcile,
        clock: Clock,
        tell: Tell,
        pools: Pools | None = None,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._catalog = catalog
        self._jobs = jobs
        self._reconcile = reconcile
        self._clock = clock
        self._tell = tell
        self._pools = pools
        self._poll_seconds = poll_seconds

    def decide(self, resource: Resource) -> Decision:
        """Return what is to be done about `resource` now."""
        job = self._jobs.view(resource)
        observed = observe(self._catalog, resource, job, self._clock)
        if self._pools is not None:
            observed = replace(observed, pools=self._pools())
        return Decision(job, self._reconcile(resource, observed))

    def carry_out(self, resource: Resource, actions: Sequence[Action]) -> list[float]:
        """Do these actions; return after how many seconds the object needs other looks.

        Raises:
            ConflictError: the object changed since `resource` was read.
            NotFoundError: it was deleted since.
        """
        return [self._do(resource, action) for action in actions]

    def _do(self, resource: Resource, action: Action) -> float:
        kind, name = resource.kind, resource.name
        match action:
            case WriteStatus(status):
                self._catalog.update_status(kind, name, status, resource.resource_version)
            case StartJob(generation, placement):
                if self._jobs.start(resource, generation, placement):
                    self._record(resource, "JobStarted", f"Generation {generation}")
                return self._poll_seconds
            case StopJob():
                self._jobs.stop(resource)
                return self._poll_seconds
            case LookAgain(seconds):
                return seconds
        return MOMENT_SECONDS

    def _record(self, resource: Resource, reason: str, message: str) -> None:
        event = Event(
            kind=resource.kind,
            name=resource.name,
            type="Normal",
            reason=reason,
            message=message,
            at=self._clock.now(),
        )
        self._tell(resource, event)
        self._catalog.record_event(event)
