"""What KubeRay does with RayJobs as far as an operator sees it, for thousands of them at once.

It makes the pods that the stand-in of the tests makes, on nodes of the pool that is asked
for, and writes the same stages. Nothing is scheduled and nothing runs: kwok says that it does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import cycle
from threading import Lock
from typing import Any

from tests.cluster.kuberay_stand_in import GROUP_LABEL, pods_of

from strandline.adapters.clock import SystemClock
from strandline.adapters.kube.api import KubeApi
from strandline.adapters.kube.informer import Informer
from strandline.adapters.kube.ray_job_states import RAYJOBS
from strandline.adapters.kube.resources import PODS, Document, key_of
from strandline.spec.attempts import LABEL_NAME
from strandline.spec.errors import NotFoundError

_THREADS = 4


class FastKubeRay:
    """Takes up each RayJob as soon as it is there, and runs it when it is let.

    Attributes:
        seen_at: when the first RayJob of each Search was seen, on the monotonic clock.
        taken_up, running: how many RayJobs are so far.
        pods: how many pods were made.
        failure: why one does not, if that happened.
    """

    def __init__(self, api: KubeApi, nodes: Mapping[str, Iterable[str]]) -> None:
        """Put workers on the `nodes` of their pools, and heads on all in turn."""
        self.seen_at: dict[str, float] = {}
        self.taken_up = self.running = self.pods = 0
        self.failure: Exception | None = None
        self._api = api
        self._lock = Lock()
        self._waiting: list[Document] = []
        self._nodes: dict[str, Iterator[str]] = {pool: cycle(all_) for pool, all_ in nodes.items()}
        self._any = cycle([name for all_ in nodes.values() for name in all_])
        self._threads = ThreadPoolExecutor(_THREADS)
        self._informer = Informer(api, RAYJOBS, SystemClock())
        self._informer.subscribe(self._see, lambda document: (_Taken(document),))

    def start(self) -> None:
        """Watch from now on."""
        self._informer.start()

    def stop(self) -> None:
        """Watch no more, and leave what is under way."""
        self._informer.stop()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def run(self) -> None:
        """Make the pods of all RayJobs that were taken up, and say that they run."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for job in waiting:
            self._threads.submit(self._try, self._run, job)

    def _see(self, taken: _Taken) -> None:
        job = taken.document
        name = job["metadata"]["labels"][LABEL_NAME]
        if name not in self.seen_at:
            self.seen_at[name] = time.monotonic()
            self._threads.submit(self._try, self._take_up, job)

    def _try(self, work: Callable[[Document], None], job: Document) -> None:
        try:
            with suppress(NotFoundError):  # deleted meanwhile
                work(job)
        except Exception as error:
            self.failure = error

    def _take_up(self, job: Document) -> None:
        name = job["metadata"]["name"]
        first = {"jobDeploymentStatus": "Initializing", "rayClusterName": name, "jobId": name}
        first["startTime"] = SystemClock().now().strftime("%Y-%m-%dT%H:%M:%SZ")
        job = self._write(job, first)
        with self._lock:
            self.taken_up += 1
            self._waiting.append(job)

    def _run(self, job: Document) -> None:
        for pod in pods_of(job, job["metadata"]["namespace"]):
            pod["spec"]["nodeName"] = self._node(pod["metadata"]["labels"][GROUP_LABEL])
            self._api.create(PODS, pod)
            with self._lock:
                self.pods += 1
        self._write(job, {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"})
        with self._lock:
            self.running += 1

    def _write(self, job: Document, status: Mapping[str, Any]) -> Document:
        return self._api.patch_merge(RAYJOBS, key_of(job), {"status": status}, subresource="status")

    def _node(self, group: str) -> str:
        with self._lock:
            return next(self._nodes.get(group, self._any))


class _Taken:
    """A document on its way; informers compare what they hand on."""

    def __init__(self, document: Document) -> None:
        self.document = document
