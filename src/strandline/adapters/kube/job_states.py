"""What a batch/v1 Job and its pod tell of an attempt. Pure: documents in, an attempt out.

The Job decides whether the attempt is over, the pod tells how: exit code and last words.
A pod may be gone by then (drained nodes take theirs along), so the rules of the Job's
podFailurePolicy make its own message say the exit code, or that the pod had to go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from strandline.adapters.kube.kinds import parse_time
from strandline.adapters.kube.resources import Document
from strandline.spec.attempts import (
    ANNOTATION_FAILURES,
    ANNOTATION_GENERATION,
    LABEL_ATTEMPT,
    Attempt,
)

Waiting = tuple[str, str]

_EXIT_CODE = re.compile(r"failed with exit code (-?\d+)")
_STUCK = frozenset(
    {
        "ImagePullBackOff",
        "ErrImagePull",
        "ErrImageNeverPull",
        "InvalidImageName",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
    }
)
_MOST_WORDS = 300
# The kubelet ends a pod that uses more than it asked for like one that it needs the room of.
_OWN_FAULT = re.compile(r"exceed", re.IGNORECASE)


def keep_job(job: Document) -> Document:
    """Keep of a Job what is looked at."""
    return {
        **_head(job),
        "spec": {"suspend": (job.get("spec") or {}).get("suspend", False)},
        "status": {
            name: value
            for name, value in (job.get("status") or {}).items()
            if name in ("conditions", "startTime", "completionTime", "active")
        },
    }


def keep_pod(pod: Document) -> Document:
    """Keep of a job's pod what is looked at."""
    status = pod.get("status") or {}
    return {
        **_head(pod),
        "status": {
            **{name: status[name] for name in ("phase", "message", "reason") if name in status},
            "conditions": [
                {name: each.get(name) for name in ("type", "status", "reason", "message")}
                for each in status.get("conditions") or ()
                if each["type"] in ("PodScheduled", "DisruptionTarget")
            ],
            "containerStatuses": [
                {"name": each["name"], "state": each.get("state") or {}}
                for each in status.get("containerStatuses") or ()
            ],
        },
    }


def _head(document: Document) -> Document:
    metadata = document["metadata"]
    names = ("name", "namespace", "uid", "resourceVersion", "labels", "annotations")
    times = ("creationTimestamp", "deletionTimestamp")
    return {
        "apiVersion": document.get("apiVersion"),
        "kind": document.get("kind"),
        "metadata": {name: metadata[name] for name in (*names, *times) if name in metadata},
    }


def attempt_of(job: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> Attempt:
    """Return the attempt that this Job, with these pods, is."""
    metadata = job["metadata"]
    annotations = metadata.get("annotations") or {}
    status = job.get("status") or {}
    complete, failed = _true(status, "Complete"), _true(status, "Failed")
    ended = complete or failed
    base = Attempt(
        number=int(metadata["labels"][LABEL_ATTEMPT]),
        generation=int(annotations.get(ANNOTATION_GENERATION) or 0),
        failures_before=int(annotations.get(ANNOTATION_FAILURES) or 0),
        started_at=_time(status.get("startTime") or metadata.get("creationTimestamp")),
        stopped=not ended and "deletionTimestamp" in metadata,
        waiting=None if ended else _waiting(job, pods),
    )
    if ended is None:
        return base
    return _ended(base, ended, bool(complete), pods)


def _ended(
    attempt: Attempt,
    condition: Mapping[str, Any],
    complete: bool,
    pods: Sequence[Mapping[str, Any]],
) -> Attempt:
    message = str(condition.get("message") or "")
    ends = [end for pod in pods for end in _ends_of(pod)]
    exit_code, words = (0, "") if complete else _exit_of(ends, message)
    taken = not complete and _was_taken(condition, message, pods)
    return replace(
        attempt,
        ended=True,
        ended_at=_time(condition.get("lastTransitionTime")),
        exit_code=exit_code,
        preempted=taken,
        last_words=words or ("" if complete else _told_by_pods(pods) or shorten(message)),
    )


def _exit_of(ends: Sequence[Mapping[str, Any]], message: str) -> tuple[int | None, str]:
    for end in ends:
        words = last_line(str(end.get("message") or ""))
        if end.get("reason") == "OOMKilled":
            words = "the container needed more memory than its limit (OOMKilled)"
        return int(end["exitCode"]), words
    match = _EXIT_CODE.search(message)
    return (int(match[1]) if match else None), ""


def _was_taken(
    condition: Mapping[str, Any], message: str, pods: Sequence[Mapping[str, Any]]
) -> bool:
    if any(_OWN_FAULT.search(str(_status(pod).get("message") or "")) for pod in pods):
        return False
    if condition.get("reason") == "PodFailurePolicy" and "DisruptionTarget" in message:
        return True
    return any(_true(_status(pod), "DisruptionTarget") for pod in pods)


def _told_by_pods(pods: Sequence[Mapping[str, Any]]) -> str:
    for pod in pods:
        if text := str(_status(pod).get("message") or ""):
            return shorten(text)
    return ""


def _waiting(job: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> Waiting | None:
    if (job.get("spec") or {}).get("suspend"):
        return "Queued", "Its queue has not admitted the job yet."
    for pod in pods:
        if _status(pod).get("phase") == "Pending" and (found := why_pending(pod)):
            return found
    return None


def why_pending(pod: Mapping[str, Any]) -> Waiting | None:
    """Return what is in the way of a pod that has not started, as far as Kubernetes knows."""
    for condition in _status(pod).get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            reason = str(condition.get("reason") or "Unschedulable")
            return reason, str(condition.get("message") or "No node takes the pod.")
    for container in _status(pod).get("containerStatuses") or ():
        waiting = container["state"].get("waiting") or {}
        if waiting.get("reason") in _STUCK:
            return str(waiting["reason"]), str(waiting.get("message") or "The pod cannot start.")
    return None


def is_over(pod: Mapping[str, Any]) -> bool:
    """Return whether nothing of the pod runs any more."""
    return _status(pod).get("phase") in ("Succeeded", "Failed")


def _ends_of(pod: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for container in _status(pod).get("containerStatuses") or ():
        if end := container["state"].get("terminated"):
            yield end


def _status(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    return pod.get("status") or {}


def _true(status: Mapping[str, Any], type_: str) -> Mapping[str, Any] | None:
    for condition in status.get("conditions") or ():
        if condition["type"] == type_ and condition["status"] == "True":
            found: Mapping[str, Any] = condition
            return found
    return None


def _time(text: Any) -> datetime | None:
    return parse_time(text) if text else None


def last_line(text: str) -> str:
    """Return the last line that says something."""
    spoken = [line.strip() for line in text.splitlines() if line.strip()]
    return shorten(spoken[-1]) if spoken else ""


def shorten(text: str) -> str:
    """Return the end of a text, fit to be shown."""
    plain = "".join(char if char.isprintable() else " " for char in text)
    return plain[-_MOST_WORDS:]
