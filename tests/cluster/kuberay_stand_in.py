"""Does with RayJobs what KubeRay 1.7 does, as far as pods, services and statuses show it.

KubeRay is no Go module and comes from no package index that tests may count on. This makes
the same pods of the same templates (head, workers, a token, a service for the head), runs
the entrypoint on the head, and writes the fields of `status` that KubeRay writes, in the same
order: Initializing, Running, Complete or Failed; Suspending and Suspended; the cluster gone
after its time, the RayJob kept. Level-triggered: each step looks at everything anew.

What KubeRay has and this has not: a RayCluster object between RayJob and pods, the autoscaler,
the dashboard (the entrypoint is run by `exec`, not by Ray's job server).
"""

from __future__ import annotations

import base64
import os
import secrets
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from tests.cluster.kubectl import Kubectl, KubectlError

from strandline.adapters.kube.api import KubeApi
from strandline.adapters.kube.ray_job_states import CLUSTER_LABEL, NODE_TYPE_LABEL, RAYJOBS
from strandline.adapters.kube.resources import (
    PODS,
    SECRETS,
    Document,
    ObjectKey,
    ResourceType,
    key_of,
)
from strandline.ports import Clock
from strandline.spec.errors import AlreadyExistsError, ConflictError, NotFoundError

SERVICES = ResourceType("", "v1", "services", "Service")
FINALIZER = "ray.io/rayjob-finalizer"
PORT = 6379
GROUP_LABEL = "ray.io/group"
_FAILED = "Job entrypoint command failed with exit code {}, last available logs (truncated to "
_ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
CRD: Document = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "rayjobs.ray.io"},
    "spec": {
        "group": "ray.io",
        "scope": "Namespaced",
        "names": {"plural": "rayjobs", "singular": "rayjob", "kind": "RayJob"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {"spec": _ANYTHING, "status": _ANYTHING},
                    }
                },
            }
        ],
    },
}


class Entrypoint(Protocol):
    """A driver that runs."""

    def exit_code(self) -> int | None:
        """Return how it ended, None while it runs."""

    def log(self) -> str:
        """Return what it said."""

    def stop(self) -> None:
        """Ask it to end."""


class StartEntrypoint(Protocol):
    """Starts the driver of a RayJob on its head."""

    def __call__(self, job: Document, head: Document) -> Entrypoint:
        """Start it."""


@dataclass
class KubeRayStandIn:
    """All RayJobs of one namespace.

    Attributes:
        start: runs an entrypoint.
        drivers: the entrypoints that run or ended, by Ray job id.
    """

    api: KubeApi
    namespace: str
    start: StartEntrypoint
    clock: Clock
    drivers: dict[str, Entrypoint] = field(default_factory=dict)

    def step(self) -> None:
        """Move every RayJob on by one stage at most."""
        for job in self.api.list_all(RAYJOBS, self.namespace).items:
            with suppress(ConflictError, NotFoundError):  # it changed: the next step sees it
                self._move(job)

    # ------------------------------------------------------------ stages

    def _move(self, job: Document) -> None:
        if "deletionTimestamp" in job["metadata"]:
            self._let_go(job)
            return
        stage = (job.get("status") or {}).get("jobDeploymentStatus") or ""
        stages = {
            "": self._begin,
            "Initializing": self._initialize,
            "Running": self._watch,
            "Suspending": self._suspend,
            "Suspended": self._resume,
            "Complete": self._clear,
            "Failed": self._clear,
        }
        stages[stage](job)

    def _begin(self, job: Document) -> None:
        finalizers = job["metadata"].get("finalizers") or []
        if FINALIZER not in finalizers:
            job = self._set_finalizers(job, [*finalizers, FINALIZER])
        mark = secrets.token_hex(3)[:5]
        name = job["metadata"]["name"]
        self._write(
            job,
            jobDeploymentStatus="Initializing",
            jobId=f"{name}-{mark}",
            rayClusterName=f"{name}-{mark}",
            startTime=self._now(),
        )

    def _initialize(self, job: Document) -> None:
        if job["spec"].get("suspend"):
            self._write(job, jobDeploymentStatus="Suspending")
            return
        self._make_cluster(job)
        pods = self._pods(job)
        if len(pods) == _count(job) and all(_is_ready(pod) for pod in pods):
            url = f"{_service(job)}.{self.namespace}.svc.cluster.local:8265"
            self._write(job, jobDeploymentStatus="Running", dashboardURL=url)

    def _watch(self, job: Document) -> None:
        if job["spec"].get("suspend"):
            self._write(job, jobDeploymentStatus="Suspending")
            return
        self._make_cluster(job)  # pods that were lost come back
        heads = [pod for pod in self._pods(job) if _labels(pod)[NODE_TYPE_LABEL] == "head"]
        head = next((pod for pod in heads if _is_ready(pod)), None)
        if head is None:
            return
        # A head that came back knows no job: it is submitted anew.
        place = f"{job['status']['jobId']}/{head['metadata']['uid']}"
        driver = self.drivers.get(place)
        if driver is None:
            self.drivers[place] = self.start(job, head)
            self._write(job, jobStatus="RUNNING")
        elif (code := driver.exit_code()) is not None:
            self._end(job, code, driver.log())

    def _end(self, job: Document, code: int, log: str) -> None:
        ended = {"endTime": self._now(), "rayJobInfo": {"endTime": self._now()}}
        if code == 0:
            message = "Job finished successfully."
            self._write(
                job,
                jobDeploymentStatus="Complete",
                jobStatus="SUCCEEDED",
                message=message,
                succeeded=1,
                **ended,
            )
            return
        self._write(
            job,
            jobDeploymentStatus="Failed",
            jobStatus="FAILED",
            reason="AppFailed",
            message=f"{_FAILED.format(code)}20,000 chars):\n{log[-20_000:]}",
            failed=1,
            **ended,
        )

    def _suspend(self, job: Document) -> None:
        if self._remove_cluster(job):
            self.api.replace_status(
                RAYJOBS, {**job, "status": {"jobDeploymentStatus": "Suspended"}}
            )

    def _resume(self, job: Document) -> None:
        if not job["spec"].get("suspend"):
            self._write(job, jobDeploymentStatus="")

    def _clear(self, job: Document) -> None:
        if not job["spec"].get("shutdownAfterJobFinishes"):
            return
        over = datetime.fromisoformat(job["status"]["endTime"])
        kept = timedelta(seconds=int(job["spec"].get("ttlSecondsAfterFinished") or 0))
        if self.clock.now() >= over + kept:
            self._remove_cluster(job)

    def _let_go(self, job: Document) -> None:
        """Stop the driver and let the garbage collector do the rest, pods first."""
        finalizers = job["metadata"].get("finalizers") or []
        if FINALIZER not in finalizers:
            return
        identity = (job.get("status") or {}).get("jobId")
        for place, driver in self.drivers.items():
            if identity and place.startswith(f"{identity}/") and driver.exit_code() is None:
                driver.stop()
        self._set_finalizers(job, [each for each in finalizers if each != FINALIZER])

    def _set_finalizers(self, job: Document, wanted: list[str]) -> Document:
        """Set them unless the job was changed: the garbage collector takes its own off meanwhile.

        Raises:
            ConflictError: the job is no longer as it was read.
        """
        metadata = {"finalizers": wanted, "resourceVersion": job["metadata"]["resourceVersion"]}
        return self.api.patch_merge(RAYJOBS, key_of(job), {"metadata": metadata})

    # ------------------------------------------------------------ the cluster

    def _make_cluster(self, job: Document) -> None:
        there = {pod["metadata"]["name"] for pod in self._pods(job)}
        secret, service = _token(job, self.namespace), _head_service(job, self.namespace)
        for resource, document in ((SECRETS, secret), (SERVICES, service)):
            with suppress(AlreadyExistsError):
                self.api.create(resource, document)
        for pod in pods_of(job, self.namespace):
            if pod["metadata"]["name"] not in there:
                with suppress(AlreadyExistsError):  # the last one of this name is still ending
                    self.api.create(PODS, pod)

    def _remove_cluster(self, job: Document) -> bool:
        """Delete what the cluster is made of; return whether all of it is gone."""
        pods = list(self.api.list_all(PODS, self.namespace, _selector(job)).items)
        for resource in (PODS, SERVICES, SECRETS):
            for each in self.api.list_all(resource, self.namespace, _selector(job)).items:
                if "deletionTimestamp" not in each["metadata"]:
                    with suppress(NotFoundError):
                        self.api.delete(resource, key_of(each))
        return not pods

    def _pods(self, job: Document) -> list[Document]:
        """Return the cluster's pods that live; one that ended is replaced, as KubeRay does."""
        found = []
        for pod in self.api.list_all(PODS, self.namespace, _selector(job)).items:
            if pod.get("status", {}).get("phase") in ("Failed", "Succeeded"):
                with suppress(NotFoundError):
                    self.api.delete(PODS, key_of(pod))
            elif "deletionTimestamp" not in pod["metadata"]:
                found.append(pod)
        return found

    def _write(self, job: Document, **status: Any) -> None:
        seen = {"observedGeneration": job["metadata"].get("generation")}
        written = {**(job.get("status") or {}), **seen, **status}
        self.api.replace_status(RAYJOBS, {**job, "status": written})

    def _now(self) -> str:
        return self.clock.now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# ---------------------------------------------------------------- documents


def _cluster(job: Document) -> str:
    return str((job.get("status") or {}).get("rayClusterName"))


def _service(job: Document) -> str:
    return f"{_cluster(job)}-head-svc"


def _selector(job: Document) -> str:
    return f"{CLUSTER_LABEL}={_cluster(job)}"


def _labels(document: Document) -> Mapping[str, str]:
    labels: Mapping[str, str] = document["metadata"].get("labels") or {}
    return labels


def _metadata(job: Document, namespace: str, name: str, **labels: str) -> Document:
    owner = {
        "apiVersion": RAYJOBS.api_version,
        "kind": RAYJOBS.kind,
        "name": job["metadata"]["name"],
        "uid": job["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return {
        "name": name,
        "namespace": namespace,
        "labels": {CLUSTER_LABEL: _cluster(job), **labels},
        "ownerReferences": [owner],
    }


def _token(job: Document, namespace: str) -> Document:
    value = base64.b64encode(secrets.token_hex(32).encode()).decode()
    metadata = _metadata(job, namespace, _cluster(job))
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "data": {"auth_token": value},
    }


def _head_service(job: Document, namespace: str) -> Document:
    chosen = {CLUSTER_LABEL: _cluster(job), NODE_TYPE_LABEL: "head"}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(job, namespace, _service(job)),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": chosen,
            "ports": [{"name": "gcs-server", "port": PORT}],
        },
    }


def _count(job: Document) -> int:
    groups = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    return 1 + sum(int(each["replicas"]) * int(each["numOfHosts"]) for each in groups)


def pods_of(job: Document, namespace: str) -> Sequence[Document]:
    spec = job["spec"]["rayClusterSpec"]
    address = f"{_service(job)}.{namespace}.svc.cluster.local:{PORT}"
    head = {"head": "true", "port": str(PORT), "dashboard-host": "0.0.0.0"}
    pods = [_pod(job, namespace, "head", "headgroup", spec["headGroupSpec"], head, 0)]
    for group in spec["workerGroupSpecs"]:
        for number in range(group["replicas"] * group["numOfHosts"]):
            join = {"address": address}
            name = group["groupName"]
            pods.append(_pod(job, namespace, "worker", name, group, join, number))
    return pods


def _pod(
    job: Document,
    namespace: str,
    node_type: str,
    group: str,
    spec: Document,
    parameters: Mapping[str, str],
    number: int,
) -> Document:
    template = spec["template"]
    name = f"{_cluster(job)}-{node_type}" + (f"-{group}-{number}" if node_type != "head" else "")
    metadata = _metadata(job, namespace, name)
    metadata["labels"] |= {
        **template["metadata"]["labels"],
        NODE_TYPE_LABEL: node_type,
        GROUP_LABEL: group,
    }
    first, *others = template["spec"]["containers"]
    command = _start_command({**spec["rayStartParams"], **parameters, "block": "true"})
    authentication = job["spec"]["rayClusterSpec"]["authOptions"]
    secret = {"name": authentication.get("secretName") or _cluster(job), "key": "auth_token"}
    environment = [
        *first["env"],
        {"name": "RAY_AUTH_MODE", "value": authentication["mode"]},
        {"name": "RAY_AUTH_TOKEN", "valueFrom": {"secretKeyRef": secret}},
        {"name": "RAY_ADDRESS", "value": parameters.get("address", f"127.0.0.1:{PORT}")},
    ]
    made = {
        **first,
        "command": ["/bin/bash", "-c", "--"],
        "args": [f"ulimit -n ${{RAY_START_ULIMIT_OPEN_FILES:-65536}}; {command}"],
        "env": environment,
    }
    pod_spec = {**template["spec"], "containers": [made, *others]}
    if node_type == "head":
        made["readinessProbe"] = {"tcpSocket": {"port": PORT}, "periodSeconds": 2}
    else:
        pod_spec["initContainers"] = [_wait_for_head(made, parameters["address"])]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod_spec}


def _wait_for_head(ray: Document, address: str) -> Document:
    """Return what keeps a worker back until its head answers, as small as KubeRay makes it."""
    taken = ("image", "imagePullPolicy", "securityContext", "env", "volumeMounts")
    small = {"cpu": "200m", "memory": "256Mi"}
    return {
        **{name: ray[name] for name in taken},
        "name": "wait-gcs-ready",
        "command": ["/bin/bash", "-c", "--"],
        "args": [f"until ray health-check --address {address} > /dev/null 2>&1; do sleep 5; done"],
        "resources": {"requests": small, "limits": small},
    }


def _start_command(parameters: Mapping[str, str]) -> str:
    """Return `ray start` with these parameters; values go to the shell as they are."""
    words = ["ray start"]
    for name, value in sorted(parameters.items()):
        if value in ("true", "false") and name not in ("include-log-monitor", "include-dashboard"):
            words += [f"--{name}"] if value == "true" else []
        else:
            words.append(f"--{name}={value}")
    return " ".join(words)


def _is_ready(pod: Document) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


# ---------------------------------------------------------------- drivers in pods


@dataclass
class ExecStart:
    """Runs entrypoints by `kubectl exec` in the head's container, as Ray's job server would."""

    kubectl: Kubectl
    program: str
    logs: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def close(self) -> None:
        """End what still runs."""
        for process in self.processes:
            process.kill()
            process.wait()

    def __call__(self, job: Document, head: Document) -> Entrypoint:
        container = head["spec"]["containers"][0]["name"]
        key: ObjectKey = key_of(head)
        place = ["-n", key.namespace, key.name, "-c", container, "--", "/bin/bash", "-c"]
        words = [self.program, "exec", *place, job["spec"]["entrypoint"]]
        log = self.logs / f"driver-{len(self.processes)}.log"
        environ = {**os.environ, "KUBECONFIG": str(self.kubectl.kubeconfig)}
        with log.open("wb") as out:
            process = subprocess.Popen(words, env=environ, stdout=out, stderr=subprocess.STDOUT)
        self.processes.append(process)
        return _Executed(process, self, place, log)


@dataclass
class _Executed:
    process: subprocess.Popen[bytes]
    made_by: ExecStart
    place: list[str]
    said: Path

    def exit_code(self) -> int | None:
        return self.process.poll()

    def log(self) -> str:
        return self.said.read_text("utf-8", errors="replace")

    def stop(self) -> None:
        end = "for p in /proc/[0-9]*; do grep -q run-job $p/cmdline && kill ${p#/proc/}; done"
        with suppress(KubectlError):  # the pod may be gone
            self.made_by.kubectl("exec", *self.place, end)
