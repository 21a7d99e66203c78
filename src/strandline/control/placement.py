"""Which of its ComputePools a job goes to, of those that the cluster has: pure.

Nobody is left with a pod that waits for ever: before a job starts, its pools are compared
with the nodes there are. A pool that cannot hold one worker, were its nodes empty, is not
waited for; one that is full is, unless a pool further down the list has room.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from strandline.control.lanes import training_workers
from strandline.ports import Resource
from strandline.spec.actions import ANYWHERE, Placement, PoolShare, PoolView
from strandline.spec.kinds.compute_pool import ComputePoolSpec

UNSATISFIABLE = "PoolUnsatisfiable"
WAITING = "WaitingForPool"

LOOK_SECONDS = 30.0
"""Nodes fill and empty all the time; who waits for them looks this often."""


@dataclass(frozen=True, slots=True)
class Unplaced:
    """Why a job cannot start yet.

    Attributes:
        reason, message: of the condition.
        look_seconds: when to look again though nothing is heard; None when a change is.
    """

    reason: str
    message: str
    look_seconds: float | None = LOOK_SECONDS


def place(resource: Resource, pools: Mapping[str, PoolView] | None) -> Placement | Unplaced:
    """Return where the job of `resource` runs, or why it cannot yet."""
    if pools is None:
        return ANYWHERE
    driver = _driver(resource, pools)
    if isinstance(driver, Unplaced):
        return driver
    wanted = _wanted(resource)
    if not wanted:
        return Placement((), driver)
    shares = _shares(wanted, pools, int(resource.spec.get("parallelism") or 1))
    return Placement(shares, driver) if shares else _why_none(wanted, pools)


@dataclass(frozen=True, slots=True)
class _Wish:
    """A pool that is named.

    Attributes:
        workers: of it; as the pool says if None.
        fewest: without so many of them it is no use; None where one will do.
    """

    name: str
    workers: int | None
    fewest: int | None = None

    def needs(self, pool: PoolView) -> int:
        """Return how many workers the pool must have before the job starts."""
        counted = pool.own_pods or pool.standing is not None
        return (self.fewest or 1) if counted else 1


def _wanted(resource: Resource) -> list[_Wish]:
    """Return the pools that are named, the preferred one first, and how much of each."""
    if resource.kind == "Training":
        name = resource.spec.get("pool")
        return [_Wish(str(name), *training_workers(resource.spec))] if name else []
    named = resource.spec.get("pools") or ()
    return [_Wish(str(each["name"]), each.get("workers")) for each in named]


def _shares(
    wanted: Sequence[_Wish], pools: Mapping[str, PoolView], trials: int
) -> tuple[PoolShare, ...]:
    """Take workers where there are some, pool by pool, until all trials have a device."""
    shares: list[PoolShare] = []
    for wish in wanted:
        pool = pools.get(wish.name)
        if trials <= 0 or pool is None or not _has_room(pool, wish.needs(pool)):
            continue
        spec = ComputePoolSpec.model_validate(pool.spec)
        share = _share(pool, spec, wish.workers)
        shares.append(PoolShare(wish.name, pool.spec, share, wish.fewest))
        # A slice is one accelerator to a trial; else each device takes one.
        trials -= share * (1 if spec.hosts > 1 else max(1, spec.devices_per_host))
    return tuple(shares)


def _share(pool: PoolView, spec: ComputePoolSpec, workers: int | None) -> int:
    """Return how many workers a job gets of a pool, of those it asks for."""
    if pool.standing is not None:
        return min(workers or pool.standing, pool.standing)
    return workers or max(1, spec.workers.min)


def _has_room(pool: PoolView, needs: int) -> bool:
    if pool.trouble:
        return False
    if pool.standing is not None:
        return pool.standing >= needs
    return _is_filled_by_others(pool) or pool.available >= needs


def _is_filled_by_others(pool: PoolView) -> bool:
    """Return whether a queue, a Ray that stands, or whoever adds nodes decides about room."""
    return pool.spec.get("queue") is not None or not pool.capacity


def _why_none(wanted: Sequence[_Wish], pools: Mapping[str, PoolView]) -> Unplaced:
    told, waits = [], False
    for wish in wanted:
        pool = pools.get(wish.name)
        if pool is None:
            told.append(f"there is no ComputePool {wish.name} that can be seen")
        elif pool.trouble:
            told.append(pool.trouble)
        elif (needs := wish.needs(pool)) > (most := pool.standing or pool.capacity or needs):
            told.append(
                f"pool {pool.name} has room for {most} workers at most, and {needs} are "
                "needed: lower workers, or set minWorkers"
            )
        else:
            waits = True
            told.append(_why_full(pool, needs))
    message = "; ".join(told)
    return Unplaced(WAITING if waits else UNSATISFIABLE, f"{message[:1].upper()}{message[1:]}.")


def _why_full(pool: PoolView, needs: int) -> str:
    if not pool.available:
        return f"all {pool.capacity} workers of pool {pool.name} are taken"
    free = f"{pool.available} of {pool.capacity} workers of pool {pool.name} are free"
    return f"{free}, and {needs} are needed"


def _driver(resource: Resource, pools: Mapping[str, PoolView]) -> PoolShare | Unplaced | None:
    name = (resource.spec.get("driver") or {}).get("pool")
    if name is None:
        return None
    pool = pools.get(name)
    if pool is None:
        return Unplaced(
            UNSATISFIABLE, f"There is no ComputePool {name} that can be seen, for the driver."
        )
    if pool.spec.get("spot"):
        text = f"Nodes of pool {name} may be taken away (spot): the driver needs another one."
        return Unplaced(UNSATISFIABLE, text)
    return PoolShare(name, pool.spec, 1)
