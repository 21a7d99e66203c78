"""What `KubeJobs` does while its caches lag behind the API, or catch up in the middle."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from strandline.adapters.clock import SystemClock
from strandline.adapters.kube.jobs import KubeJobs
from strandline.adapters.kube.resources import JOBS, ObjectKey, key_of
from strandline.ports import Resource
from strandline.spec.actions import JobState, Placement
from strandline.spec.attempts import (
    ANNOTATION_FAILURES,
    ANNOTATION_GENERATION,
    LABEL_ATTEMPT,
    LABEL_UID,
    job_name,
)
from strandline.spec.errors import AlreadyExistsError, ConflictError

SEARCH = Resource(
    "Search", "quick", "uid-1", 1, 1, {}, {}, {}, {}, datetime(2026, 1, 31, tzinfo=UTC)
)


class Server:
    """The Jobs that an apiserver has."""

    def __init__(self) -> None:
        self.jobs: dict[ObjectKey, dict[str, Any]] = {}

    def create(self, rt: Any, job: dict[str, Any]) -> None:
        if key_of(job) in self.jobs:
            raise AlreadyExistsError("there is one")
        self.jobs[key_of(job)] = job

    def get(self, rt: Any, key: ObjectKey) -> dict[str, Any]:
        return self.jobs[key]

    def list_pages(self, *_: Any, **__: Any) -> list[Any]:
        return []


class Cache:
    """An informer that shows of the server what the test lets it see."""

    def __init__(self) -> None:
        self.held: dict[ObjectKey, dict[str, Any]] = {}

    def by_index(self, index: str, value: str) -> list[ObjectKey]:
        return list(self.held)

    def get(self, key: ObjectKey) -> dict[str, Any] | None:
        return self.held.get(key)


def make_job(
    resource: Resource, namespace: str, attempt: int, failures: int, placement: Placement
) -> dict[str, Any]:
    return {
        "metadata": {
            "name": job_name(resource.kind, resource.name, resource.uid, attempt),
            "namespace": namespace,
            "uid": f"job-{attempt}",
            "labels": {LABEL_ATTEMPT: str(attempt), LABEL_UID: resource.uid},
            "annotations": {
                ANNOTATION_GENERATION: str(resource.generation),
                ANNOTATION_FAILURES: str(failures),
            },
        },
        "status": {},
    }


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def cache() -> Cache:
    return Cache()


@pytest.fixture
def jobs(server: Server, cache: Cache) -> KubeJobs:
    api: Any = server
    shown: Any = cache
    pods: Any = Cache()
    return KubeJobs(api, "team-a", shown, pods, make_job, SystemClock())


def test_a_start_that_no_cache_shows_yet_is_not_done_again(jobs: KubeJobs, server: Server) -> None:
    for started in (True, False, False):
        assert jobs.view(SEARCH).state is JobState.NONE
        assert jobs.start(SEARCH, 1) is started
    assert len(server.jobs) == 1


def test_a_cache_that_catches_up_after_the_decision_makes_no_second_job(
    jobs: KubeJobs, server: Server, cache: Cache
) -> None:
    jobs.view(SEARCH)
    jobs.start(SEARCH, 1)
    assert jobs.view(SEARCH).state is JobState.NONE
    cache.held = dict(server.jobs)
    assert jobs.start(SEARCH, 1) is False
    assert len(server.jobs) == 1


def test_an_attempt_that_ended_while_a_start_was_decided_is_not_overtaken(
    jobs: KubeJobs, server: Server, cache: Cache
) -> None:
    jobs.start(SEARCH, 1)
    (job,) = server.jobs.values()
    failed = {"type": "Failed", "status": "True", "lastTransitionTime": "2026-01-31T12:00:00Z"}
    jobs.view(SEARCH)
    job["status"] = {"conditions": [failed]}
    cache.held = dict(server.jobs)
    assert jobs.start(SEARCH, 1) is False  # its view had no attempt: it means the first
    assert jobs.view(SEARCH).state is JobState.ENDED
    assert jobs.start(SEARCH, 1) is True
    assert sorted(key.name[-1] for key in server.jobs) == ["1", "2"]


def test_a_job_of_somebody_else_under_the_name_is_not_taken_for_ours(
    jobs: KubeJobs, server: Server
) -> None:
    other = make_job(SEARCH, "team-a", 1, 0, Placement())
    other["metadata"]["labels"][LABEL_UID] = "uid-2"
    server.create(JOBS, other)
    with pytest.raises(ConflictError, match="in the way"):
        jobs.start(SEARCH, 1)
