"""The operator of a cluster: the agent whose documents come from the apiserver.

For one object at a time it adopts the document into the catalog of its namespace, lets
`control` decide, carries that out, and shows the row's status on the API. Each step rests on
what is there, not on the step before: it may be killed between any two writes, and nothing
is lost or made twice.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock

from strandline.adapters.agent import Attendant, Pools, Reconcile
from strandline.adapters.kube.answers import TerminatingNamespaceError
from strandline.adapters.kube.api import KubeApi
from strandline.adapters.kube.caches import BY_OBJECT, Cache, Caches, object_index
from strandline.adapters.kube.events import EventRecorder
from strandline.adapters.kube.job_states import is_over
from strandline.adapters.kube.kinds import TYPES, ObjectRef, resource_of, worker_uid
from strandline.adapters.kube.projection import Projection
from strandline.adapters.kube.resources import Document, key_of, uid_of
from strandline.jobs.status import change_status
from strandline.ports import Adoption, Catalog, Clock, JobExecutor, Resource
from strandline.spec.conditions import Why, is_settled, mark_working
from strandline.spec.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidSpecError,
    NotFoundError,
    PermissionDeniedError,
)
from strandline.spec.records import Event

_LOG = logging.getLogger(__name__)

FINALIZER = "strandline.dev/in-use"
"""On a Dataset while a Search or Training that has not ended uses it."""

LAG_SECONDS = 1.0
QUIET_SECONDS = 30.0
"""What ends is heard of; this look is for what was not."""

REFUSED_SECONDS = 30.0
JOB_SECONDS = 10.0
"""After a start or a stop. What happens to a job is heard of; of what does not happen (no pod
comes) the job's view says when to look."""


OpenCatalog = Callable[[str], Catalog]
MakeExecutor = Callable[[str], JobExecutor]


@dataclass(frozen=True, slots=True)
class _Place:
    """What belongs to one namespace."""

    catalog: Catalog
    attendant: Attendant


class ClusterAgent:
    """Attends to the objects of all namespaces; may be called from several threads.

    Args:
        open_catalog: opens the catalog of a namespace.
        make_executor: makes what runs the jobs of a namespace.
        pools: returns the ComputePools that can be seen.
    """

    def __init__(
        self,
        api: KubeApi,
        caches: Caches,
        open_catalog: OpenCatalog,
        make_executor: MakeExecutor,
        reconcile: Reconcile,
        clock: Clock,
        events: EventRecorder,
        pools: Pools,
        projection: Projection,
    ) -> None:
        self._api = api
        self._caches = caches
        self._open_catalog = open_catalog
        self._make_executor = make_executor
        self._reconcile = reconcile
        self._clock = clock
        self._events = events
        self._pools = pools
        self._projection = projection
        self._lock = Lock()
        self._places: dict[str, _Place] = {}

    def attend(self, ref: ObjectRef) -> float | None:
        """Bring one object closer to its spec; return after how many seconds to look again.

        Raises:
            StrandlineError: not now; what was done until then stays done.
        """
        place = self._place(ref.namespace)
        document = self._caches.get(ref)
        if document is None:
            return self._attend_gone(ref, place)
        if ref.kind == "Dataset":
            self._guard(ref, document)
        if "deletionTimestamp" in document["metadata"] and not self._is_used(ref):
            return None  # what belongs to it goes first, or is going
        resource = self._adopt(ref, document, place)
        if resource is None:
            return LAG_SECONDS
        self._end_runs(ref, keep=resource.uid)
        waits = self._act(ref, resource, place)
        shown = self._projection.show(ref, document, place.catalog.get_resource(ref.kind, ref.name))
        return min([*waits, *([] if shown is None else [shown])], default=None)

    def _act(self, ref: ObjectRef, resource: Resource, place: _Place) -> list[float]:
        """Decide and carry out; what the API refuses for good becomes the condition's reason."""
        try:
            decision = place.attendant.decide(resource)
            return place.attendant.carry_out(resource, decision.actions)
        except TerminatingNamespaceError:
            return []
        except (PermissionDeniedError, InvalidSpecError) as error:
            reason = "QuotaExceeded" if "exceeded quota" in str(error) else "JobRefused"
            why = Why(reason, str(error), resource.generation, self._clock.now())
            change_status(
                place.catalog, ref.kind, ref.name, lambda row: mark_working(row.status, why)
            )
            return [REFUSED_SECONDS]

    def catalog_of(self, namespace: str) -> Catalog:
        """Return the catalog of a namespace, opened when it is first asked for."""
        return self._place(namespace).catalog

    def _place(self, namespace: str) -> _Place:
        with self._lock:
            found = self._places.get(namespace)
            if found is None:
                catalog = self._open_catalog(namespace)
                attendant = Attendant(
                    catalog,
                    self._make_executor(namespace),
                    self._reconcile,
                    self._clock,
                    lambda resource, event: self._tell(namespace, resource, event),
                    self._pools,
                    JOB_SECONDS,
                )
                found = self._places[namespace] = _Place(catalog, attendant)
            return found

    # ------------------------------------------------------------ documents

    def _adopt(self, ref: ObjectRef, document: Document, place: _Place) -> Resource | None:
        """Return the row of the object, made or brought up to date; None: not yet."""
        wanted = resource_of(document)
        row = _row(place.catalog, ref)
        if row is not None and row.adopted and row.uid != wanted.uid:
            # It was deleted and made again – or our cache is late, and it is the other way.
            if uid_of(self._api.get(TYPES[ref.kind], ref.key)) != wanted.uid:
                return None
            if not self._end_runs(ref, keep=wanted.uid):
                return None
        if row is not None and _is_same(row, wanted):
            return row
        row, outcome = place.catalog.adopt_resource(wanted)
        if outcome is Adoption.STALE:
            _LOG.info("%s: the catalog knows a newer one than the cache", ref)
            return None
        return row

    def _attend_gone(self, ref: ObjectRef, place: _Place) -> float | None:
        """See to what is left of an object that the cache does not have."""
        if self._are_ending(ref):
            return QUIET_SECONDS  # whatever it is that is gone, nothing can be done now
        with suppress(NotFoundError):
            self._api.get(TYPES[ref.kind], ref.key)
            return LAG_SECONDS  # the cache is late
        row = _row(place.catalog, ref)
        if row is not None and not row.adopted:
            return self._introduce(ref, row)
        if not self._end_runs(ref, keep=None):
            return QUIET_SECONDS
        if row is not None:
            with suppress(NotFoundError):
                place.catalog.delete_resource(ref.kind, ref.name, row.uid)
        self._projection.forget(ref)
        return None

    def _introduce(self, ref: ObjectRef, row: Resource) -> float | None:
        """Make the Model that a job registered an object of the API; it has no owner."""
        if ref.kind != "Model":
            return None  # made in the catalog by hand: not ours
        metadata = {
            "name": ref.name,
            "namespace": ref.namespace,
            "labels": dict(row.labels),
            "annotations": dict(row.annotations),
        }
        document = {
            "apiVersion": TYPES[ref.kind].api_version,
            "kind": ref.kind,
            "metadata": metadata,
            "spec": dict(row.spec),
        }
        with suppress(AlreadyExistsError):
            self._api.create(TYPES[ref.kind], document)
        return LAG_SECONDS

    # ------------------------------------------------------------ what runs

    def _end_runs(self, ref: ObjectRef, keep: str | None) -> bool:
        """End whatever runs for objects of this name but `keep`; return whether all is quiet.

        Kubernetes does so by owner references; this covers those who deleted with `orphan`.
        """
        quiet = True
        for cache in self._caches.runs.values():
            for run in cache.find(BY_OBJECT, object_index(ref), ref.namespace):
                if worker_uid(run) != keep:
                    quiet = False
                    self._end(cache, run)
        for pod in self._caches.pods.find(BY_OBJECT, object_index(ref), ref.namespace):
            quiet = quiet and (worker_uid(pod) == keep or is_over(pod))
        return quiet

    def _are_ending(self, ref: ObjectRef) -> bool:
        """Return whether something runs for objects of this name, all of it asked to end."""
        runs = [
            run
            for cache in self._caches.runs.values()
            for run in cache.find(BY_OBJECT, object_index(ref), ref.namespace)
        ]
        return bool(runs) and all("deletionTimestamp" in run["metadata"] for run in runs)

    def _end(self, cache: Cache, run: Document) -> None:
        if "deletionTimestamp" in run["metadata"]:
            return
        with suppress(NotFoundError, ConflictError):
            self._api.delete(cache.resource, key_of(run), uid=uid_of(run), propagation="Foreground")

    # ------------------------------------------------------------ datasets in use

    def _is_used(self, ref: ObjectRef) -> bool:
        if ref.kind != "Dataset":
            return False
        return any(_is_at_work(document) for document in self._caches.users_of(ref))

    def _guard(self, ref: ObjectRef, document: Document) -> None:
        """Keep a Dataset from going while somebody learns from it, and no longer."""
        metadata = document["metadata"]
        there = list(metadata.get("finalizers") or ())
        used, deleting = self._is_used(ref), "deletionTimestamp" in metadata
        if used and deleting:
            self._events.record(
                document,
                "InUse",
                "It goes when the searches and trainings that use it have ended or are deleted.",
                type="Warning",
                occasion=str(metadata["deletionTimestamp"]),
            )
        if used == (FINALIZER in there) or (used and deleting):
            return
        wanted = [*there, FINALIZER] if used else [each for each in there if each != FINALIZER]
        patch = {"finalizers": wanted, "resourceVersion": metadata["resourceVersion"]}
        self._api.patch_merge(TYPES[ref.kind], ref.key, {"metadata": patch})

    def _tell(self, namespace: str, resource: Resource, event: Event) -> None:
        document = self._caches.get(ObjectRef(resource.kind, namespace, resource.name))
        if document is not None:
            self._events.record(
                document,
                event.reason,
                event.message,
                type=event.type,
                occasion=f"{event.message} {event.at:%FT%T}",
            )


def _row(catalog: Catalog, ref: ObjectRef) -> Resource | None:
    try:
        return catalog.get_resource(ref.kind, ref.name)
    except NotFoundError:
        return None


def _is_same(row: Resource, wanted: Resource) -> bool:
    """Return whether the row needs no adoption; a spec changes with its generation only."""
    mine, theirs = (
        (each.uid, each.generation, each.labels, each.annotations) for each in (row, wanted)
    )
    return mine == theirs


def _is_at_work(document: Mapping[str, object]) -> bool:
    resource = resource_of(document)
    metadata = document["metadata"]
    assert isinstance(metadata, Mapping)
    deleting = "deletionTimestamp" in metadata
    return not deleting and not is_settled(resource.status, resource.generation)
