"""What a ray.io/v1 RayJob and its pods tell of an attempt. Pure: documents in, an attempt out.

KubeRay 1.7 says in `status.jobDeploymentStatus` where the cluster stands, in `jobStatus` how
the driver does; the driver's exit code stands in `message`, in the words of Ray's job manager.
A queue that takes a place away sets `spec.suspend`: KubeRay deletes the cluster and makes
another one later, in which the driver goes on. That is no end of the attempt.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from strandline.adapters.kube.job_states import last_line, shorten, why_pending
from strandline.adapters.kube.kinds import parse_time
from strandline.adapters.kube.resources import Document, ResourceType
from strandline.spec.attempts import (
    ANNOTATION_FAILURES,
    ANNOTATION_GENERATION,
    LABEL_ATTEMPT,
    Attempt,
)
from strandline.spec.errors import OUTCOMES, InvalidSpecError

RAYJOBS = ResourceType("ray.io", "v1", "rayjobs", "RayJob", True)

CLUSTER_LABEL = "ray.io/cluster"
NODE_TYPE_LABEL = "ray.io/node-type"
"""KubeRay's, on the pods of a cluster: `head` or `worker`."""

_MOST_MESSAGE = 4000
_EXIT_CODE = re.compile(r"failed with exit code (-?\d+)")
# The driver's own words follow this line of Ray's.
_LOG_FOLLOWS = re.compile(r"last available logs[^\n]*:\n")


def keep_rayjob(job: Document) -> Document:
    """Keep of a RayJob what is looked at: it holds the templates of all pods otherwise."""
    metadata, status = job["metadata"], job.get("status") or {}
    names = ("name", "namespace", "uid", "resourceVersion", "labels", "annotations")
    times = ("creationTimestamp", "deletionTimestamp")
    told = ("jobDeploymentStatus", "jobStatus", "reason", "rayClusterName", "startTime", "endTime")
    return {
        "apiVersion": job.get("apiVersion"),
        "kind": job.get("kind"),
        "metadata": {name: metadata[name] for name in (*names, *times) if name in metadata},
        "spec": {"suspend": (job.get("spec") or {}).get("suspend", False)},
        "status": {
            **{name: status[name] for name in told if name in status},
            "message": str(status.get("message") or "")[-_MOST_MESSAGE:],
        },
    }


def attempt_of_rayjob(job: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> Attempt:
    """Return the attempt that this RayJob is; `pods` are those of the object's clusters."""
    metadata, status = job["metadata"], job.get("status") or {}
    annotations = metadata.get("annotations") or {}
    stage = status.get("jobDeploymentStatus") or ""
    running = Attempt(
        number=int(metadata["labels"][LABEL_ATTEMPT]),
        generation=int(annotations.get(ANNOTATION_GENERATION) or 0),
        failures_before=int(annotations.get(ANNOTATION_FAILURES) or 0),
        started_at=_time(status.get("startTime") or metadata.get("creationTimestamp")),
        stopped="deletionTimestamp" in metadata,
    )
    if running.stopped:
        return running
    if stage not in ("Complete", "Failed", "ValidationFailed"):
        return replace(running, waiting=_waiting(job, pods))
    exit_code, words = _end(stage, status)
    return replace(
        running,
        ended=True,
        ended_at=_time(status.get("endTime")) or running.started_at,
        exit_code=exit_code,
        last_words=words,
    )


def is_taken_up(job: Mapping[str, Any]) -> bool:
    """Return whether KubeRay has looked at the RayJob at all."""
    return bool((job.get("status") or {}).get("jobDeploymentStatus"))


def _end(stage: str, status: Mapping[str, Any]) -> tuple[int | None, str]:
    """Return exit code and last words of an attempt that is over."""
    message = str(status.get("message") or "")
    if status.get("jobStatus") == "SUCCEEDED":
        return 0, ""
    if stage == "ValidationFailed":
        words = message or "KubeRay refused the RayJob: its events say why"
        return OUTCOMES[InvalidSpecError].exit_code, shorten(words)
    match = _EXIT_CODE.search(message)
    if match is not None:
        spoken = _LOG_FOLLOWS.split(message, maxsplit=1)
        return int(match[1]), last_line(spoken[1]) if len(spoken) > 1 else ""
    reason = str(status.get("reason") or "")
    if status.get("jobStatus") == "STOPPED":
        message = message or "the Ray job was stopped"
    return None, shorten(f"{reason}: {message}" if reason and message else message or reason)


def _waiting(job: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> tuple[str, str] | None:
    if (job.get("spec") or {}).get("suspend"):
        return "Queued", "Its queue has not admitted the job, or has taken its place back."
    cluster = (job.get("status") or {}).get("rayClusterName")
    own = [pod for pod in pods if cluster and _labels(pod).get(CLUSTER_LABEL) == cluster]
    heads = [pod for pod in own if _labels(pod).get(NODE_TYPE_LABEL) == "head"]
    workers = [pod for pod in own if _labels(pod).get(NODE_TYPE_LABEL) == "worker"]
    return _why_none_runs(heads) or _why_none_runs(workers)


def _why_none_runs(pods: Sequence[Mapping[str, Any]]) -> tuple[str, str] | None:
    """Return why no pod of these runs; one that does is enough to go on."""
    phases = [(pod.get("status") or {}).get("phase") for pod in pods]
    if "Running" in phases:
        return None
    pending = (pod for pod, phase in zip(pods, phases, strict=True) if phase == "Pending")
    return next((found for pod in pending if (found := why_pending(pod))), None)


def _labels(pod: Mapping[str, Any]) -> Mapping[str, str]:
    found: Mapping[str, str] = pod["metadata"].get("labels") or {}
    return found


def _time(text: Any) -> datetime | None:
    return parse_time(str(text)) if text else None
