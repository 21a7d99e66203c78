"""The operator on a real apiserver and PostgreSQL; its jobs only write what real ones would."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from typing import Any

import pytest
from sqlalchemy import text
from tests.cluster.control_plane import ControlPlane
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

from strandline.adapters.kube.cluster_agent import FINALIZER
from strandline.adapters.kube.kinds import COMPUTE_POOLS, worker_uid
from strandline.adapters.kube.resources import NODES, PODS, ObjectKey, ResourceType, key_of
from strandline.adapters.sql import Database
from strandline.control.backoff import MAX_FAILURES
from strandline.spec.records import Trial

pytestmark = [pytest.mark.apiserver, pytest.mark.postgres, pytest.mark.slow]

STARTED = [("Dataset", "coast", 1), ("Search", "quick", 1), ("Search", "quick", 2)]
MakeWorld = Callable[..., World]
_numbers = count()


@pytest.fixture(scope="module")
def database(postgres_server: PostgresServer) -> Iterator[Database]:
    made = Database(postgres_server.make_database())
    yield made
    made.close()


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with bare_plane(tmp_path_factory.mktemp("operator")) as plane:
        yield plane


@pytest.fixture
def make_world(kinds: ControlPlane, database: Database) -> MakeWorld:
    def make(**jobs: RunJob) -> World:
        return World(kinds, f"world-{next(_numbers)}", database, {**DEFAULT_JOBS, **jobs})

    return make


def apply_all(world: World) -> None:
    world.apply("Dataset", "coast", DATASET)
    world.apply("Search", "quick", SEARCH)


def is_done(world: World) -> bool:
    ready = [world.condition(*each)[0] for each in (("Search", "quick"), ("Model", "coast"))]
    dataset = world.get("Dataset", "coast")
    assert dataset is not None
    free = FINALIZER not in (dataset["metadata"].get("finalizers") or ())
    return ready == ["True", "True"] and world.condition("Dataset", "coast")[0] == "True" and free


def test_a_dataset_is_imported_and_a_search_ends_in_a_model(make_world: MakeWorld) -> None:
    world = make_world()
    apply_all(world)
    with world.operator() as operator:
        world.go_on(operator, lambda: is_done(world))
    assert world.started == STARTED
    search = world.get("Search", "quick")
    assert search is not None
    assert search["status"]["trials"]["completed"] == 2
    model = world.get("Model", "coast")
    assert model is not None
    assert model["status"]["version"] == 1
    assert "ownerReferences" not in model["metadata"]


def runs(world: World, name: str = "search-quick") -> list[dict[str, Any]]:
    return [pod for pod in world.pods() if pod["metadata"]["name"].startswith(name)]


def reason(world: World, kind: str = "Search", name: str = "quick") -> str:
    return world.condition(kind, name)[1]


def message(world: World, kind: str = "Search", name: str = "quick") -> str:
    document = world.get(kind, name)
    assert document is not None
    conditions = document["status"]["conditions"]
    return str(next(each["message"] for each in conditions if each["type"] == "Ready"))


def test_a_suspended_search_stops_and_goes_on_when_it_is_resumed(make_world: MakeWorld) -> None:
    world = make_world(Search=goes_on)
    apply_all(world)
    with world.operator() as operator:
        world.go_on(operator, lambda: len(runs(world)) == 1 and reason(world) == "Searching")
        world.apply("Search", "quick", {**SEARCH, "suspend": True})
        world.go_on(operator, lambda: not runs(world) and reason(world) == "Suspended")
        world.apply("Search", "quick", {**SEARCH, "suspend": False})
        world.go_on(operator, lambda: len(runs(world)) == 1 and reason(world) == "Searching")


def test_an_edited_dataset_is_imported_anew_by_one_job(make_world: MakeWorld) -> None:
    world = make_world(Dataset=goes_on)
    world.apply("Dataset", "coast", DATASET)
    with world.operator() as operator:
        world.go_on(operator, lambda: len(runs(world, "dataset")) == 1)
        (first,) = runs(world, "dataset")
        world.apply("Dataset", "coast", {"source": {"uri": "s3://pictures/other"}})
        world.go_on(
            operator,
            lambda: (
                [p["metadata"]["uid"] for p in runs(world, "dataset")]
                not in ([], [first["metadata"]["uid"]])
            ),
        )
        (job,) = world.jobs()
    assert job["metadata"]["annotations"]["strandline.dev/generation"] == "2"


def test_a_search_deleted_while_it_runs_leaves_nothing(make_world: MakeWorld) -> None:
    world = make_world(Search=goes_on)
    apply_all(world)
    with world.operator() as operator:
        world.go_on(operator, lambda: len(runs(world)) == 1)
        uid = world.catalog.get_resource("Search", "quick").uid
        world.catalog.record_trial(Trial(search=uid, number=0, candidate={}))
        world.delete("Search", "quick")
        world.go_on(
            operator,
            lambda: (
                not runs(world)
                and not [m for m in world.catalog.resource_versions() if m.kind == "Search"]
            ),
        )
    assert world.catalog.list_trials(uid) == []


def test_a_search_made_again_under_its_name_shares_nothing_with_the_old_one(
    make_world: MakeWorld,
) -> None:
    world = make_world(Search=goes_on)
    apply_all(world)
    with world.operator() as operator:
        world.go_on(operator, lambda: len(runs(world)) == 1)
        old = world.catalog.get_resource("Search", "quick").uid
        world.catalog.record_trial(Trial(search=old, number=0, candidate={}))
        world.delete("Search", "quick")
        world.apply("Search", "quick", SEARCH)
        world.go_on(operator, lambda: len(runs(world)) == 1 and not _runs_of(world, old))
        new = world.catalog.get_resource("Search", "quick").uid
    assert new != old
    assert world.catalog.list_trials(old) == []


def _runs_of(world: World, uid: str) -> list[dict[str, Any]]:
    return [pod for pod in world.pods() if worker_uid(pod) == uid]


def test_a_dataset_in_use_goes_when_nobody_uses_it_any_more(make_world: MakeWorld) -> None:
    world = make_world(Search=goes_on)
    apply_all(world)
    with world.operator() as operator:
        world.go_on(operator, lambda: len(runs(world)) == 1)
        world.delete("Dataset", "coast")
        for _ in range(3):
            world.turn(operator)
            world.step()
        assert world.get("Dataset", "coast") is not None
        assert len(world.catalog.list_dataset_versions("coast")) == 1
        world.delete("Search", "quick")
        world.go_on(operator, lambda: not world.catalog.resource_versions())
    assert world.get("Dataset", "coast") is None
    assert world.catalog.list_dataset_versions("coast") == []


def test_an_error_that_no_retry_mends_is_told_with_the_last_words(make_world: MakeWorld) -> None:
    world = make_world(Dataset=lambda world, resource: 7)
    world.apply("Dataset", "coast", DATASET)
    with world.operator() as operator:
        world.go_on(operator, lambda: reason(world, "Dataset", "coast") == "UnusableData")
        for _ in range(3):
            world.turn(operator)
            world.step()
    assert "the last words" in message(world, "Dataset", "coast")
    assert world.condition("Dataset", "coast", "Stalled")[0] == "True"
    assert world.started == [("Dataset", "coast", 1)]


def test_a_job_that_keeps_crashing_is_given_up(make_world: MakeWorld) -> None:
    world = make_world(Dataset=lambda world, resource: 139)
    world.apply("Dataset", "coast", DATASET)
    with world.operator() as operator:
        world.go_on(operator, lambda: reason(world, "Dataset", "coast") == "BackoffLimitExceeded")
    assert len(world.started) == MAX_FAILURES
    assert "SIGSEGV" in message(world, "Dataset", "coast")


def test_a_job_whose_pod_was_drained_starts_again_and_counts_no_failure(
    make_world: MakeWorld,
) -> None:
    world = make_world(Search=goes_on)
    apply_all(world)
    with world.operator() as operator:
        for number in range(1, MAX_FAILURES + 3):
            world.go_on(operator, partial(has_started, world, number))
            (job,) = [each for each in world.jobs() if attempt(each) == ("Search", number)]
            text = "Pod x/y has condition DisruptionTarget matching FailJob rule at index 0"
            world.end_job(job, failed=True, reason="PodFailurePolicy", text=text)
        world.go_on(operator, lambda: reason(world) in ("Searching", "Preempted"))


def has_started(world: World, number: int) -> bool:
    return ("Search", "quick", number) in world.started


def attempt(job: dict[str, Any]) -> tuple[str, int]:
    labels = job["metadata"]["labels"]
    return labels["strandline.dev/kind"], int(labels["strandline.dev/attempt"])


def test_a_pod_that_cannot_start_is_told_and_forgotten_once_it_runs(make_world: MakeWorld) -> None:
    world = make_world(Dataset=goes_on)
    world.apply("Dataset", "coast", DATASET)
    waiting = {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}
    container = {"name": "job", "image": "", "imageID": "", "ready": False, "restartCount": 0}
    with world.operator() as operator:
        world.go_on(operator, lambda: len(runs(world, "dataset")) == 1)
        (pod,) = runs(world, "dataset")
        stuck = {
            "phase": "Pending",
            "containerStatuses": [{**container, "state": {"waiting": waiting}}],
        }
        patch_status(world, pod, stuck)
        world.go_on(operator, lambda: reason(world, "Dataset", "coast") == "ImagePullBackOff")
        patch_status(world, pod, {"phase": "Running", "containerStatuses": None})
        world.go_on(operator, lambda: reason(world, "Dataset", "coast") == "Importing")


def patch_status(world: World, pod: dict[str, Any], status: dict[str, Any]) -> None:
    world.api.patch_merge(PODS, key_of(pod), {"status": status}, subresource="status")


def test_a_quota_that_refuses_the_job_becomes_the_condition(make_world: MakeWorld) -> None:
    world = make_world()
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none", "namespace": world.namespace},
        "spec": {"hard": {"count/jobs.batch": "0"}},
    }
    world.plane.kubectl.apply(quota)
    rt = ResourceType("", "v1", "resourcequotas", "ResourceQuota")
    hard = {"hard": {"count/jobs.batch": "0"}, "used": {"count/jobs.batch": "0"}}
    key = ObjectKey(world.namespace, "none")
    world.api.patch_merge(rt, key, {"status": hard}, subresource="status")
    world.apply("Dataset", "coast", DATASET)
    with world.operator() as operator:
        world.go_on(operator, lambda: reason(world, "Dataset", "coast") == "QuotaExceeded")
        world.api.delete(rt, key)
        world.go_on(operator, lambda: world.condition("Dataset", "coast")[0] == "True")


def test_a_search_waits_for_a_pool_with_its_reason_and_starts_when_nodes_come(
    make_world: MakeWorld,
) -> None:
    world = make_world()
    name = f"l4-{world.namespace}"
    world.apply("Dataset", "coast", DATASET)
    world.apply("Search", "quick", {**SEARCH, "pools": [{"name": name}]})
    with world.operator() as operator:
        assert operator.pools is not None
        world.go_on(operator, lambda: reason(world) == "PoolUnsatisfiable")
        pool = {"accelerator": {"kind": "gpu"}, "nodeSelector": {"pool": name}, "cpu": 1}
        world.api.apply(COMPUTE_POOLS, {"metadata": {"name": name}, "spec": pool})
        node = {"metadata": {"name": name, "labels": {"pool": name}}}
        world.api.create(NODES, {"apiVersion": "v1", "kind": "Node", **node})
        amounts = {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "1", "pods": "10"}
        ready = {"type": "Ready", "status": "True"}
        status = {"allocatable": amounts, "capacity": amounts, "conditions": [ready]}
        key = ObjectKey("", name)
        world.api.patch_merge(NODES, key, {"status": status}, subresource="status")
        world.api.patch_merge(NODES, key, {"spec": {"taints": None}})  # as its controller would

        def counted() -> bool:
            assert operator.pools is not None
            operator.pools.look()
            return is_done(world)

        world.go_on(operator, counted)
    shown = world.api.get(COMPUTE_POOLS, ObjectKey("", name))["status"]
    assert shown["capacity"]["allocatable"] == 1


def test_status_is_written_at_a_bounded_rate(make_world: MakeWorld) -> None:
    world = make_world(Search=goes_on)
    apply_all(world)
    with world.operator(projectionSeconds=600) as operator:
        world.go_on(operator, lambda: len(runs(world)) == 1)
        search = world.get("Search", "quick")
        assert search is not None
        version = search["metadata"]["resourceVersion"]
        for done in range(5):
            row = world.catalog.get_resource("Search", "quick")
            world.catalog.update_status(
                "Search", "quick", {**row.status, "trials": {"completed": done}}
            )
            world.turn(operator)
        now = world.get("Search", "quick")
        assert now is not None
        assert now["metadata"]["resourceVersion"] == version
        world.clock.advance(600)
        world.turn(operator)
        shown = world.get("Search", "quick")
    assert shown is not None
    assert shown["status"]["trials"]["completed"] == 4


def test_what_settled_costs_no_write(make_world: MakeWorld) -> None:
    world = make_world()
    apply_all(world)
    with world.operator() as operator:
        world.go_on(operator, lambda: is_done(world))
    left = [1000]
    with world.operator(left) as operator:
        for _ in range(3):
            world.turn(operator)
    assert left == [1000]


def test_connections_that_the_database_drops_cost_nothing(
    make_world: MakeWorld, database: Database
) -> None:
    world = make_world()
    apply_all(world)
    others = text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )

    def dropped_and_done() -> bool:
        with database._engine.begin() as connection:
            connection.execute(others)
        return is_done(world)

    with world.operator() as operator:
        world.go_on(operator, dropped_and_done)
    assert world.started == STARTED
