"""Which nodes are a pool's, how many workers fit, and where a job goes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from strandline.control.placement import UNSATISFIABLE, WAITING, Unplaced, place
from strandline.control.pools import Capacity, measure, pool_status, read_node, view_pool
from strandline.ports import Resource
from strandline.spec.actions import ANYWHERE, Placement, PoolView
from strandline.spec.conditions import READY, Why, get_condition, is_true
from strandline.spec.kinds.compute_pool import ComputePoolSpec, ComputePoolStatus
from strandline.spec.operator_config import Execution

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
WHY = Why("Counted", "Nodes.", 1, NOON)
KUBERAY = Execution.model_validate({"mode": "kuberay"})
GPU_TAINT = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
L4 = {
    "accelerator": {"kind": "gpu"},
    "nodeSelector": {"gpu": "l4"},
    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
    "cpu": 4,
    "memory": "16Gi",
}
L4_RAY = {"workers": 1, "cpus": 4, "devices": 1}
V5E = {
    "accelerator": {"kind": "tpu"},
    "tpu": {"accelerator": "tpu-v5-lite-podslice", "topology": "4x4"},
    "cpu": 1,
    "memory": "1Gi",
}
TPU_LABELS = {
    "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
    "cloud.google.com/gke-tpu-topology": "4x4",
}


def make_node(
    labels: dict[str, str] | None = None,
    *,
    used: dict[str, float] | None = None,
    ready: str = "True",
    taints: tuple[dict[str, str], ...] = (),
    unschedulable: bool = False,
    **allocatable: str,
) -> Any:
    named = {name.replace("_", "/"): amount for name, amount in allocatable.items()}
    amounts = {"cpu": "7910m", "memory": "31Gi", **named}
    document = {
        "metadata": {"name": "n", "labels": labels or {"gpu": "l4"}},
        "spec": {"taints": list(taints), "unschedulable": unschedulable},
        "status": {
            "allocatable": amounts,
            "conditions": [{"type": "Ready", "status": ready}],
        },
    }
    return read_node(document, used or {})


def gpus(count: int, **fields: Any) -> Any:
    devices: Any = {"nvidia.com_gpu": str(count), **fields}
    return make_node(taints=(GPU_TAINT,), **devices)


def tpu_host(**labels: str) -> Any:
    devices: Any = {"google.com_tpu": "4"}
    return make_node({**TPU_LABELS, **labels}, **devices)


def count(spec: dict[str, Any], *nodes: Any) -> Capacity:
    return measure(ComputePoolSpec.model_validate(spec), nodes)


def test_a_node_that_lacks_a_label_or_repels_pods_is_no_node_of_the_pool() -> None:
    other_label = gpus(1, labels={"gpu": "t4"})
    other_taint = make_node(taints=({"key": "team", "value": "b", "effect": "NoExecute"},))
    preference = make_node(taints=({"key": "x", "effect": "PreferNoSchedule"},))
    assert count(L4, other_label, other_taint).nodes == 0
    assert count(L4, gpus(1), preference).nodes == 2


@pytest.mark.parametrize(
    ("toleration", "fits"),
    [
        ({"key": "nvidia.com/gpu", "operator": "Exists"}, True),
        ({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "nvidia.com/gpu", "value": "present"}, True),
        ({"key": "nvidia.com/gpu", "value": "absent"}, False),
        ({"operator": "Exists"}, True),
        ({"key": "other", "operator": "Exists"}, False),
    ],
)
def test_taints_are_tolerated_as_the_scheduler_does(toleration: dict[str, str], fits: bool) -> None:
    assert count({**L4, "tolerations": [toleration]}, gpus(1)).nodes == int(fits)


def test_devices_and_whole_workers_are_counted() -> None:
    busy = gpus(2, used={"nvidia.com/gpu": 1.0, "cpu": 3.0, "memory": 2.0**30})
    assert count(L4, gpus(2), busy) == Capacity(
        nodes=2, ready=2, allocatable=4, in_use=1, available=3, workers=2, most_workers=2
    )


def test_a_worker_takes_cores_and_memory_besides_devices() -> None:
    capacity = count({**L4, "memory": "20Gi"}, gpus(2))
    assert (capacity.available, capacity.workers) == (2, 1)
    assert count({**L4, "cpu": 16}, gpus(2)).most_workers == 0


def test_nodes_that_take_no_pods_now_are_no_room() -> None:
    capacity = count(L4, gpus(2, ready="Unknown"), gpus(2, unschedulable=True))
    assert (capacity.nodes, capacity.ready, capacity.workers) == (2, 0, 0)
    assert capacity.most_workers == 2


def test_a_node_whose_taint_tells_a_condition_is_of_its_pool_but_not_ready() -> None:
    not_ready = make_node(taints=({"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"},))
    capacity = count({"nodeSelector": {"gpu": "l4"}}, not_ready)
    assert (capacity.nodes, capacity.ready, capacity.workers) == (1, 0, 0)


def test_a_pool_of_cpus_counts_workers() -> None:
    cpus = {"nodeSelector": {"gpu": "l4"}, "cpu": "2", "memory": "4Gi"}
    capacity = count(cpus, make_node(used={"cpu": 4.0}))
    assert (capacity.allocatable, capacity.in_use, capacity.available) == (3, 2, 1)


def test_a_slice_takes_all_its_hosts() -> None:
    hosts = [tpu_host() for _ in range(7)]
    capacity = count(V5E, *hosts)
    assert (capacity.allocatable, capacity.workers) == (28, 1)


def test_amounts_of_nodes_are_read_in_every_unit() -> None:
    node = make_node(cpu="3920m", memory="16374232Ki", ephemeral="47093746742", odd="12e3")
    assert node.allocatable["cpu"] == pytest.approx(3.92)
    assert node.allocatable["memory"] == 16374232 * 1024
    assert node.allocatable["ephemeral"] == 47093746742
    assert node.allocatable["odd"] == 0


def make_pool(spec: dict[str, Any], name: str = "l4") -> Resource:
    return Resource("ComputePool", name, "uid", 1, 1, {}, {}, spec, {}, NOON)


def test_the_status_of_a_pool_tells_its_capacity_and_whether_it_is_ready() -> None:
    status = pool_status(make_pool(L4), count(L4, gpus(2)), WHY)
    assert is_true(status, READY, 1)
    read = ComputePoolStatus.model_validate(status)
    assert read.resource == "nvidia.com/gpu"
    assert read.capacity is not None
    assert (read.capacity.allocatable, read.capacity.workers) == (2, 1)
    empty = pool_status(make_pool(L4), count(L4), WHY)
    ready = get_condition(empty, READY)
    assert ready is not None
    assert (ready["status"], ready["reason"]) == ("False", "NoNodes")


# ---------------------------------------------------------------- which pool


def make_search(**spec: Any) -> Resource:
    full = {"dataset": {"name": "coast"}, "parallelism": 1, **spec}
    return Resource("Search", "a", "uid", 1, 1, {}, {}, full, {}, NOON)


def view(
    name: str = "l4",
    spec: dict[str, Any] | None = None,
    *nodes: Any,
    execution: Execution = KUBERAY,
) -> PoolView:
    chosen = spec or L4
    pool = make_pool(chosen, name)
    return view_pool(pool, count(chosen, *nodes), execution)


def pools(*views: PoolView) -> dict[str, PoolView]:
    return {each.name: each for each in views}


def named(placement: Placement | Unplaced) -> list[tuple[str, int]]:
    assert isinstance(placement, Placement)
    return [(share.name, share.workers) for share in placement.pools]


FULL = gpus(1, used={"nvidia.com/gpu": 1.0})


def test_who_names_no_pool_runs_anywhere() -> None:
    assert place(make_search(), {}) == ANYWHERE
    assert place(make_search(pools=[{"name": "l4"}]), None) == ANYWHERE


def test_the_first_pool_with_room_is_taken() -> None:
    search = make_search(pools=[{"name": "a"}, {"name": "b"}])
    free = pools(view("a", None, gpus(1)), view("b", None, gpus(1)))
    assert named(place(search, free)) == [("a", 1)]
    full = pools(view("a", None, FULL), view("b", None, gpus(1)))
    assert named(place(search, full)) == [("b", 1)]
    absent = pools(view("b", None, gpus(1)))
    assert named(place(search, absent)) == [("b", 1)]


def test_more_trials_than_devices_take_the_next_pool_besides() -> None:
    wanted = [{"name": "a", "workers": 2}, {"name": "b", "workers": 4}]
    free = pools(view("a", None, gpus(8)), view("b", None, gpus(8)))
    assert named(place(make_search(pools=wanted, parallelism=2), free)) == [("a", 2)]
    both = place(make_search(pools=wanted, parallelism=3), free)
    assert named(both) == [("a", 2), ("b", 4)]


def test_a_full_pool_is_waited_for() -> None:
    found = place(make_search(pools=[{"name": "l4"}]), pools(view("l4", None, FULL)))
    assert found == Unplaced(WAITING, "All 1 workers of pool l4 are taken.")


@pytest.mark.parametrize(
    ("there", "text"),
    [
        ((), "There is no ComputePool l4"),
        ((view("l4", None),), "No node has the labels"),
        ((view("l4", {**L4, "cpu": 64}, gpus(1)),), "No node of pool l4 is large enough"),
    ],
)
def test_a_pool_that_can_never_hold_a_worker_is_told(
    there: tuple[PoolView, ...], text: str
) -> None:
    found = place(make_search(pools=[{"name": "l4"}]), pools(*there))
    assert isinstance(found, Unplaced)
    assert found.reason == UNSATISFIABLE
    assert found.message.startswith(text)


def test_a_queue_or_an_autoscaler_decides_itself_when_there_is_room() -> None:
    queued = view("l4", {**L4, "queue": "team"}, FULL)
    assert named(place(make_search(pools=[{"name": "l4"}]), pools(queued))) == [("l4", 1)]
    appear = Execution.model_validate({"mode": "kuberay", "nodesAppear": True})
    scaled = view("l4", None, execution=appear)
    assert named(place(make_search(pools=[{"name": "l4"}]), pools(scaled))) == [("l4", 1)]


def test_the_workers_of_a_standing_ray_are_shared_whatever_is_free_on_their_nodes() -> None:
    there = Execution.model_validate(
        {"mode": "static", "rayAddress": "ray:6379", "rayPools": {"l4": L4_RAY | {"workers": 3}}}
    )
    standing = pools(view("l4", None, FULL, execution=there), view("t4", execution=there))
    assert named(place(make_search(pools=[{"name": "l4"}]), standing)) == [("l4", 3)]
    for asked, given in ((2, 2), (8, 3)):
        search = make_search(pools=[{"name": "l4", "workers": asked}])
        assert named(place(search, standing)) == [("l4", given)]
    found = place(make_search(pools=[{"name": "t4"}]), standing)
    assert isinstance(found, Unplaced)
    assert found.reason == UNSATISFIABLE
    assert found.message == "The Ray at ray:6379 has no workers of pool t4, but of l4."


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cpus": 3}, "pool l4 cpu 3, and the ComputePool says 4"),
        ({"devices": 0}, "pool l4 accelerator.count 0, and the ComputePool says 1"),
    ],
)
def test_a_worker_of_the_ray_must_be_as_large_as_the_pool_says(
    given: dict[str, int], message: str
) -> None:
    small = {"mode": "static", "rayAddress": "ray:6379", "rayPools": {"l4": L4_RAY | given}}
    there = pools(view("l4", execution=Execution.model_validate(small)))
    found = place(make_search(pools=[{"name": "l4"}]), there)
    assert isinstance(found, Unplaced)
    assert found.reason == UNSATISFIABLE
    assert message in found.message


def test_a_ray_elsewhere_is_believed_to_have_workers_of_any_pool() -> None:
    elsewhere = Execution.model_validate({"mode": "attach", "rayAddress": "ray:6379"})
    there = pools(view("l4", execution=elsewhere), view("v5e", V5E, execution=elsewhere))
    for name in there:
        assert named(place(make_search(pools=[{"name": name}]), there)) == [(name, 1)]


def test_the_ray_of_the_chart_has_no_workers_of_several_hosts() -> None:
    chart = Execution.model_validate({"mode": "static", "rayAddress": "ray:6379"})
    there = pools(view("v5e", V5E, execution=chart))
    found = place(make_search(pools=[{"name": "v5e"}]), there)
    assert isinstance(found, Unplaced)
    assert found.reason == UNSATISFIABLE
    assert "has 4 hosts" in found.message
    assert "kuberay" in found.message


def test_a_driver_is_never_on_nodes_that_may_be_taken_away() -> None:
    spot, safe = view("spot", {**L4, "spot": True}, gpus(1)), view("safe", None, gpus(1))
    search = make_search(pools=[{"name": "spot"}], driver={"pool": "safe"})
    placed = place(search, pools(spot, safe))
    assert isinstance(placed, Placement)
    assert placed.driver is not None
    assert (placed.driver.name, placed.pools[0].name) == ("safe", "spot")
    refused = place(make_search(driver={"pool": "spot"}), pools(spot))
    assert isinstance(refused, Unplaced)
    assert refused.reason == UNSATISFIABLE


def test_trials_in_one_pod_need_a_safe_pool_of_single_hosts() -> None:
    here = Execution()
    for spec in ({**L4, "spot": True}, V5E):
        node = tpu_host(gpu="l4")
        found = place(
            make_search(pools=[{"name": "p"}]), pools(view("p", spec, node, execution=here))
        )
        assert isinstance(found, Unplaced)
        assert "trials run in one pod" in found.message


def make_training(**spec: Any) -> Resource:
    full = {"dataset": {"name": "coast"}, "pool": "l4", **spec}
    return Resource("Training", "a", "uid", 1, 1, {}, {}, full, {}, NOON)


def test_a_training_gets_the_workers_it_asks_for() -> None:
    there = pools(view("l4", None, gpus(1), gpus(1), gpus(1)))
    placed = place(make_training(workers=3), there)
    assert named(placed) == [("l4", 3)]
    assert isinstance(placed, Placement)
    assert [share.fewest for share in placed.pools] == [3]


@pytest.mark.parametrize(
    ("nodes", "reason", "message"),
    [
        (
            (gpus(1), gpus(1)),
            UNSATISFIABLE,
            "Pool l4 has room for 2 workers at most, and 3 are needed: lower workers, or set "
            "minWorkers.",
        ),
        (
            (gpus(1), gpus(1), FULL),
            WAITING,
            "2 of 3 workers of pool l4 are free, and 3 are needed.",
        ),
    ],
)
def test_a_training_waits_until_all_its_workers_fit(
    nodes: tuple[Any, ...], reason: str, message: str
) -> None:
    there = pools(view("l4", None, *nodes))
    found = place(make_training(workers=3), there)
    assert isinstance(found, Unplaced)
    assert (found.reason, found.message) == (reason, message)
    assert named(place(make_training(workers=3, minWorkers=2), there)) == [("l4", 3)]


def test_on_a_ray_that_runs_already_the_training_itself_waits_for_workers() -> None:
    static = Execution.model_validate({"mode": "static", "rayAddress": "ray:6379"})
    there = pools(view("l4", None, gpus(1), execution=static))
    assert named(place(make_training(workers=3), there)) == [("l4", 3)]


def test_a_training_needs_a_ray_that_has_its_fewest_workers() -> None:
    counted = {
        "mode": "static",
        "rayAddress": "ray:6379",
        "rayPools": {"l4": L4_RAY | {"workers": 2}},
    }
    there = pools(view("l4", None, execution=Execution.model_validate(counted)))
    found = place(make_training(workers=3), there)
    assert isinstance(found, Unplaced)
    assert found.reason == UNSATISFIABLE
    assert "has room for 2 workers at most, and 3 are needed" in found.message
    assert named(place(make_training(workers=3, minWorkers=2), there)) == [("l4", 2)]
