"""A pod for as long as a command line reads what only pods reach: the catalog and the store.

It is made by the rights of whoever asks, and of what the operator's Jobs in the same namespace
are made of: their image, their storage Secret, their restricted security. Keys never leave it.
It waits, the questions come by `exec` (so that no answer lands in a log), and it ends with the
command, or after a quarter of an hour when that is killed.
"""

from __future__ import annotations

import copy
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

from strandline.adapters.kube.kinds import JOB_SELECTOR
from strandline.adapters.kube.objects import KubeObjects
from strandline.adapters.kube.refusals import explained
from strandline.adapters.kube.resources import CONFIG_MAPS, JOBS, PODS, Document, ObjectKey, key_of
from strandline.adapters.remote_reads import Channel
from strandline.ports import Clock
from strandline.spec.attempts import LABEL_KIND
from strandline.spec.errors import NotFoundError, StrandlineError, UnavailableError
from strandline.spec.operator_config import (
    JOB_SETTINGS,
    JOB_SETTINGS_KEY,
    JobSettings,
    read_job_settings,
)

RunIn = Callable[[ObjectKey, str, list[str]], AbstractContextManager[Channel]]
"""Runs a command in a container of a pod."""

CONTAINER = "reader"
COMMAND = ["strandline", "answer-reads"]
LABELS = {
    "app.kubernetes.io/name": "strandline",
    # Network policies let what is a job reach the store and the catalog.
    "app.kubernetes.io/component": "job",
    "app.kubernetes.io/managed-by": "strandline-cli",
}
_SELECTOR = ",".join(f"{name}={value}" for name, value in LABELS.items())
_LONGEST_SECONDS = 900
_START_SECONDS = 180.0
_LOOK_SECONDS = 0.3
_ASIDE_SECONDS = 3.0
_AMOUNTS = {
    "requests": {"cpu": "100m", "memory": "512Mi", "ephemeral-storage": "64Mi"},
    "limits": {"memory": "1Gi", "ephemeral-storage": "1Gi"},
}


@contextmanager
def reader_pod(
    objects: KubeObjects,
    clock: Clock,
    run_in: RunIn,
    make_template: Callable[[str, JobSettings], Document],
    say: Callable[[str], None],
) -> Iterator[Channel]:
    """Run `answer-reads` in a pod of the namespace while the body runs.

    Args:
        make_template: returns the pod template of a job in a namespace.

    Raises:
        PermissionDeniedError: whoever asks may not start pods there, or run commands in them.
        NotFoundError: nothing there tells what the pods of jobs are like.
        UnavailableError: the pod does not come to run.
    """
    with explained(objects.host, objects.namespace):
        _sweep(objects)
        pod = reader_document(objects.namespace, _template(objects, make_template))
        objects.api.create(PODS, pod)
    key = key_of(pod)
    try:
        with explained(objects.host, objects.namespace):
            _wait(objects, key, clock, say)
            with run_in(key, CONTAINER, COMMAND) as channel:
                yield channel
    finally:
        with suppress(StrandlineError):
            objects.api.delete(PODS, key, grace_seconds=0)


def reader_document(namespace: str, template: Document) -> Document:
    """Return the pod that reads, from the pod template of a job."""
    spec = copy.deepcopy(template["spec"])
    spec.pop("priorityClassName", None)
    spec.pop("runtimeClassName", None)
    container: dict[str, Any] = spec["containers"][0]
    container |= {
        "name": CONTAINER,
        "command": ["sleep", str(_LONGEST_SECONDS)],
        "resources": copy.deepcopy(_AMOUNTS),
    }
    spec |= {
        "containers": [container],
        "restartPolicy": "Never",
        "activeDeadlineSeconds": _LONGEST_SECONDS,
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": False,
    }
    name = f"strandline-reader-{secrets.token_hex(4)}"
    metadata = {"name": name, "namespace": namespace, "labels": LABELS}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _template(
    objects: KubeObjects, make_template: Callable[[str, JobSettings], Document]
) -> Document:
    """Return the pod template of a job: as the chart tells, else as a Job that is there has it."""
    try:
        told = objects.api.get(CONFIG_MAPS, ObjectKey(objects.namespace, JOB_SETTINGS))
    except NotFoundError:
        return _template_of_a_job(objects)
    return make_template(objects.namespace, read_job_settings(told["data"][JOB_SETTINGS_KEY]))


def _template_of_a_job(objects: KubeObjects) -> Document:
    jobs = objects.api.list_all(JOBS, objects.namespace, JOB_SELECTOR).items
    if not jobs:
        raise NotFoundError(
            "this reads through a pod like those of Strandline's jobs, and nothing tells what they "
            f"are like in namespace {objects.namespace}: neither a Job (they stay for jobs.ttl) "
            f"nor ConfigMap {JOB_SETTINGS}, which the chart makes in the namespaces that it lists; "
            "elsewhere an administrator copies it from the release's"
        )
    # Of imports first: they are on no pool's nodes, which may be few and dear.
    template: Document = max(jobs, key=_preference)["spec"]["template"]
    return template


def _preference(job: Document) -> tuple[bool, str]:
    metadata = job["metadata"]
    return metadata["labels"].get(LABEL_KIND) == "Dataset", metadata["creationTimestamp"]


def _sweep(objects: KubeObjects) -> None:
    """Delete pods that outlived commands which were killed."""
    for pod in objects.api.list_all(PODS, objects.namespace, _SELECTOR).items:
        if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            with suppress(NotFoundError):
                objects.api.delete(PODS, key_of(pod))


def _wait(objects: KubeObjects, key: ObjectKey, clock: Clock, say: Callable[[str], None]) -> None:
    """Return when the pod runs.

    Raises:
        UnavailableError: it ended, or has not come so far in time; the message says why.
    """
    started = clock.monotonic()
    told = False
    while True:
        status = objects.api.get(PODS, key).get("status") or {}
        if status.get("phase") == "Running":
            return
        why = _why(status)
        waited = clock.monotonic() - started
        if status.get("phase") in ("Failed", "Succeeded") or waited > _START_SECONDS:
            raise UnavailableError(f"pod {key.name}, which is to read, does not run: {why}")
        if waited > _ASIDE_SECONDS and not told:
            told = True
            say(f"waiting for pod {key.name}, which reads what only pods reach: {why}")
        time.sleep(_LOOK_SECONDS)


def _why(status: Document) -> str:
    """Return why a pod does not run yet, in Kubernetes' words."""
    for each in status.get("containerStatuses") or ():
        waiting = (each.get("state") or {}).get("waiting")
        if waiting:
            return ": ".join(filter(None, (waiting.get("reason"), waiting.get("message"))))
    for each in status.get("conditions") or ():
        if each["type"] == "PodScheduled" and each["status"] == "False":
            return f"{each.get('reason')}: {each.get('message')}"
    return str(status.get("message") or status.get("reason") or status.get("phase") or "Pending")
