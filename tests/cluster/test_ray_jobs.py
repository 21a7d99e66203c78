"""Jobs as RayJobs on a real apiserver; a stand-in for KubeRay makes their clusters."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest
from tests.cluster.control_plane import ControlPlane
from tests.cluster.kuberay_stand_in import CRD, SERVICES, Entrypoint, KubeRayStandIn

from strandline.adapters.kube.api import KubeApi
from strandline.adapters.kube.informer import Informer, InformerSettings
from strandline.adapters.kube.job_states import keep_pod
from strandline.adapters.kube.jobs import BY_UID
from strandline.adapters.kube.kinds import JOB_SELECTOR, worker_uid
from strandline.adapters.kube.ray_job_states import NODE_TYPE_LABEL, RAYJOBS, keep_rayjob
from strandline.adapters.kube.ray_jobs import ByKind, KubeRayJobs
from strandline.adapters.kube.resources import PODS, SECRETS, Document, key_of
from strandline.control.rayjobs import TTL_SECONDS, make_rayjob
from strandline.ports import Resource
from strandline.spec.actions import JobState, JobView, Placement, PoolShare
from strandline.spec.errors import ConflictError
from strandline.spec.operator_config import Execution, JobSettings
from strandline.testing.fake_clock import FakeClock

pytestmark = [pytest.mark.apiserver, pytest.mark.slow]

PATIENCE_SECONDS = 120.0
SETTINGS = JobSettings.model_validate({"image": "example.com/jobs:test"})
EXECUTION = Execution.model_validate({"mode": "kuberay"})
PLACEMENT = Placement((PoolShare("a", {"cpu": "2"}, 2), PoolShare("b", {"cpu": "1"}, 1)))
QUEUED = Placement((PoolShare("a", {"queue": "team"}, 1),))
_numbers = count()


@dataclass
class Driver:
    """An entrypoint that ends when a test says so."""

    code: int | None = None
    said: str = "searching\nthe last words\n"
    stopped: bool = False

    def exit_code(self) -> int | None:
        return self.code

    def log(self) -> str:
        return self.said

    def stop(self) -> None:
        self.stopped = True
        self.code = 130


@dataclass
class World:
    """A namespace, an executor that looks at it, and what KubeRay and nodes do there."""

    api: KubeApi
    namespace: str
    clock: FakeClock
    executor: KubeRayJobs
    drivers: list[Driver] = field(default_factory=list)
    pods_start: bool = True

    def __post_init__(self) -> None:
        self.kuberay = KubeRayStandIn(self.api, self.namespace, self.start, self.clock)

    def start(self, job: Document, head: Document) -> Entrypoint:
        self.drivers.append(Driver())
        return self.drivers[-1]

    def pods(self) -> list[Document]:
        return list(self.api.list_all(PODS, self.namespace).items)

    def rayjobs(self) -> list[Document]:
        return list(self.api.list_all(RAYJOBS, self.namespace).items)

    def step(self) -> None:
        """Let KubeRay and the nodes do what they have to."""
        self.kuberay.step()
        for pod in self.pods():
            if self.pods_start and pod["status"].get("phase") == "Pending":
                ready = [{"type": "Ready", "status": "True"}]
                status = {**pod["status"], "phase": "Running", "conditions": ready}
                key = key_of(pod)
                self.api.patch_merge(PODS, key, {"status": status}, subresource="status")

    def until(self, resource: Resource, holds: Callable[[JobView], bool]) -> JobView:
        """Move the world on until the executor sees that it is so."""
        give_up = time.monotonic() + PATIENCE_SECONDS
        while not holds(view := self.executor.view(resource)):
            assert time.monotonic() < give_up, f"waited in vain: {view}"
            self.step()
            time.sleep(0.05)
        return view


@pytest.fixture(scope="module")
def plane(control_plane: ControlPlane) -> ControlPlane:
    control_plane.kubectl.apply(CRD)
    give_up = time.monotonic() + PATIENCE_SECONDS
    while "rayjobs" not in control_plane.kubectl("api-resources", "--api-group=ray.io"):
        assert time.monotonic() < give_up, "the CRD is not served"
        time.sleep(0.2)
    return control_plane


@pytest.fixture
def world(plane: ControlPlane) -> Iterator[World]:
    namespace = f"rayjobs-{next(_numbers)}"
    named = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    plane.kubectl.apply(named)
    api, clock = KubeApi.connect(plane.kubeconfig), FakeClock()
    clock.advance((datetime.now(UTC) - clock.now()).total_seconds())

    def watch(resource: Any, keep: Any) -> Informer:
        indexes = {BY_UID: lambda document: [worker_uid(document)]}
        return Informer(
            api,
            resource,
            clock,
            namespace=namespace,
            selector=JOB_SELECTOR,
            keep=keep,
            indexes=indexes,
            settings=InformerSettings(),
        )

    def make(
        resource: Resource, namespace: str, attempt: int, failures: int, placement: Placement
    ) -> Document:
        return make_rayjob(resource, namespace, attempt, failures, placement, SETTINGS, EXECUTION)

    jobs, pods = watch(RAYJOBS, keep_rayjob), watch(PODS, keep_pod)
    for informer in (jobs, pods):
        informer.start()
        assert informer.wait_synced(PATIENCE_SECONDS)
    yield World(api, namespace, clock, KubeRayJobs(api, namespace, jobs, pods, make, clock))
    for informer in (jobs, pods):
        informer.stop()
    api.close()


@pytest.fixture
def search(world: World) -> Resource:
    """A Search; the ConfigMap under its name is what owns the RayJobs here."""
    return make_search(world)


def make_search(world: World, uid: str = "") -> Resource:
    return Resource(
        kind="Search",
        name="coast",
        uid=uid or f"{next(_numbers):08x}-0000-4000-8000-000000000000",
        generation=3,
        resource_version=1,
        labels={},
        annotations={},
        spec={"dataset": {"name": "coast"}},
        status={},
        created_at=world.clock.now(),
    )


def runs(view: JobView) -> bool:
    return view.state is JobState.RUNNING


def ended(view: JobView) -> bool:
    return view.state is JobState.ENDED


def begin(world: World, search: Resource, placement: Placement = PLACEMENT) -> Driver:
    """Start the job and return its driver, once it runs."""
    before = len(world.drivers)
    world.executor.start(search, 3, placement)
    world.until(search, lambda view: len(world.drivers) > before)
    return world.drivers[-1]


def test_a_search_gets_a_head_and_its_workers_and_succeeds(world: World, search: Resource) -> None:
    assert world.executor.view(search).state is JobState.NONE
    driver = begin(world, search)
    assert world.until(search, runs).waiting is None
    groups = sorted(pod["metadata"]["labels"]["ray.io/group"] for pod in world.pods())
    assert groups == ["a", "a", "b", "headgroup"]
    driver.code = 0
    view = world.until(search, ended)
    assert (view.exit_code, view.failures, view.generation) == (0, 0, 3)


def test_starting_twice_makes_one_however_late_the_caches_are(
    world: World, search: Resource
) -> None:
    started = [world.executor.start(search, 3, PLACEMENT) for _ in range(3)]
    assert started[0] is True
    world.until(search, runs)
    assert len(world.rayjobs()) == 1


def test_what_has_the_name_and_belongs_to_something_else_is_told(world: World) -> None:
    search = make_search(world)
    world.executor.start(search, 3, PLACEMENT)
    alike = make_search(world, uid=f"{search.uid[:8]}-1111-4000-8000-000000000000")
    with pytest.raises(ConflictError, match="in the way"):
        world.executor.start(alike, 3, PLACEMENT)


def test_an_end_that_may_pass_is_counted_and_the_next_attempt_replaces_it(
    world: World, search: Resource
) -> None:
    begin(world, search).code = 10
    view = world.until(search, ended)
    assert (view.exit_code, view.failures, view.last_words) == (10, 1, "the last words")
    begin(world, search).code = 10
    view = world.until(search, lambda view: ended(view) and view.failures == 2)
    world.until(search, lambda view: len(world.rayjobs()) == 1)
    assert world.rayjobs()[0]["metadata"]["name"].endswith("-2")


def test_stopping_asks_the_driver_and_lasts_until_the_pods_are_gone(
    world: World, search: Resource
) -> None:
    driver = begin(world, search)
    world.executor.stop(search)
    world.executor.stop(search)
    world.until(search, lambda view: view.state is JobState.NONE)
    assert driver.stopped
    assert world.pods() == []


def test_what_a_queue_takes_back_goes_on_later_and_did_not_fail(
    world: World, search: Resource
) -> None:
    world.executor.start(search, 3, QUEUED)
    view = world.until(search, lambda view: view.waiting is not None)
    assert view.waiting is not None
    assert (view.waiting[0], world.pods()) == ("Queued", [])
    admit(world, True)
    world.until(search, lambda view: len(world.drivers) == 1)
    admit(world, False)
    world.until(search, lambda view: view.waiting is not None and not world.pods())
    admit(world, True)
    world.until(search, lambda view: len(world.drivers) == 2)
    world.drivers[-1].code = 0
    view = world.until(search, ended)
    assert (view.exit_code, view.failures) == (0, 0)


def admit(world: World, admitted: bool) -> None:
    """Do what Kueue does when it admits a workload, or evicts one."""
    (job,) = world.rayjobs()
    world.api.patch_merge(RAYJOBS, key_of(job), {"spec": {"suspend": not admitted}})


def test_a_head_that_is_lost_comes_back_and_the_driver_is_started_again(
    world: World, search: Resource
) -> None:
    begin(world, search)
    head = next(pod for pod in world.pods() if pod["metadata"]["labels"][NODE_TYPE_LABEL] == "head")
    world.api.delete(PODS, key_of(head), grace_seconds=0)
    world.until(search, lambda view: len(world.drivers) == 2)
    world.drivers[-1].code = 0
    assert world.until(search, ended).exit_code == 0


def test_pods_that_no_node_takes_are_told(world: World, search: Resource) -> None:
    world.pods_start = False
    world.executor.start(search, 3, PLACEMENT)
    world.until(search, lambda view: len(world.pods()) == 4)
    why = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    for pod in world.pods():
        told = {"status": {"conditions": [{**why, "message": "0/3 nodes are available"}]}}
        world.api.patch_merge(PODS, key_of(pod), told, subresource="status")
    view = world.until(search, lambda view: view.waiting is not None)
    assert view.waiting == ("Unschedulable", "0/3 nodes are available")


def test_without_kuberay_the_search_says_so(world: World, search: Resource) -> None:
    world.executor.start(search, 3, PLACEMENT)
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not runs(world.executor.view(search)):
        assert time.monotonic() < give_up
        time.sleep(0.05)
    silent = world.executor.view(search)
    assert silent.waiting is None
    assert silent.look_seconds is not None
    world.clock.advance(silent.look_seconds + 1.0)
    waiting = world.executor.view(search).waiting
    assert waiting is not None
    assert waiting[0] == "NoKubeRay"


def test_the_cluster_goes_when_its_time_is_over_and_the_rayjob_stays(
    world: World, search: Resource
) -> None:
    begin(world, search).code = 0
    world.until(search, ended)
    assert world.pods()
    world.clock.advance(TTL_SECONDS + 1)
    world.until(search, lambda view: not world.pods())
    assert world.executor.view(search).exit_code == 0
    assert not world.api.list_all(SERVICES, world.namespace).items
    assert not world.api.list_all(SECRETS, world.namespace).items


def test_deleting_the_rayjob_leaves_nothing(world: World, search: Resource) -> None:
    begin(world, search)
    (job,) = world.rayjobs()
    world.api.delete(RAYJOBS, key_of(job), propagation="Foreground")
    world.until(search, lambda view: not world.pods() and not world.rayjobs())


class OneJob:
    """An executor whose one job stands where a test says."""

    def __init__(self, state: JobState) -> None:
        self.state = state
        self.calls: list[str] = []

    def view(self, resource: Resource) -> JobView:
        return JobView(self.state)

    def start(self, resource: Resource, generation: int, placement: Any = None) -> bool:
        self.calls.append("start")
        return True

    def stop(self, resource: Resource) -> None:
        self.calls.append("stop")


@pytest.mark.parametrize(
    ("rayjob", "job", "seen"),
    [
        (JobState.NONE, JobState.RUNNING, JobState.RUNNING),
        (JobState.ENDED, JobState.NONE, JobState.ENDED),
        (JobState.NONE, JobState.ENDED, JobState.NONE),
    ],
)
def test_a_job_of_before_the_change_to_rayjobs_runs_to_its_end(
    world: World, rayjob: JobState, job: JobState, seen: JobState
) -> None:
    rays, jobs = OneJob(rayjob), OneJob(job)
    either = ByKind(frozenset({"Search"}), rays, jobs)
    search = make_search(world)
    assert either.view(search).state is seen
    either.start(search, 3)
    either.stop(search)
    assert (rays.calls, jobs.calls) == (["start", "stop"], ["stop"])
