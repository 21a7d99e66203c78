"""The operator that runs searches as RayJobs, on a real apiserver with a stand-in for KubeRay."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from typing import Any

import pytest
from tests.cluster.control_plane import ControlPlane
from tests.cluster.kuberay_place import RayWorld
from tests.cluster.kuberay_stand_in import CRD
from tests.cluster.operator_place import (
    DATASET,
    DEFAULT_JOBS,
    SEARCH,
    RunJob,
    World,
    bare_plane,
    goes_on,
)
from tests.servers.postgres import PostgresServer

from strandline.adapters.kube.kinds import COMPUTE_POOLS, TYPES
from strandline.adapters.kube.ray_job_states import RAYJOBS
from strandline.adapters.kube.resources import NODES, Document, ObjectKey, key_of
from strandline.adapters.sql import Database
from strandline.spec.attempts import LABEL_ATTEMPT, LABEL_KIND
from strandline.spec.errors import StrandlineError
from strandline.testing.searches import PowerCut

pytestmark = [pytest.mark.apiserver, pytest.mark.postgres, pytest.mark.slow]

STARTED = [("Dataset", "coast", 1), ("Search", "quick", 1), ("Search", "quick", 2)]
_numbers = count()


@pytest.fixture(scope="module")
def database(postgres_server: PostgresServer) -> Iterator[Database]:
    made = Database(postgres_server.make_database())
    yield made
    made.close()


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with bare_plane(tmp_path_factory.mktemp("kuberay")) as running:
        running.kubectl.apply(CRD)
        yield running


@pytest.fixture
def make_world(plane: ControlPlane, database: Database) -> Callable[..., RayWorld]:
    def make(**jobs: RunJob) -> RayWorld:
        namespace = f"ray-{next(_numbers)}"
        return RayWorld(plane, namespace, database, {**DEFAULT_JOBS, **jobs})

    return make


def apply_all(world: World, **search: Any) -> None:
    world.apply("Dataset", "coast", DATASET)
    world.apply("Search", "quick", {**SEARCH, **search})


def is_done(world: World) -> bool:
    kinds = (("Dataset", "coast"), ("Search", "quick"), ("Model", "coast"))
    return all(world.condition(*each)[0] == "True" for each in kinds)


def heads(world: World) -> list[Document]:
    labels = [(pod, pod["metadata"]["labels"]) for pod in world.pods()]
    return [pod for pod, each in labels if each.get("ray.io/node-type") == "head"]


def reason(world: World) -> str:
    return world.condition("Search", "quick")[1]


def test_a_search_runs_as_a_rayjob_and_an_import_as_a_job(
    make_world: Callable[..., RayWorld],
) -> None:
    world = make_world()
    apply_all(world)
    with world.kuberay_operator() as operator:
        world.go_on(operator, lambda: is_done(world))
    assert world.started == STARTED
    assert [job["metadata"]["labels"][LABEL_KIND] for job in world.jobs()] == ["Dataset"]
    (last,) = [job for job in world.rayjobs() if "deletionTimestamp" not in job["metadata"]]
    assert last["metadata"]["labels"][LABEL_ATTEMPT] == "2"


def test_a_suspended_search_gives_its_cluster_back_and_goes_on_later(
    make_world: Callable[..., RayWorld],
) -> None:
    world = make_world(Search=goes_on)
    apply_all(world)
    with world.kuberay_operator() as operator:
        world.go_on(operator, lambda: bool(heads(world)) and reason(world) == "Searching")
        world.apply("Search", "quick", {**SEARCH, "suspend": True})
        world.go_on(operator, lambda: not heads(world) and reason(world) == "Suspended")
        world.apply("Search", "quick", {**SEARCH, "suspend": False})
        world.go_on(operator, lambda: bool(heads(world)) and reason(world) == "Searching")


def test_a_deleted_search_leaves_no_cluster(make_world: Callable[..., RayWorld]) -> None:
    world = make_world(Search=goes_on)
    apply_all(world)
    with world.kuberay_operator() as operator:
        world.go_on(operator, lambda: bool(heads(world)))
        world.delete("Search", "quick")
        world.go_on(operator, lambda: not heads(world) and not world.rayjobs())


def test_a_queue_that_holds_it_is_told_in_the_condition(
    make_world: Callable[..., RayWorld],
) -> None:
    world = make_world(Search=goes_on)
    name = f"{world.namespace}-queued"
    node = {"metadata": {"name": name, "labels": {"pool": name}}}
    world.api.apply(NODES, node)
    spec = {"nodeSelector": {"pool": name}, "queue": "team"}
    world.api.apply(COMPUTE_POOLS, {"metadata": {"name": name}, "spec": spec})
    apply_all(world, pools=[{"name": name}])
    with world.kuberay_operator() as operator:
        world.go_on(operator, lambda: reason(world) == "Queued")
        (job,) = world.rayjobs()
        world.api.patch_merge(RAYJOBS, key_of(job), {"spec": {"suspend": False}})
        world.go_on(operator, lambda: len(heads(world)) == 1 and reason(world) == "Searching")
    world.api.delete(NODES, ObjectKey("", name))
    world.api.delete(COMPUTE_POOLS, ObjectKey("", name))


def test_operators_killed_after_each_of_their_writes_start_nothing_twice(
    make_world: Callable[..., RayWorld],
) -> None:
    world = make_world()
    apply_all(world)
    for number in range(500):
        assert number < 499, "operators that do one write each come to no end"
        with world.kuberay_operator([1]) as operator, suppress(PowerCut):
            world.go_on(operator, lambda: is_done(world))
            break
    assert world.started == STARTED
    with world.kuberay_operator() as operator:
        world.delete("Search", "quick")
        world.go_on(operator, lambda: not world.rayjobs() and not heads(world))
    with pytest.raises(StrandlineError):
        world.api.get(TYPES["Search"], ObjectKey(world.namespace, "quick"))
