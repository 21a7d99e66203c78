"""A laptop's objects: the catalog of the environment, its agent, its logs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strandline.adapters.agent import list_all, observe
from strandline.adapters.local_jobs import lock_path, log_path
from strandline.adapters.run_lock import is_held
from strandline.cli.output import note
from strandline.cli.place import sleep
from strandline.cli.resource_input import anchored
from strandline.cli.resource_logs import follow_file, tail_offset
from strandline.cli.resource_names import Target, resolve
from strandline.cli.resource_output import is_cluster_scoped
from strandline.cli.resource_wait import POLL_SECONDS, changed
from strandline.compose import Platform
from strandline.control.followed import followed_status
from strandline.ports import Catalog, Clock, Resource
from strandline.spec.actions import JobView
from strandline.spec.conditions import SUSPENDED, is_settled, is_true
from strandline.spec.documents import Document
from strandline.spec.errors import NotFoundError, UnavailableError
from strandline.spec.naming import JOB_KINDS
from strandline.spec.records import Event
from strandline.spec.v1alpha1 import to_document

if TYPE_CHECKING:
    from strandline.cli.place import Place

_STOP_SECONDS = 30.0
_OLDER_LOG = "log.1.txt"


class LocalPlace:
    """The objects in the catalog of a `Platform`."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform

    @property
    def clock(self) -> Clock:
        return self.platform.clock

    @property
    def catalog(self) -> Catalog:
        return self.platform.catalog

    def get(self, kind: str, name: str) -> Resource:
        return self.catalog.get_resource(kind, name)

    def list_objects(self, kind: str, after: str | None = None) -> Iterator[Resource]:
        return list_all(self.catalog, kind, after)

    def current(self, resource: Resource) -> Resource:
        """Return the object with the status it has now.

        The status of an object without a job follows from what is there, and nobody writes
        it: it is filled in here.
        """
        if resource.kind in JOB_KINDS:
            return resource
        observed = observe(self.catalog, resource, JobView(), self.clock)
        status = followed_status(resource, observed)
        return resource if status is None else replace(resource, status=status)

    def accept(self, documents: Sequence[Document], here: bool = False) -> list[Document]:
        others = {
            each.model.metadata.namespace
            for each in documents
            if not is_cluster_scoped(each.model.kind)
        } - {"default"}
        if others:
            names = ", ".join(sorted(others))
            note(f"note: a laptop has one namespace only; {names} is taken for it")
        return [replace(each, model=anchored(each.model, each.folder)) for each in documents]

    def apply(self, document: Document, dry_run: bool) -> tuple[Resource, str]:
        model = document.model
        wanted = to_document(model)
        metadata = wanted["metadata"]
        arguments: tuple[Any, ...] = (
            model.kind,
            model.metadata.name,
            wanted["spec"],
            metadata["labels"],
            metadata["annotations"],
        )
        return self._would_apply(*arguments) if dry_run else self.catalog.apply_resource(*arguments)

    def _would_apply(
        self,
        kind: str,
        name: str,
        spec: dict[str, Any],
        labels: dict[str, str],
        annotations: dict[str, str],
    ) -> tuple[Resource, str]:
        try:
            before = self.catalog.get_resource(kind, name)
        except NotFoundError:
            made = Resource(kind, name, "", 1, 0, labels, annotations, spec, {}, self.clock.now())
            return made, "created"
        wanted = replace(before, spec=spec, labels=labels, annotations=annotations)
        same = (dict(before.spec), dict(before.labels), dict(before.annotations)) == (
            spec,
            labels,
            annotations,
        )
        return wanted, "unchanged" if same else "configured"

    def pick_up(self, resources: Iterable[Resource]) -> None:
        """Have the agent run when any of these objects has something left to do."""
        # What has no job follows from what is there: see `current`.
        jobs = [each for each in resources if each.kind in JOB_KINDS]
        if any(not is_settled(each.status, each.generation) for each in jobs):
            self._start_agent()

    def delete(self, resource: Resource) -> None:
        self.catalog.delete_resource(resource.kind, resource.name)

    def finish_deletion(self, resources: Sequence[Resource], wait: bool) -> None:
        """Have the agent stop jobs of deleted objects; wait until they did."""
        locks = [self._lock(each) for each in resources]
        if not any(map(is_held, locks)):
            return
        self._start_agent()
        deadline = self.clock.monotonic() + _STOP_SECONDS
        while wait and any(map(is_held, locks)):
            if self.clock.monotonic() >= deadline:
                raise UnavailableError("deleted, but a job has not stopped yet; it will be ended")
            sleep(0.2)

    def states(self, target: Target, deadline: float) -> Iterator[Resource | None]:
        assert target.name is not None
        while True:
            try:
                yield self.current(self.get(target.kind, target.name))
            except NotFoundError:
                yield None
            if self.clock.monotonic() >= deadline:
                return
            sleep(POLL_SECONDS)

    def changes(self, targets: Sequence[Target]) -> Iterator[list[Resource]]:
        return changed(lambda: resolve(self, targets)[0], sleep)

    def log(
        self, resource: Resource, lines: int, previous: bool, follow: bool
    ) -> Iterator[bytes] | None:
        log = log_path(self.platform.settings.runs_dir, resource.kind, resource.uid)
        if previous:
            log = log.with_name(_OLDER_LOG)
        if not log.exists() and not follow:
            return None
        if not log.exists():
            note(f"{Target(resource.kind, resource.name)} has no log yet")
        over = (lambda: self._is_over(resource)) if follow else (lambda: True)
        return follow_file(log, tail_offset(log, lines), over, sleep)

    def events(self, resource: Resource, limit: int) -> Sequence[Event]:
        return self.catalog.list_events(resource.kind, resource.name, limit)

    def _is_over(self, resource: Resource) -> bool:
        """Return whether no further word will come: no job, and none to come by itself."""
        if is_held(self._lock(resource)):
            return False
        try:
            now = self.get(resource.kind, resource.name)
        except NotFoundError:
            return True
        return is_settled(now.status, now.generation) or is_true(now.status, SUSPENDED)

    def _lock(self, resource: Resource) -> Path:
        return lock_path(self.platform.settings.runs_dir, resource.kind, resource.uid)

    def _start_agent(self) -> None:
        from strandline.cli.agent import start_agent

        start_agent(self.platform)


if TYPE_CHECKING:
    _place: type[Place] = LocalPlace
