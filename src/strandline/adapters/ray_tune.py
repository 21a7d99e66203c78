"""Trials on Ray Tune, without a process per trial: the runner of laptops and clusters.

Starting a Tune trial costs 0.3 s with a reused actor and 2.6 s with a new process, more
than many of our trials take. So the Tune trials here are *lanes*: long-lived workers that
Tune places, supervises and restarts, each running one step of one of our trials after
another. The driver's engine decides over the Tune callbacks; a mailbox actor carries
assignments to the lanes. See `docs/decisions/0004-lanes.md` for the figures.
"""

from __future__ import annotations

import io
import logging
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from strandline.adapters.ray_deaths import failure_of_death
from strandline.adapters.ray_mailbox import Mailbox, Order
from strandline.adapters.ray_session import HeldRay, ray_session
from strandline.ports import (
    HERE,
    Assignment,
    Resources,
    TrainableFactory,
    TrialSource,
    Workplace,
)
from strandline.spec.errors import FailedRunError
from strandline.spec.lanes import POOL_RESOURCE, LaneGroup

# isort: split
# After ray_session, which sets what Ray reads when it is imported.
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

_IDLE_DEATHS_FORGIVEN = 3


class RayTuneRunner:
    """`ports.TrialRunner` on Ray Tune.

    Args:
        run_dir: where Tune keeps its own experiment state; workers elsewhere never see it.
        address: of a Ray that runs already; None starts one here, reachable over
            loopback only, that ends with the run or with this process.
        groups: the workers to use, the preferred ones first; if empty as many as trials are
            to run at once, anywhere.
    """

    def __init__(
        self, run_dir: Path, address: str | None = None, groups: Sequence[LaneGroup] = ()
    ) -> None:
        self._run_dir = run_dir
        self._address = address
        self._groups = tuple(groups)
        self._held: HeldRay | None = None

    def run(
        self,
        source: TrialSource,
        factory: TrainableFactory,
        resources: Resources,
        parallelism: int,
        step_timeout_seconds: float | None = None,
    ) -> None:
        if source.finished():
            return
        with self._session(resources, parallelism), _silence():
            places = lane_places(self._groups)
            dispatcher = _Dispatcher(source, _start_mailbox(), step_timeout_seconds, places)
            self._run_lanes(dispatcher, factory, resources, parallelism)
            dispatcher.raise_error()

    @contextmanager
    def held(self, parallelism: int) -> Iterator[None]:
        with closing(HeldRay(self._address, parallelism)) as self._held:
            try:
                yield
            finally:
                self._held = None

    def _session(self, resources: Resources, parallelism: int) -> AbstractContextManager[None]:
        if self._held is not None:
            return self._held.session(resources, parallelism)
        return ray_session(self._address, resources, parallelism)

    def _run_lanes(
        self,
        dispatcher: _Dispatcher,
        factory: TrainableFactory,
        resources: Resources,
        parallelism: int,
    ) -> None:
        from ray import tune

        from strandline.adapters.ray_lane import Lane, Relay, WhenStopping

        lane = tune.with_parameters(
            Lane, factory=factory, mailbox=dispatcher.mailbox, timeout=dispatcher.timeout
        )
        shapes = lane_shapes(self._groups, resources, parallelism)
        tuner = tune.Tuner(
            tune.with_resources(lane, lambda config: _bundles(shapes[config["lane"]])),
            param_space={"lane": tune.grid_search(list(range(len(shapes))))},
            tune_config=tune.TuneConfig(max_concurrent_trials=len(shapes)),
            run_config=tune.RunConfig(
                name="lanes",
                storage_path=str(self._run_dir.absolute()),
                callbacks=[Relay(dispatcher)],
                stop=WhenStopping(dispatcher.is_stopping),
                failure_config=tune.FailureConfig(max_failures=-1),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                verbose=0,
            ),
        )
        tuner.fit()


@contextmanager
def _silence() -> Iterator[None]:
    """Keep to ourselves what Tune says: results go to stdout, progress to stderr, no more.

    Its errors are deaths of workers, which the source is told; warnings of ours are raised
    in the workers.
    """
    logger = logging.getLogger("ray.tune")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


class _Dispatcher:
    """The driver's side: hands reports to the source and orders to the lanes.

    Args:
        places: where each lane is; nowhere in particular if empty.
    """

    def __init__(
        self,
        source: TrialSource,
        mailbox: Any,
        timeout: float | None,
        places: Sequence[Workplace],
    ) -> None:
        self._source = source
        self._places = places
        self.mailbox = mailbox
        self.timeout = timeout
        self._idle: set[int] = set()
        self._busy: dict[int, int] = {}
        self._workers: dict[int, Any] = {}
        self._since: dict[int, float] = {}
        self._sent: dict[int, Order] = {}
        self._serial = 0
        self._idle_deaths = 0
        self._error: Exception | None = None
        self.stopping = False

    def __getstate__(self) -> dict[str, Any]:
        """Keep nothing: Tune pickles its callbacks for a restore that is ours to do."""
        return {"stopping": True}

    def is_stopping(self) -> bool:
        """Return whether the lanes are to end."""
        return self.stopping

    def lane_started(self, lane: int, worker: Any) -> None:
        """A worker is up and waits for its order."""
        self._workers[lane] = worker
        if lane not in self._busy:
            self._idle.add(lane)

    def lane_reported(self, lane: int, result: Mapping[str, Any]) -> None:
        """A lane did what it was ordered to."""
        if result.get("done") or lane not in self._busy:
            return
        if result.get("waiting"):
            self._put(lane, self._sent[lane])  # the mailbox died with it
            return
        self._idle_deaths = 0
        number = self._busy[lane]
        goes_on = False
        with self._guarded():
            if result.get("report") is not None:
                goes_on = self._source.report(result["report"])
            elif result.get("failure") is not None:
                self._source.fail(number, result["failure"])
        if goes_on and not self.stopping:
            self._send(lane)
        else:
            del self._busy[lane]
            self._idle.add(lane)

    def lane_died(self, lane: int, message: str) -> None:
        """A worker is gone: killed, out of memory, or past its time. Tune makes a new one."""
        if self.stopping:
            return  # by our own hand
        ray.get(self.mailbox.clear.options(max_task_retries=-1).remote(lane))
        self._idle.discard(lane)
        number = self._busy.pop(lane, None)
        if number is None:
            self._idle_deaths += 1
            if self._idle_deaths > _IDLE_DEATHS_FORGIVEN:
                self._fail_run(FailedRunError(f"workers die before they get a trial: {message}"))
            return
        # The worker's own clock of the step starts after this one, so no slack is needed.
        late = self.timeout is not None and time.monotonic() - self._since[lane] >= self.timeout
        with self._guarded():
            self._source.fail(number, failure_of_death(message, late, self.timeout))

    def tick(self) -> None:
        """Once in each round of Tune's loop: stop, or feed the lanes that wait."""
        if not self.is_stopping():
            self._feed()
        if self.is_stopping():
            # Tune would wait for the lanes to end by themselves, ten seconds long.
            for lane in self._idle:
                self._send(lane, leave=True)
            self._idle.clear()
            if self._busy:
                self._drop_busy_lanes()

    def _drop_busy_lanes(self) -> None:
        for lane in self._busy:
            if self._workers.get(lane) is not None:  # else Tune kills it, later
                ray.kill(self._workers[lane])
        self._busy.clear()

    def _feed(self) -> None:
        with self._guarded():
            if self._source.should_stop():
                self.stopping = True
                return
            for lane in sorted(self._idle):
                place = self._places[lane] if self._places else HERE
                assignment = self._source.next_assignment(place)
                if assignment is None:
                    break
                self._idle.discard(lane)
                self._busy[lane] = assignment.number
                self._send(lane, assignment)
            if not self._busy and self._source.finished():
                self.stopping = True

    def raise_error(self) -> None:
        """Raise what went wrong inside a callback, where Tune would have swallowed it."""
        if self._error is not None:
            raise self._error

    def _send(self, lane: int, assignment: Assignment | None = None, leave: bool = False) -> None:
        self._serial += 1
        self._sent[lane] = Order(self._serial, assignment, leave)
        self._since[lane] = time.monotonic()
        self._put(lane, self._sent[lane])

    def _put(self, lane: int, order: Order) -> None:
        self.mailbox.put.options(max_task_retries=-1).remote(lane, order)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._fail_run(error)

    def _fail_run(self, error: Exception) -> None:
        self._error = self._error or error
        self.stopping = True


Shape = Sequence[Mapping[str, float]]
"""What a lane takes: for each of its hosts the amounts by Ray's names."""


def lane_shapes(
    groups: Sequence[LaneGroup], resources: Resources, parallelism: int
) -> Sequence[Shape]:
    """Return what each lane takes: of each group all it has, until there are enough."""
    if not groups:
        return [[_anywhere(resources)]] * parallelism
    shapes = [
        [{"CPU": group.cpus, f"{POOL_RESOURCE}{group.pool}": 1.0, **group.devices}] * group.hosts
        for group in groups
        for _ in range(group.lanes)
    ]
    return shapes[:parallelism]


def lane_places(groups: Sequence[LaneGroup]) -> Sequence[Workplace]:
    """Return where each lane is, in the order of `lane_shapes`; empty without groups."""
    return [
        Workplace(group.compute_pool, group.hourly_price)
        for group in groups
        for _ in range(group.lanes)
    ]


def _anywhere(resources: Resources) -> Mapping[str, float]:
    wanted: dict[str, float] = {"CPU": resources.cpus}
    if resources.gpus:
        wanted["GPU"] = resources.gpus
    if resources.memory_bytes:
        wanted["memory"] = resources.memory_bytes
    return wanted


def _bundles(shape: Shape) -> Any:
    from ray.tune import PlacementGroupFactory

    strategy = "STRICT_SPREAD" if len(shape) > 1 else "PACK"
    return PlacementGroupFactory([dict(bundle) for bundle in shape], strategy=strategy)


def _start_mailbox() -> Any:
    actor: Any = ray.remote(Mailbox)
    # Orders are repeated until it is there again; a lane that waits asks anew by itself.
    # It stays with the driver, whose end is the run's end: other nodes may come and go.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    return actor.options(
        num_cpus=0,
        max_concurrency=1000,
        max_restarts=-1,
        max_task_retries=0,
        scheduling_strategy=here,
    ).remote()
