"""What a cluster has for its ComputePools: pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from strandline.control.lanes import ray_cpus
from strandline.ports import Resource
from strandline.spec.actions import PoolView
from strandline.spec.conditions import Why, mark_done, mark_working
from strandline.spec.kinds.compute_pool import ComputePoolSpec, Toleration
from strandline.spec.operator_config import STANDING, Execution, ExecutionMode, RayPool
from strandline.spec.quantities import parse_cpu, parse_memory

_REPELLING = ("NoSchedule", "NoExecute")
_CONDITIONS = ("node.kubernetes.io/", "node.cloudprovider.kubernetes.io/")


@dataclass(frozen=True, slots=True)
class Node:
    """What matters here of a node.

    Attributes:
        ready: it takes pods now (not cordoned, and its kubelet is heard).
        taints: key, value, effect of each.
        allocatable: amounts by resource: cores, bytes, devices.
        used: what the pods on it ask for, likewise.
    """

    name: str
    labels: Mapping[str, str]
    ready: bool
    taints: Sequence[tuple[str, str, str]] = ()
    allocatable: Mapping[str, float] = field(default_factory=dict)
    used: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Capacity:
    """What the nodes of a pool hold; devices, or workers where there are none.

    Attributes:
        workers: whole ones that fit into what is free now.
        most_workers: whole ones that would fit were the nodes empty.
    """

    nodes: int = 0
    ready: int = 0
    allocatable: int = 0
    in_use: int = 0
    available: int = 0
    workers: int = 0
    most_workers: int = 0


def read_node(document: Mapping[str, Any], used: Mapping[str, float]) -> Node:
    """Return what matters of a core/v1 Node; `used` is asked for by the pods on it."""
    spec, status = document.get("spec") or {}, document.get("status") or {}
    ready = any(
        each["type"] == "Ready" and each["status"] == "True"
        for each in status.get("conditions") or ()
    )
    taints = [
        (str(each["key"]), str(each.get("value") or ""), str(each["effect"]))
        for each in spec.get("taints") or ()
    ]
    # Those that tell a condition come and go: the node is not ready, but is of its pool.
    passing = [taint for taint in taints if taint[0].startswith(_CONDITIONS)]
    repels = any(taint[2] in _REPELLING for taint in passing)
    return Node(
        name=str(document["metadata"]["name"]),
        labels=document["metadata"].get("labels") or {},
        ready=ready and not repels and not spec.get("unschedulable", False),
        taints=tuple(taint for taint in taints if taint not in passing),
        allocatable=read_amounts(status.get("allocatable") or {}),
        used=used,
    )


def read_amounts(quantities: Mapping[str, Any]) -> dict[str, float]:
    """Return cores, bytes and devices as numbers; what cannot be read counts as none."""
    found = {}
    for resource, quantity in quantities.items():
        try:
            found[resource] = _amount(resource, str(quantity))
        except ValueError:
            found[resource] = 0.0
    return found


def _amount(resource: str, quantity: str) -> float:
    if resource == "cpu":
        return parse_cpu(quantity)
    if quantity.replace(".", "", 1).isdigit():
        return float(quantity)
    return float(parse_memory(quantity))


def judge_pools(
    pools: Sequence[Resource],
    nodes: Sequence[Mapping[str, Any]],
    pods: Iterable[tuple[str, Mapping[str, Any]]],
    execution: Execution,
    now: datetime,
) -> Mapping[str, tuple[PoolView, Mapping[str, Any]]]:
    """Return the view and the status of each pool, by name.

    Args:
        nodes: core/v1 Node documents.
        pods: (node, what is asked for there) of each container that holds its place.
    """
    used: dict[str, Counter[str]] = defaultdict(Counter)
    for node, requests in pods:
        used[node].update(read_amounts(requests))
    read = [read_node(each, used[str(each["metadata"]["name"])]) for each in nodes]
    found = {}
    for pool in pools:
        capacity = measure(ComputePoolSpec.model_validate(pool.spec), read)
        why = Why("Counted", "Its nodes were counted.", pool.generation, now)
        found[pool.name] = (
            view_pool(pool, capacity, execution),
            pool_status(pool, capacity, why),
        )
    return found


def fits(spec: ComputePoolSpec, node: Node) -> bool:
    """Return whether the node is one of the pool's."""
    if any(node.labels.get(key) != value for key, value in spec.selector.items()):
        return False
    repelling = (taint for taint in node.taints if taint[2] in _REPELLING)
    return all(any(_tolerates(each, taint) for each in spec.tolerations) for taint in repelling)


def _tolerates(toleration: Toleration, taint: tuple[str, str, str]) -> bool:
    key, value, effect = taint
    if toleration.effect is not None and toleration.effect.value != effect:
        return False
    if toleration.key not in (None, key):
        return False
    return toleration.operator == "Exists" or (toleration.value or "") == value


def measure(spec: ComputePoolSpec, nodes: Iterable[Node]) -> Capacity:
    """Count what the cluster has for the pool."""
    mine = [node for node in nodes if fits(spec, node)]
    ready = [node for node in mine if node.ready]
    pods = sum(_pods_that_fit(spec, node, node.used) for node in ready)
    most = sum(_pods_that_fit(spec, node, {}) for node in mine)
    workers, most_workers = pods // spec.hosts, most // spec.hosts
    if spec.resource is None:
        return Capacity(
            nodes=len(mine),
            ready=len(ready),
            allocatable=most_workers,
            in_use=max(0, most_workers - workers),
            available=workers,
            workers=workers,
            most_workers=most_workers,
        )
    allocatable = int(sum(node.allocatable.get(spec.resource, 0.0) for node in mine))
    in_use = int(sum(node.used.get(spec.resource, 0.0) for node in mine))
    free = sum(
        max(0.0, node.allocatable.get(spec.resource, 0.0) - node.used.get(spec.resource, 0.0))
        for node in ready
    )
    return Capacity(len(mine), len(ready), allocatable, in_use, int(free), workers, most_workers)


def _pods_that_fit(spec: ComputePoolSpec, node: Node, used: Mapping[str, float]) -> int:
    wanted: dict[str, float] = {
        "cpu": parse_cpu(spec.cpu),
        "memory": float(parse_memory(spec.memory)),
    }
    if spec.resource is not None:
        wanted[spec.resource] = spec.devices_per_host
    rooms = [
        (node.allocatable.get(resource, 0.0) - used.get(resource, 0.0)) / amount
        for resource, amount in wanted.items()
    ]
    return max(0, int(min(rooms) + 1e-9))


def view_pool(pool: Resource, capacity: Capacity, execution: Execution) -> PoolView:
    """Return the pool as decisions see it."""
    spec = ComputePoolSpec.model_validate(pool.spec)
    if execution.mode in STANDING:
        return _view_standing(pool, spec, execution)
    return PoolView(
        name=pool.name,
        spec=pool.spec,
        capacity=capacity.most_workers,
        available=capacity.workers,
        trouble=_trouble(pool.name, spec, capacity, execution),
        own_pods=execution.mode is ExecutionMode.KUBERAY,
    )


def _view_standing(pool: Resource, spec: ComputePoolSpec, execution: Execution) -> PoolView:
    """Return a pool whose workers are those of a Ray that stands.

    They fill the pool's nodes, so what is free there says nothing; Ray decides which search
    gets a worker, and when.
    """
    there = execution.ray_pools.get(pool.name)
    return PoolView(
        pool.name,
        pool.spec,
        standing=None if there is None else there.workers,
        trouble=_trouble_standing(pool.name, spec, there, execution),
    )


def _trouble_standing(
    name: str, spec: ComputePoolSpec, there: RayPool | None, execution: Execution
) -> str:
    where = f"the Ray at {execution.ray_address}"
    if execution.ray_pools and (there is None or not there.workers):
        known = sorted(pool for pool, of_it in execution.ray_pools.items() if of_it.workers)
        return f"{where} has no workers of pool {name}, but of {', '.join(known) or 'none'}"
    if spec.hosts > 1 and execution.mode is ExecutionMode.STATIC:
        return (
            f"a worker of pool {name} has {spec.hosts} hosts, which the chart's Ray cannot "
            "give: it needs execution.mode kuberay"
        )
    if there is None:
        return ""
    # Else a trial would wait in Ray for a worker that never comes.
    for what, wanted, given in (
        ("cpu", ray_cpus(spec), there.cpus),
        ("accelerator.count", spec.devices_per_host, there.devices),
    ):
        if wanted > given:
            return (
                f"{where} gives its workers of pool {name} {what} {given}, and the ComputePool "
                f"says {wanted}: lower it there, or raise that of ray.pools in the chart"
            )
    return ""


def _trouble(name: str, spec: ComputePoolSpec, capacity: Capacity, execution: Execution) -> str:
    if execution.mode is ExecutionMode.POD:
        # The trials run in the pod that keeps the state.
        if spec.spot:
            return f"nodes of pool {name} may be taken away (spot), and trials run in one pod"
        if spec.hosts > 1:
            return f"a worker of pool {name} has {spec.hosts} hosts, and trials run in one pod"
    if spec.queue is not None or execution.nodes_appear:
        return ""  # whoever admits or adds nodes knows better
    if not capacity.nodes:
        return f"no node has the labels, or none of the taints besides, of pool {name}"
    if not capacity.most_workers:
        return f"no node of pool {name} is large enough for one worker, were it empty"
    return ""


def pool_status(pool: Resource, capacity: Capacity, why: Why) -> Mapping[str, Any]:
    """Return the status of a ComputePool; `why` gives generation and time."""
    spec = ComputePoolSpec.model_validate(pool.spec)
    if capacity.ready:
        some = f"{capacity.ready} of {capacity.nodes} nodes are ready."
        made = mark_done(pool.status, why.because("NodesReady", some))
    else:
        none = "No node fits." if not capacity.nodes else "No node that fits is ready."
        made = mark_working(pool.status, why.because("NoNodes", none))
    counted = {
        "nodes": capacity.nodes,
        "ready": capacity.ready,
        "allocatable": capacity.allocatable,
        "inUse": capacity.in_use,
        "available": capacity.available,
        "workers": capacity.workers,
    }
    shape = {"devicesPerHost": spec.devices_per_host, "hosts": spec.hosts}
    named = {} if spec.resource is None else {"resource": spec.resource}
    return {**made, **shape, **named, "capacity": counted}
