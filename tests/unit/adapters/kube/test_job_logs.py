"""Logs are read on where a connection broke: no line is lost, none comes twice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest

from strandline.adapters.kube.job_logs import follow_log, last_lines, read_log
from strandline.adapters.kube.objects import KubeObjects
from strandline.adapters.kube.resources import ObjectKey
from strandline.ports import Resource
from strandline.spec.attempts import LABEL_ATTEMPT
from strandline.spec.errors import InvalidSpecError, UnavailableError
from strandline.testing.fake_clock import FakeClock


def stamped(number: int, text: str) -> bytes:
    return f"2026-01-31T12:00:{number:02d}.000000000Z {text}\n".encode()


def pod(attempt: int, container: str = "job") -> dict[str, Any]:
    return {
        "metadata": {
            "name": f"pod-{attempt}",
            "namespace": "birds",
            "labels": {LABEL_ATTEMPT: str(attempt)},
        },
        "spec": {"nodeName": "a", "containers": [{"name": container}]},
    }


class Scripted:
    """An API whose log connections bring what they are told to, one after the other."""

    def __init__(self, pods: list[dict[str, Any]], *connections: Any) -> None:
        self.namespace, self.host = "birds", "https://there"
        self.api = self
        self.asked: list[tuple[str, str | None, int | None]] = []
        self._pods = pods
        self._connections = list(connections)

    def pods(self, resource: Resource) -> list[dict[str, Any]]:
        return self._pods

    def read_log(self, key: ObjectKey, container: str, *, tail_lines: int | None = None) -> str:
        self.asked.append((key.name, container, tail_lines))
        return f"log of {key.name}\n"

    def follow_log(
        self,
        key: ObjectKey,
        container: str,
        *,
        since: str | None = None,
        tail_lines: int | None = None,
    ) -> Iterator[bytes]:
        self.asked.append((key.name, since, tail_lines))
        for part in self._connections.pop(0):
            if isinstance(part, Exception):
                raise part
            yield part


def objects(*given: Any) -> tuple[KubeObjects, Scripted]:
    scripted = Scripted(*given)
    return cast("KubeObjects", scripted), scripted


@pytest.fixture
def resource() -> Resource:
    return Resource("Search", "quick", "u", 1, 1, {}, {}, {}, {}, FakeClock().now())


def rounds(number: int) -> Any:
    left = iter(range(number))
    return lambda: next(left, None) is None


def test_a_broken_connection_is_made_anew_from_the_last_line(resource: Resource) -> None:
    there, scripted = objects(
        [pod(1)],
        [stamped(1, "one"), stamped(2, "two")[:20], UnavailableError("cut off")],
        [stamped(1, "one") + stamped(2, "two"), stamped(3, "three")],
    )
    said = b"".join(follow_log(there, resource, -1, rounds(1), lambda _: None))
    assert said == b"one\ntwo\nthree\n"
    assert [each[1] for each in scripted.asked] == [None, "2026-01-31T12:00:01.000000000Z"]


def test_the_tail_counts_at_the_first_connection_only(resource: Resource) -> None:
    there, scripted = objects(
        [pod(1)], [stamped(8, "eight")], [stamped(8, "eight"), stamped(9, "nine")]
    )
    assert b"".join(follow_log(there, resource, 1, rounds(1), lambda _: None)) == b"eight\nnine\n"
    assert [each[2] for each in scripted.asked] == [1, None]


def test_a_container_that_has_not_started_is_waited_for(resource: Resource) -> None:
    naps: list[float] = []
    there, _ = objects([pod(1)], [InvalidSpecError("is waiting to start")], [stamped(1, "one")])
    assert b"".join(follow_log(there, resource, -1, rounds(1), naps.append)) == b"one\n"
    assert naps == [1.0]


def test_the_next_attempt_is_followed_as_well(resource: Resource) -> None:
    pods = [pod(1)]
    there, scripted = objects(pods, [stamped(5, "first")], [stamped(1, "second")])
    said = follow_log(there, resource, -1, rounds(1), lambda _: pods.append(pod(2)))
    assert b"".join(said) == b"first\nsecond\n"
    assert [each[0] for each in scripted.asked] == ["pod-1", "pod-2"]


def test_the_newest_attempt_speaks_or_the_one_before(resource: Resource) -> None:
    there, scripted = objects([pod(2), pod(10), pod(9), pod(10, "worker")])
    assert read_log(there, resource, 3, previous=False) == b"log of pod-10\n"
    assert read_log(there, resource, -1, previous=True) == b"log of pod-9\n"
    assert scripted.asked == [("pod-10", "job", 3), ("pod-9", "job", None)]
    assert read_log(objects([pod(1)])[0], resource, -1, previous=True) is None


def test_on_a_ray_the_head_speaks(resource: Resource) -> None:
    there, scripted = objects([pod(1, "ray-worker"), pod(1, "ray-head")])
    assert read_log(there, resource, -1, previous=False)
    assert scripted.asked == [("pod-1", "ray-head", None)]


def test_the_last_lines_come_once_the_job_has_ended(resource: Resource) -> None:
    there, _ = objects([pod(1)], [stamped(1, "a") + stamped(2, "b"), stamped(3, "report: {}")])
    assert last_lines(there, resource, 2) == ["b", "report: {}"]
    assert last_lines(objects([])[0], resource, 2) == []
