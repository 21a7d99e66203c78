"""One trial on a group of workers of a Ray, as large as what is there allows.

The workers are actors in one placement group, which Ray places and watches; they find each
other by `torch.distributed`. Each step is a call to all of them. When one is gone the others
cannot go on, so all are ended and a new group starts from the last step that the source
has kept, with the workers that are left. A group that is smaller than wanted asks after each
step whether there are more, and starts anew with them: from the step that just ended, so
growing loses nothing. See `docs/decisions/0012-groups-of-workers.md`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from strandline.adapters.ray_deaths import LOST, failure_of_death
from strandline.adapters.ray_rank import Rank, RankFailure
from strandline.adapters.ray_session import ray_session
from strandline.adapters.ray_tune import lane_places, lane_shapes
from strandline.data.cpu import usable_cpus
from strandline.ports import (
    HERE,
    Assignment,
    GroupSize,
    GroupSource,
    Resources,
    StepReport,
    TrainableFactory,
    TrialRunner,
    Workplace,
)
from strandline.spec.errors import InvalidSpecError
from strandline.spec.lanes import LaneGroup
from strandline.spec.records import Failure, FailureKind

# isort: split
# After ray_session, which sets what Ray reads when it is imported.
import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

PATIENCE_SECONDS = 120.0
"""Without enough workers for so long the trial counts as lost once."""

# Nodes come back, or start, one after the other: so long all of them are hoped for.
_SETTLE_SECONDS = 5.0
_LOOK_SECONDS = 0.5
_START_SECONDS = 120.0
# Others notice at once when a worker dies; what it died of is known a little later.
_CAUSE_SECONDS = 5.0

Shape = Mapping[str, float]
Outcome = StepReport | Failure | None


class RayGroupRunner:
    """`ports.GroupRunner` on Ray.

    Args:
        alone: runs what needs one worker with one device.
        address: of a Ray that runs already; None starts one here.
        groups: the workers to use; if empty as many as are wanted, anywhere.
        patience_seconds: see `PATIENCE_SECONDS`.
    """

    def __init__(
        self,
        alone: TrialRunner,
        address: str | None = None,
        groups: Sequence[LaneGroup] = (),
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._alone = alone
        self._address = address
        self._groups = tuple(groups)
        self._patience = patience_seconds

    def run_group(
        self,
        source: GroupSource,
        factory: TrainableFactory,
        resources: Resources,
        size: GroupSize,
        step_timeout_seconds: float | None = None,
    ) -> None:
        if source.finished():
            return
        if self._address is None:
            resources, size = _fit_here(resources, size)
        devices = self._groups[0].per_worker if self._groups else 1
        ranks = size.wanted * devices
        if ranks == 1:
            source.workers_changed(1, 1)
            self._alone.run(source, factory, resources, 1, step_timeout_seconds)
            return
        shape, *others = lane_shapes(self._groups, resources, 1)[0]
        if others:
            raise InvalidSpecError("workers of several hosts cannot learn together: use one worker")
        with ray_session(self._address, resources, ranks):
            place = lane_places(self._groups)[0] if self._groups else HERE
            timeout = step_timeout_seconds
            _Run(source, factory, shape, place, size, devices, timeout, self._patience).go()


def _fit_here(resources: Resources, size: GroupSize) -> tuple[Resources, GroupSize]:
    """Return what this machine can give: a GPU to each worker if it has some, else a CPU."""
    if size.wanted == 1:
        return resources, size
    gpus = _gpus_here()
    room = gpus or usable_cpus()
    if room < size.fewest:
        what = "GPUs" if gpus else "CPUs"
        raise InvalidSpecError(
            f"{size.fewest} workers are needed and this machine has {room} {what}: lower "
            f"workers, or set minWorkers to {room} or less"
        )
    return replace(resources, gpus=float(bool(gpus))), replace(size, wanted=min(size.wanted, room))


def _gpus_here() -> int:
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


@dataclass
class _Run:
    """Goes from group to group until the source is finished.

    Attributes:
        shape: what one rank takes, by Ray's names.
        place: where the ranks are, and what one of them costs.
        devices: ranks that one worker runs.
    """

    source: GroupSource
    factory: TrainableFactory
    shape: Shape
    place: Workplace
    size: GroupSize
    devices: int
    timeout: float | None
    patience: float

    def go(self) -> None:
        """Run trial after trial."""
        while not (self.source.should_stop() or self.source.finished()):
            assignment = self.source.next_assignment(self.place)
            if assignment is None:
                time.sleep(_LOOK_SECONDS)
            else:
                self._run_trial(assignment)

    def _run_trial(self, assignment: Assignment) -> None:
        """Run one trial to its end, by one group after another as they grow."""
        left: Assignment | None = assignment
        while left is not None and not self.source.should_stop():
            with self._gather() as place:
                if place is not None:
                    left = self._run_steps(left, *place)
                    continue
            if not self.source.should_stop():
                self.source.fail(left.number, self._lost())
            return

    def _run_steps(self, assignment: Assignment, placed: Any, workers: int) -> Assignment | None:
        """Step until the trial ends (None), or goes on in a larger group from what it gives."""
        self.source.workers_changed(workers, workers * self.devices)
        group = _Group(placed, self.shape, workers * self.devices, self.factory, self.timeout)
        taken_up: Assignment | None = assignment
        while True:
            outcome = group.step(taken_up, self.source.should_stop)
            taken_up = None
            if isinstance(outcome, Failure):
                self.source.fail(assignment.number, outcome)
                return None
            if outcome is None or not self.source.report(outcome):
                return None
            kept = outcome.checkpoint is not None
            if kept and workers < self.size.wanted and self._room() >= 1:
                return replace(assignment, start_step=outcome.step, checkpoint=outcome.checkpoint)

    def _lost(self) -> Failure:
        message = f"fewer than {self.size.fewest} workers for {self.patience:.0f} s"
        return Failure(kind=FailureKind.LOST, message=message)

    # ------------------------------------------------------------ places for workers

    @contextmanager
    def _gather(self) -> Iterator[tuple[Any, int] | None]:
        """Hold a placement group for as many workers as there are, None if too few."""
        held = None
        try:
            held = self._wait_for_room()
            yield held
        finally:
            if held is not None:
                _release(held[0])

    def _wait_for_room(self) -> tuple[Any, int] | None:
        started = time.monotonic()
        # While it is pending, whoever adds nodes to a Ray knows that some are wanted.
        hoped_for = self._ask_for(self.size.wanted)
        told = -1
        while not hoped_for.wait(_LOOK_SECONDS):
            waited = time.monotonic() - started
            if waited >= _SETTLE_SECONDS:
                room = self._room()
                if self.size.fewest <= room < self.size.wanted:
                    _release(hoped_for)
                    fewer = self._ask_for(room)
                    if fewer.wait(_SETTLE_SECONDS):
                        return fewer, room
                    _release(fewer)  # a node that is gone was still counted
                    hoped_for = self._ask_for(self.size.wanted)
                elif room < self.size.fewest and room != told:
                    told = room
                    self.source.workers_changed(0, 0, self._waiting(room))
            if waited > self.patience or self.source.should_stop():
                _release(hoped_for)
                return None
        return hoped_for, self.size.wanted

    def _waiting(self, room: int) -> str:
        there = "1 worker is" if room == 1 else f"{room} workers are"
        return f"{there} there, and at least {self.size.fewest} must be."

    def _ask_for(self, workers: int) -> Any:
        return placement_group([dict(self.shape)] * (workers * self.devices), strategy="PACK")

    def _room(self) -> int:
        """Return how many workers fit into what is free."""
        from ray._private.state import available_resources_per_node

        nodes: Mapping[str, Mapping[str, float]] = available_resources_per_node()  # type: ignore[no-untyped-call]
        ranks = sum(
            int(min(free.get(name, 0.0) / amount for name, amount in self.shape.items()) + 1e-6)
            for free in nodes.values()
        )
        return ranks // self.devices


def _release(placed: Any) -> None:
    remove_placement_group(placed)


class _Group:
    """Workers that run one trial; they end with their placement group."""

    def __init__(
        self,
        placed: Any,
        shape: Shape,
        ranks: int,
        factory: TrainableFactory,
        timeout: float | None,
    ) -> None:
        self._timeout = timeout
        self._meeting: tuple[str, int] | None = None
        wanted = {**shape}
        options = {"num_cpus": wanted.pop("CPU", 0.0), "num_gpus": wanted.pop("GPU", 0.0)}
        if "memory" in wanted:
            options["memory"] = wanted.pop("memory")
        actor: Any = ray.remote(Rank)
        shared = ray.put(factory)
        self._workers = [
            actor.options(
                **options,
                resources=wanted,
                scheduling_strategy=PlacementGroupSchedulingStrategy(placed, rank),
            ).remote(shared, rank, ranks, timeout)
            for rank in range(ranks)
        ]

    def step(self, assignment: Assignment | None, should_stop: Callable[[], bool]) -> Outcome:
        """Do the next step; None when it was dropped because that was asked for."""
        started = time.monotonic()
        if assignment is not None and (failure := self._start()) is not None:
            return failure
        given = ray.put(assignment)
        running = [worker.step.remote(given, self._meeting) for worker in self._workers]
        return self._outcome(running, started, should_stop)

    def _start(self) -> Failure | None:
        """Wait until all workers are up; what comes later is noticed by their end."""
        try:
            meeting, *_ = ray.get(
                [worker.open_meeting.remote() for worker in self._workers], timeout=_START_SECONDS
            )
        except GetTimeoutError:
            return LOST
        except RayError as error:
            return failure_of_death(str(error), False, None)
        self._meeting = meeting
        return None

    def _outcome(
        self, running: list[Any], started: float, should_stop: Callable[[], bool]
    ) -> Outcome:
        first, waits, until = running[0], running, float("inf")
        while waits and time.monotonic() < until:
            if should_stop():
                return None
            ended, waits = ray.wait(waits, timeout=_LOOK_SECONDS)
            for each in ended:
                failure = self._failure_of(each, started)
                if isinstance(failure, RankFailure):
                    # It says that another one is gone, which will say why itself.
                    until = min(until, time.monotonic() + _CAUSE_SECONDS)
                elif failure is not None:
                    return failure
        if until < float("inf"):
            return LOST
        report: StepReport = ray.get(first)
        return report

    def _failure_of(self, ended: Any, started: float) -> Failure | RankFailure | None:
        """Return what went wrong in a worker; a RankFailure if only with its peers."""
        try:
            outcome = ray.get(ended)
        except RayActorError as error:
            late = self._timeout is not None and time.monotonic() - started >= self._timeout
            return failure_of_death(str(error), late, self._timeout)
        if not isinstance(outcome, RankFailure):
            return None
        return outcome if outcome.of_peer else outcome.failure
