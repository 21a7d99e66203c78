"""Run jobs on Ray clusters of their own, made by KubeRay: `ports.JobExecutor` on RayJobs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

from strandline.adapters.kube.api import KubeApi
from strandline.adapters.kube.decided import Decided
from strandline.adapters.kube.informer import Informer
from strandline.adapters.kube.jobs import BY_UID, MakeJob
from strandline.adapters.kube.kinds import worker_uid
from strandline.adapters.kube.ray_job_states import RAYJOBS, attempt_of_rayjob, is_taken_up
from strandline.adapters.kube.resources import Document, key_of, uid_of
from strandline.ports import Clock, JobExecutor, Resource
from strandline.spec.actions import ANYWHERE, JobState, JobView, Placement
from strandline.spec.attempts import Attempt, next_attempt, view_attempts
from strandline.spec.errors import AlreadyExistsError, ConflictError, NotFoundError

# So long KubeRay may take to look at a RayJob before its absence is told.
_PATIENCE = timedelta(seconds=30)


class KubeRayJobs:
    """The RayJobs of one namespace's objects.

    KubeRay keeps an ended RayJob for ever. The last one of an object tells how it ended;
    the ones before it go when the next is there.
    """

    def __init__(
        self,
        api: KubeApi,
        namespace: str,
        jobs: Informer,
        pods: Informer,
        make: MakeJob,
        clock: Clock,
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._jobs = jobs
        self._pods = pods
        self._make = make
        self._clock = clock
        self._decided = Decided()

    def view(self, resource: Resource) -> JobView:
        found = self._documents(self._jobs, resource)
        attempts = self._attempts(found, resource)
        self._decided.look(resource.uid, attempts)
        view = view_attempts(attempts)
        if view.state is not JobState.RUNNING or view.waiting is not None:
            return view
        left = [self._patience_seconds(job) for job in found if not is_taken_up(job)]
        if any(seconds <= 0.0 for seconds in left):
            missing = "No KubeRay takes the RayJob up: is its operator running?"
            return replace(view, waiting=("NoKubeRay", missing))
        return replace(view, look_seconds=min(left, default=None))

    def start(self, resource: Resource, generation: int, placement: Placement = ANYWHERE) -> bool:
        found = self._documents(self._jobs, resource)
        seen = self._decided.take(resource.uid)
        if seen is None:
            seen = self._attempts(found, resource)
        if not all(attempt.ended for attempt in seen):
            return False
        number, failures = next_attempt(seen, generation)
        job = self._make(resource, self._namespace, number, failures, placement)
        try:
            self._api.create(RAYJOBS, job)
        except AlreadyExistsError:
            self._check_owner(job, resource)
            return False
        for each in found:
            if attempt_of_rayjob(each, ()).number < number:
                self._delete(each)
        return True

    def stop(self, resource: Resource) -> None:
        for job in self._documents(self._jobs, resource):
            if not attempt_of_rayjob(job, ()).ended:
                self._delete(job)

    def _delete(self, job: Document) -> None:
        """Delete a RayJob once its cluster is gone; KubeRay asks the driver to stop first."""
        if "deletionTimestamp" in job["metadata"]:
            return
        with suppress(NotFoundError, ConflictError):
            self._api.delete(RAYJOBS, key_of(job), uid=uid_of(job), propagation="Foreground")

    def _attempts(self, jobs: Sequence[Document], resource: Resource) -> list[Attempt]:
        pods = self._documents(self._pods, resource)
        return [attempt_of_rayjob(job, pods) for job in jobs]

    def _documents(self, informer: Informer, resource: Resource) -> list[Document]:
        keys = informer.by_index(BY_UID, resource.uid)
        own = [key for key in keys if key.namespace == self._namespace]
        return [found for key in own if (found := informer.get(key)) is not None]

    def _patience_seconds(self, job: Document) -> float:
        """Return how long KubeRay may still take to look at a RayJob."""
        since = attempt_of_rayjob(job, ()).started_at or self._clock.now()
        return (since + _PATIENCE - self._clock.now()).total_seconds()

    def _check_owner(self, job: Document, resource: Resource) -> None:
        there = self._api.get(RAYJOBS, key_of(job))
        if worker_uid(there) != resource.uid:
            raise ConflictError(f"rayjob {key_of(job)} is in the way: it belongs to something else")


class ByKind:
    """Runs the jobs of some kinds in one way and all others in another.

    A job that was started in the other way, before the platform was set up anew, is let run
    to its end and is stopped like any other: nothing of an object ever runs twice.
    """

    def __init__(self, kinds: frozenset[str], chosen: JobExecutor, others: JobExecutor) -> None:
        self._kinds = kinds
        self._chosen = chosen
        self._others = others

    def view(self, resource: Resource) -> JobView:
        right, wrong = self._ways(resource)
        left_over = wrong.view(resource)
        return left_over if left_over.state is JobState.RUNNING else right.view(resource)

    def start(self, resource: Resource, generation: int, placement: Placement = ANYWHERE) -> bool:
        return self._ways(resource)[0].start(resource, generation, placement)

    def stop(self, resource: Resource) -> None:
        for way in self._ways(resource):
            way.stop(resource)

    def _ways(self, resource: Resource) -> tuple[JobExecutor, JobExecutor]:
        if resource.kind in self._kinds:
            return self._chosen, self._others
        return self._others, self._chosen
