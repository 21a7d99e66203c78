"""What the jobs of an object said, from the logs of their pods, through lost connections."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from strandline.adapters.kube.objects import KubeObjects
from strandline.adapters.kube.refusals import explained
from strandline.adapters.kube.resources import Document, key_of
from strandline.ports import Resource
from strandline.spec.attempts import LABEL_ATTEMPT
from strandline.spec.errors import InvalidSpecError, NotFoundError, UnavailableError

POLL_SECONDS = 1.0
# Of a Job's pod, and of the head of a Ray, where the driver repeats what it says.
_CONTAINERS = ("job", "ray-head")

Sleep = Callable[[float], None]


@dataclass(slots=True)
class _Place:
    """How far a log was read: the time of its last line, and what of the next one came."""

    pod: str = ""
    stamp: str = ""
    rest: bytes = b""


def read_log(objects: KubeObjects, resource: Resource, lines: int, previous: bool) -> bytes | None:
    """Return the log of the newest attempt, or of the one before; None when there is none.

    Args:
        lines: the last ones only; all when negative.
    """
    pod = _pod_of(objects.pods(resource), previous)
    if pod is None or not pod["spec"].get("nodeName"):
        return None
    try:
        with explained(objects.host, objects.namespace):
            tail = None if lines < 0 else lines
            return objects.api.read_log(key_of(pod), _container(pod), tail_lines=tail).encode()
    except (InvalidSpecError, NotFoundError):
        return None  # its container has not started, or it is gone since it was listed


def follow_log(
    objects: KubeObjects,
    resource: Resource,
    lines: int,
    is_over: Callable[[], bool],
    sleep: Sleep,
) -> Iterator[bytes]:
    """Yield what the object's job says, this attempt and later ones, until `is_over`.

    A connection that breaks is made anew; no line is lost or comes twice.
    """
    place = _Place()
    tail = None if lines < 0 else lines
    while True:
        over = is_over()  # asked before reading, so that the last words are not missed
        pod = _pod_of(objects.pods(resource), previous=False)
        if pod is not None:
            yield from _read_on(objects, pod, place, tail)
            tail = None if place.stamp else tail
        if over:
            return
        sleep(POLL_SECONDS)


def last_lines(objects: KubeObjects, resource: Resource, lines: int) -> list[str]:
    """Return the last lines of an object's newest job once it has ended; none without a log."""
    pod = _pod_of(objects.pods(resource), previous=False)
    if pod is None:
        return []
    said = b"".join(_read_on(objects, pod, _Place(), lines))
    return said.decode("utf-8", "replace").splitlines()[-lines:]


def _read_on(
    objects: KubeObjects, pod: Document, place: _Place, tail: int | None
) -> Iterator[bytes]:
    """Yield the lines of a pod that were not read yet, while they come."""
    name = pod["metadata"]["name"]
    if name != place.pod:
        place.pod, place.stamp = name, ""
    place.rest = b""
    since = place.stamp or None
    chunks = objects.api.follow_log(
        key_of(pod), _container(pod), since=since, tail_lines=None if since else tail
    )
    try:
        with explained(objects.host, objects.namespace):
            for chunk in chunks:
                yield from _fresh_lines(chunk, place)
    except (UnavailableError, InvalidSpecError, NotFoundError):
        return  # silent, cut off, not started yet, or gone: looked at again
    if place.rest:
        yield from _fresh_lines(b"\n", place)


def _fresh_lines(chunk: bytes, place: _Place) -> Iterator[bytes]:
    *lines, place.rest = (place.rest + chunk).split(b"\n")
    for line in lines:
        head, _, text = line.partition(b" ")
        stamp = head.decode("ascii", "replace")
        if stamp > place.stamp:
            place.stamp = stamp
            yield text + b"\n"


def _pod_of(pods: list[Document], previous: bool) -> Document | None:
    """Return the pod that speaks for the newest attempt, or the one before."""
    speaking = [pod for pod in pods if _container(pod)]
    attempts = sorted({_attempt(pod) for pod in speaking})
    place = -2 if previous else -1
    if len(attempts) < -place:
        return None
    return next(pod for pod in speaking if _attempt(pod) == attempts[place])


def _attempt(pod: Document) -> int:
    text = (pod["metadata"].get("labels") or {}).get(LABEL_ATTEMPT, "")
    return int(text) if text.isdigit() else 0


def _container(pod: Document) -> str:
    names: list[Any] = [each["name"] for each in (pod.get("spec") or {}).get("containers") or ()]
    return next((name for name in _CONTAINERS if name in names), "")
