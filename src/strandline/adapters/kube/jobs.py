"""Run jobs as batch/v1 Jobs: `ports.JobExecutor` on a cluster without Ray operators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

from strandline.adapters.kube.api import KubeApi
from strandline.adapters.kube.decided import Decided
from strandline.adapters.kube.informer import Informer
from strandline.adapters.kube.job_states import attempt_of
from strandline.adapters.kube.kinds import worker_uid
from strandline.adapters.kube.resources import EVENTS, JOBS, Document, key_of, uid_of
from strandline.ports import Clock, Resource
from strandline.spec.actions import ANYWHERE, JobState, JobView, Placement
from strandline.spec.attempts import Attempt, next_attempt, view_attempts
from strandline.spec.errors import (
    AlreadyExistsError,
    ConflictError,
    NotFoundError,
    StrandlineError,
)

BY_UID = "uid"
"""Index of informers: the object that a Job or pod works for."""

MakeJob = Callable[[Resource, str, int, int, Placement], Document]
"""Makes the Job of (object, namespace, attempt, failures before it, placement)."""

# So long the Job controller may take to make a pod before one asks why it does not.
_POD_PATIENCE = timedelta(seconds=5)
# What keeps a pod from being made may change, and nobody tells.
_LOOK_SECONDS = 30.0


class KubeJobs:
    """The jobs of one namespace's objects.

    What it sees comes from caches that may lag behind. That costs a refused create at most:
    an attempt's number follows from the attempts seen, and its name from its number.
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
        found = self._documents(resource)
        pods = self._pods_of(resource)
        attempts = _attempts(found, pods)
        self._decided.look(resource.uid, attempts)
        view = view_attempts(attempts)
        if view.state is JobState.RUNNING and view.waiting is None:
            return self._ask_why(view, found, pods)
        return view

    def start(self, resource: Resource, generation: int, placement: Placement = ANYWHERE) -> bool:
        seen = self._decided.take(resource.uid)
        if seen is None:
            seen = _attempts(self._documents(resource), self._pods_of(resource))
        if not all(attempt.ended for attempt in seen):
            return False
        number, failures = next_attempt(seen, generation)
        job = self._make(resource, self._namespace, number, failures, placement)
        try:
            self._api.create(JOBS, job)
        except AlreadyExistsError:
            self._check_owner(job, resource)
            return False
        return True

    def stop(self, resource: Resource) -> None:
        for job in self._documents(resource):
            if not attempt_of(job, ()).ended:
                self.end(job)

    def end(self, job: Document) -> None:
        """Delete a Job once its pods have ended; they are asked to now."""
        if "deletionTimestamp" in job["metadata"]:
            return
        with suppress(NotFoundError, ConflictError):
            self._api.delete(JOBS, key_of(job), uid=uid_of(job), propagation="Foreground")

    def _documents(self, resource: Resource) -> list[Document]:
        return _of_object(self._jobs, self._namespace, resource.uid)

    def _pods_of(self, resource: Resource) -> list[Document]:
        return _of_object(self._pods, self._namespace, resource.uid)

    def _check_owner(self, job: Document, resource: Resource) -> None:
        there = self._api.get(JOBS, key_of(job))
        if worker_uid(there) != resource.uid:
            raise ConflictError(f"job {key_of(job)} is in the way: it belongs to something else")

    def _ask_why(
        self, view: JobView, jobs: Sequence[Document], pods: Sequence[Document]
    ) -> JobView:
        """Find out why Kubernetes makes no pod for a Job: a quota, mostly."""
        for job in jobs:
            seen = attempt_of(job, ())
            if seen.ended or seen.stopped or any(_is_of(pod, job) for pod in pods):
                continue
            if seen.started_at is None:
                continue
            left = (seen.started_at + _POD_PATIENCE - self._clock.now()).total_seconds()
            if left > 0.0:
                return replace(view, look_seconds=left)
            return replace(view, waiting=self._refusal(job), look_seconds=_LOOK_SECONDS)
        return view

    def _refusal(self, job: Document) -> tuple[str, str]:
        fields = f"regarding.uid={uid_of(job)},reason=FailedCreate"
        note = ""
        with suppress(StrandlineError):  # a courtesy; the pod may come yet
            for page in self._api.list_pages(EVENTS, self._namespace, fields=fields):
                for event in page.items:
                    note = str(event.get("note") or note)
        if "exceeded quota" in note:
            return "QuotaExceeded", note
        return ("PodRefused", note) if note else ("NoPodYet", "The job has no pod yet.")


def _attempts(jobs: Sequence[Document], pods: Sequence[Document]) -> list[Attempt]:
    return [attempt_of(job, [pod for pod in pods if _is_of(pod, job)]) for job in jobs]


def _is_of(pod: Document, job: Document) -> bool:
    labels = pod["metadata"].get("labels") or {}
    return bool(labels.get("batch.kubernetes.io/job-name") == job["metadata"]["name"])


def _of_object(informer: Informer, namespace: str, uid: str) -> list[Document]:
    keys = [key for key in informer.by_index(BY_UID, uid) if key.namespace == namespace]
    return [found for key in keys if (found := informer.get(key)) is not None]
