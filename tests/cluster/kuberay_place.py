"""A world with KubeRay in it: what `operator_place` moves, and RayJobs besides."""

from __future__ import annotations

from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Any

from tests.cluster.kuberay_stand_in import Entrypoint, KubeRayStandIn
from tests.cluster.operator_place import World

from strandline.adapters.kube.kinds import NAMESPACED, TYPES
from strandline.adapters.kube.ray_job_states import RAYJOBS
from strandline.adapters.kube.resources import PODS, Document, key_of
from strandline.compose_cluster import Operator
from strandline.spec.attempts import LABEL_ATTEMPT, LABEL_KIND, LABEL_NAME
from strandline.spec.errors import NotFoundError

ON_KUBERAY: dict[str, Any] = {"execution": {"mode": "kuberay"}}


@dataclass
class Done:
    """A driver that has done what its job does, or goes on for ever."""

    code: int | None

    def exit_code(self) -> int | None:
        return self.code

    def log(self) -> str:
        return "the last words\n"

    def stop(self) -> None:
        self.code = 130


class RayWorld(World):
    """A world with KubeRay in it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.kuberay = KubeRayStandIn(self.api, self.namespace, self._start, self.clock)

    def kuberay_operator(self, left: list[int] | None = None) -> AbstractContextManager[Operator]:
        """Start an operator that runs searches as RayJobs."""
        return self.operator(left, **ON_KUBERAY)

    def rayjobs(self) -> list[Document]:
        return list(self.api.list_all(RAYJOBS, self.namespace).items)

    def step(self) -> None:
        super().step()
        self.kuberay.step()
        for pod in self.pods():
            if pod["status"].get("phase") == "Pending":
                ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
                self._set_status(PODS, pod, ready)
        self._collect_garbage()

    def _start(self, job: Document, head: Document) -> Entrypoint:
        labels = job["metadata"]["labels"]
        kind, name = labels[LABEL_KIND], labels[LABEL_NAME]
        self.started.append((kind, name, int(labels[LABEL_ATTEMPT])))
        return Done(self.run[kind](self, self.catalog.get_resource(kind, name)))

    def _collect_garbage(self) -> None:
        """Delete what nobody owns any more, and let go what waits for its pods to be gone."""
        owners = {
            document["metadata"]["uid"]
            for kind in NAMESPACED
            for document in self.api.list_all(TYPES[kind], self.namespace).items
        }
        jobs = self.rayjobs()
        for job in jobs:
            metadata = job["metadata"]
            if "deletionTimestamp" in metadata:
                self._let_go(job)
            elif (owner := _owner(job)) and owner not in owners:
                self.api.delete(RAYJOBS, key_of(job), propagation="Background")
        alive = {job["metadata"]["uid"] for job in self.rayjobs()}
        for pod in self.pods():
            owner = (pod["metadata"].get("ownerReferences") or [{}])[0]
            if owner.get("kind") == RAYJOBS.kind and owner["uid"] not in alive:
                with suppress(NotFoundError):
                    self.api.delete(PODS, key_of(pod), grace_seconds=0)

    def _let_go(self, job: Document) -> None:
        own = [pod for pod in self.pods() if _owner(pod) == job["metadata"]["uid"]]
        for pod in own:
            with suppress(NotFoundError):
                self.api.delete(PODS, key_of(pod), grace_seconds=0)
        if not own and job["metadata"].get("finalizers") == ["foregroundDeletion"]:
            with suppress(NotFoundError):
                self.api.patch_merge(RAYJOBS, key_of(job), {"metadata": {"finalizers": None}})


def _owner(document: Document) -> str:
    return str((document["metadata"].get("ownerReferences") or [{"uid": ""}])[0]["uid"])
