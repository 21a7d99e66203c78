"""Trials on Ray Tune, without a process per trial: the runner of laptops and clusters.

Starting a Tune trial costs 0.3 s with a reused actor and 2.6 s with a new process, more
than many of our trials take. So the Tune trials here are *lanes*: long-lived workers that
Tune places, supervises and restarts, each running one step of one of our trials after
another. The driver's engine decides over the Tune callbacks; a mailbox actor carries
assignments to the lanes. See `docs/decisions/0003-lanes.md` for the figures.
"""

from __future__ import annotations

import faulthandler
import io
import logging
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

from strandline.adapters.ray_mailbox import Mailbox, Order
from strandline.ports import (
    Assignment,
    Resources,
    StepReport,
    Trainable,
    TrainableFactory,
    TrialSource,
)
from strandline.spec.errors import FailedRunError, UnavailableError
from strandline.spec.records import Failure, FailureKind

# Read by Ray when it is imported or a controller is made, so set before either.
_ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_OBJECT_STORE_ALLOW_SLOW_STORAGE": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_FORCE_TRIAL_CLEANUP_S": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "600",
}
for _name, _value in _ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402
from ray import tune  # noqa: E402
from ray.exceptions import RayError  # noqa: E402

logging.getLogger("ray").setLevel(logging.ERROR)
_OBJECT_STORE_BYTES = 128 * 1024 * 1024
_IDLE_DEATHS_FORGIVEN = 3
_LONGEST_MESSAGE = 500
# How much longer than its timeout a step may look, seen from the driver.
_TIMEOUT_SLACK_SECONDS = 1.0


class RayTuneRunner:
    """`ports.TrialRunner` on Ray Tune.

    Args:
        run_dir: where Tune keeps its own experiment state.
        address: of a Ray that runs already; None starts one here, reachable over
            loopback only, that ends with the run or with this process.
    """

    def __init__(self, run_dir: Path, address: str | None = None) -> None:
        self._run_dir = run_dir
        self._address = address

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
        with _ray_session(self._address, resources, parallelism), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Ray's own; ours are raised in the workers
            mailbox = _start_mailbox()
            dispatcher = _Dispatcher(source, mailbox, step_timeout_seconds)
            lane = tune.with_parameters(
                Lane, factory=factory, mailbox=mailbox, timeout=step_timeout_seconds
            )
            tuner = tune.Tuner(
                tune.with_resources(lane, _tune_resources(resources)),
                param_space={"lane": tune.grid_search(list(range(parallelism)))},
                tune_config=tune.TuneConfig(max_concurrent_trials=parallelism),
                run_config=tune.RunConfig(
                    name="lanes",
                    storage_path=str(self._run_dir.absolute()),
                    callbacks=[_callback_for(dispatcher)],
                    stop=_stopper_for(dispatcher),
                    failure_config=tune.FailureConfig(max_failures=-1),
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                    verbose=0,
                ),
            )
            with redirect_stdout(io.StringIO()):  # results go to stdout, and nothing else
                tuner.fit()
            dispatcher.raise_error()


class Lane(tune.Trainable):  # type: ignore[misc]  # Ray publishes no types
    """A worker of the pool: each Tune step is one step of one of our trials."""

    def setup(self, config: Mapping[str, Any], **given: Any) -> None:
        """Make the trainable once; what goes wrong is told as the trials' failure."""
        self._lane: int = config["lane"]
        self._mailbox = given["mailbox"]
        self._timeout: float | None = given["timeout"]
        self._number = -1
        self._trainable: Trainable | None = None
        self._broken: Failure | None = None
        try:
            self._trainable = given["factory"]()
        except Exception as error:
            self._broken = classify(error)

    def step(self) -> dict[str, Any]:
        """Wait for an order and carry it out."""
        order: Order = ray.get(self._mailbox.take.remote(self._lane))
        if order.assignment is not None:
            self._number = order.assignment.number
        try:
            return {"report": self._carry_out(order.assignment)}
        except Exception as error:
            return {"failure": self._broken or classify(error)}

    def _carry_out(self, assignment: Assignment | None) -> StepReport:
        if self._trainable is None:
            raise FailedRunError("the worker could not be set up")
        started = time.monotonic()
        if self._timeout is not None:
            # A watchdog in C: it ends this process even when a step never lets Python run.
            with open(os.devnull, "w") as nowhere:  # noqa: PTH123 – needs a descriptor
                faulthandler.dump_traceback_later(self._timeout, exit=True, file=nowhere)
                try:
                    return self._timed_step(assignment, started)
                finally:
                    faulthandler.cancel_dump_traceback_later()
        return self._timed_step(assignment, started)

    def _timed_step(self, assignment: Assignment | None, started: float) -> StepReport:
        assert self._trainable is not None
        if assignment is not None:
            self._trainable.reset(assignment)
        report = self._trainable.step()
        # Taking a trial up costs time too (embeddings, for one): it counts as its own.
        return replace(report, seconds=time.monotonic() - started)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Keep nothing: checkpoints travel with the reports and belong to the engine."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Restore nothing: a restarted lane asks for its next order."""


class _Dispatcher:
    """The driver's side: hands reports to the source and orders to the lanes."""

    def __init__(self, source: TrialSource, mailbox: Any, timeout: float | None) -> None:
        self._source = source
        self._mailbox = mailbox
        self._timeout = timeout
        self._idle: set[int] = set()
        self._busy: dict[int, int] = {}
        self._since: dict[int, float] = {}
        self._idle_deaths = 0
        self._error: Exception | None = None
        self.stopping = False

    def __getstate__(self) -> dict[str, Any]:
        """Keep nothing: Tune pickles its callbacks for a restore that is ours to do."""
        return {"stopping": True}

    def lane_started(self, lane: int) -> None:
        """A worker is up and waits for its order."""
        if lane not in self._busy:
            self._idle.add(lane)

    def lane_reported(self, lane: int, result: Mapping[str, Any]) -> None:
        """A lane did what it was ordered to."""
        if result.get("done") or lane not in self._busy:
            return
        number = self._busy[lane]
        goes_on = False
        with self._guarded():
            if result.get("report") is not None:
                goes_on = self._source.report(result["report"])
            elif result.get("failure") is not None:
                self._source.fail(number, result["failure"])
        if goes_on:
            self._send(lane, Order())
        else:
            del self._busy[lane]
            self._idle.add(lane)

    def lane_died(self, lane: int, message: str) -> None:
        """A worker is gone: killed, out of memory, or past its time. Tune makes a new one."""
        ray.get(self._mailbox.clear.remote(lane))
        self._idle.discard(lane)
        number = self._busy.pop(lane, None)
        if number is None:
            self._idle_deaths += 1
            if self._idle_deaths > _IDLE_DEATHS_FORGIVEN:
                self._fail_run(FailedRunError(f"workers die before they get a trial: {message}"))
            return
        late = self._timeout is not None and (
            time.monotonic() - self._since[lane] >= self._timeout - _TIMEOUT_SLACK_SECONDS
        )
        with self._guarded():
            self._source.fail(number, _failure_of_death(message, late, self._timeout))

    def tick(self) -> None:
        """Once in each round of Tune's loop: stop, or feed the lanes that wait."""
        if self.stopping:
            return
        with self._guarded():
            if self._source.should_stop():
                self.stopping = True
                return
            for lane in sorted(self._idle):
                assignment = self._source.next_assignment()
                if assignment is None:
                    break
                self._idle.discard(lane)
                self._busy[lane] = assignment.number
                self._send(lane, Order(assignment))
            if not self._busy and self._source.finished():
                self.stopping = True

    def raise_error(self) -> None:
        """Raise what went wrong inside a callback, where Tune would have swallowed it."""
        if self._error is not None:
            raise self._error

    def _send(self, lane: int, order: Order) -> None:
        self._since[lane] = time.monotonic()
        self._mailbox.put.remote(lane, order)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._fail_run(error)

    def _fail_run(self, error: Exception) -> None:
        self._error = self._error or error
        self.stopping = True


def classify(error: BaseException) -> Failure:
    """Tell why a step failed, from the exception it raised."""
    text = (str(error).strip().splitlines() or [""])[-1]
    message = f"{type(error).__name__}: {text}"[:_LONGEST_MESSAGE]
    names = {cls.__name__ for cls in type(error).__mro__}
    if names & {"MemoryError", "OutOfMemoryError"} or "out of memory" in text.lower():
        return Failure(kind=FailureKind.OUT_OF_MEMORY, message=message)
    return Failure(kind=FailureKind.ERROR, message=message)


def _failure_of_death(message: str, late: bool, timeout: float | None) -> Failure:
    if late:
        return Failure(kind=FailureKind.TIMEOUT, message=f"the step took longer than {timeout:g} s")
    if "OutOfMemory" in message or "memory pressure" in message:
        return Failure(
            kind=FailureKind.OUT_OF_MEMORY,
            message="the node ran out of memory and the worker was ended",
        )
    return Failure(
        kind=FailureKind.CRASH, message="the worker process died (killed, or a crash in a library)"
    )


def _callback_for(dispatcher: _Dispatcher) -> Any:
    class Relay(tune.Callback):  # type: ignore[misc]  # Ray publishes no types
        """Passes Tune's events on."""

        def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            dispatcher.lane_started(trial.config["lane"])

        def on_trial_result(
            self, iteration: int, trials: Any, trial: Any, result: Mapping[str, Any], **info: Any
        ) -> None:
            dispatcher.lane_reported(trial.config["lane"], result)
            dispatcher.tick()

        def on_trial_recover(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            dispatcher.lane_died(trial.config["lane"], _last_error(trial))

        def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            dispatcher.lane_died(trial.config["lane"], _last_error(trial))

        def on_step_end(self, iteration: int, trials: Any, **info: Any) -> None:
            dispatcher.tick()

    return Relay()


def _last_error(trial: Any) -> str:
    path = getattr(trial, "error_file", None)
    if path and Path(path).exists():
        return Path(path).read_text(errors="replace")[-4000:]
    return "no message"


def _stopper_for(dispatcher: _Dispatcher) -> Any:
    class WhenStopping(tune.Stopper):  # type: ignore[misc]  # Ray publishes no types
        """Ends all lanes when the dispatcher says so."""

        def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
            return False

        def stop_all(self) -> bool:
            return dispatcher.stopping

    return WhenStopping()


def _tune_resources(resources: Resources) -> dict[str, float]:
    wanted: dict[str, float] = {"cpu": resources.cpus}
    if resources.gpus:
        wanted["gpu"] = resources.gpus
    if resources.memory_bytes:
        wanted["memory"] = resources.memory_bytes
    return wanted


def _start_mailbox() -> Any:
    return ray.remote(num_cpus=0, max_concurrency=1000)(Mailbox).remote()


@contextmanager
def _ray_session(address: str | None, resources: Resources, parallelism: int) -> Iterator[None]:
    """Join the Ray at `address`, or run one here that leaves nothing behind."""
    # Socket paths have a limit of 107 bytes, so not below STRANDLINE_HOME.
    folder = Path(tempfile.mkdtemp(prefix="strandline-ray-")) if address is None else None
    own: dict[str, Any] = {
        "num_cpus": max(1, round(resources.cpus * parallelism)),
        "num_gpus": None if resources.gpus else 0,
        "object_store_memory": _OBJECT_STORE_BYTES,
        "include_dashboard": False,
        "_node_ip_address": "127.0.0.1",
        "_temp_dir": str(folder),
    }
    try:
        ray.init(
            address=address or "local",
            log_to_driver=False,
            logging_level="ERROR",
            configure_logging=False,
            **(own if address is None else {}),
        )
        yield
    except (ConnectionError, RayError) as error:
        raise UnavailableError(f"Ray does not answer: {error}") from error
    finally:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        sys.stdout.flush()
