"""What workers the trials of a job get from its pools: pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from strandline.spec.actions import PoolShare
from strandline.spec.kinds.compute_pool import AcceleratorKind, ComputePoolSpec
from strandline.spec.lanes import LaneGroup
from strandline.spec.quantities import parse_cpu

_RAY_DEVICES = {AcceleratorKind.GPU: "GPU", AcceleratorKind.TPU: "TPU"}
"""Names that Ray has for devices, of whatever vendor."""


def lane_groups(pools: Sequence[PoolShare], elastic: bool = False) -> tuple[LaneGroup, ...]:
    """Return the workers, those of the preferred pool first.

    A trial gets one device; of a TPU slice of several hosts the whole slice; where there are
    no devices, a whole worker. With `elastic` pools may grow as far as they are allowed to.
    """
    return tuple(_group(pool, elastic) for pool in pools)


def _group(pool: PoolShare, elastic: bool) -> LaneGroup:
    spec = ComputePoolSpec.model_validate(pool.spec)
    workers = most_workers(pool, spec) if elastic else pool.workers
    cpus, count, price = float(ray_cpus(spec)), spec.devices_per_host, spec.price_per_hour
    if count == 0:
        return LaneGroup(pool.name, workers, cpus, hourly_price=price)
    device = _RAY_DEVICES[spec.accelerator.kind]
    if spec.hosts > 1:
        devices, hosts = {device: float(count)}, spec.hosts
        whole = None if price is None else price * count * hosts
        return LaneGroup(pool.name, workers, cpus, devices, hosts, hourly_price=whole)
    return LaneGroup(
        pool.name,
        workers * count,
        cpus / count,
        {device: 1.0},
        per_worker=count,
        hourly_price=price,
    )


def most_workers(pool: PoolShare, spec: ComputePoolSpec) -> int:
    """Return how many workers the pool may grow to: no more than asked for, if that was said."""
    if pool.fewest is not None:
        return pool.workers
    if spec.workers.max is None or pool.workers != max(1, spec.workers.min):
        return pool.workers
    return max(pool.workers, spec.workers.max)


def training_workers(spec: Mapping[str, Any]) -> tuple[int, int]:
    """Return how many workers the spec of a Training asks for, and how few it goes on with."""
    workers = int(spec.get("workers") or 1)
    return workers, int(spec.get("minWorkers") or workers)


def ray_cpus(spec: ComputePoolSpec) -> int:
    """Return the CPUs of one host as Ray counts them: whole ones, half a one is one."""
    return max(1, math.ceil(parse_cpu(spec.cpu)))


def ray_devices(spec: ComputePoolSpec) -> dict[str, int]:
    """Return the devices of one host by Ray's names."""
    if spec.devices_per_host == 0:
        return {}
    return {_RAY_DEVICES[spec.accelerator.kind]: spec.devices_per_host}
