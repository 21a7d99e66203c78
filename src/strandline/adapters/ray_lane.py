"""The workers' side of `ray_tune`, and what Tune calls on the driver's.

Apart from the runner because importing Tune takes seconds, which pass while Ray starts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from strandline.adapters.failures import classify
from strandline.adapters.ray_mailbox import Order
from strandline.adapters.step_watchdog import step_watchdog
from strandline.ports import Assignment, StepReport, Trainable
from strandline.spec.errors import FailedRunError
from strandline.spec.records import Failure

# isort: split
# The runner's session has set what Ray reads when it is imported.
import ray
from ray import tune
from ray.exceptions import RayActorError

_MAILBOX_RESTART_SECONDS = 0.5
_LONGEST_ERROR_READ = 4000


class Lane(tune.Trainable):
    """A worker of the pool: each Tune step is one step of one of our trials."""

    def setup(self, config: Mapping[str, Any], **given: Any) -> None:
        """Make the trainable once; what goes wrong is told as the trials' failure."""
        self._lane: int = config["lane"]
        self._mailbox = given["mailbox"]
        self._timeout: float | None = given["timeout"]
        self._last_serial = 0
        self._trainable: Trainable | None = None
        self._broken: Failure | None = None
        try:
            self._trainable = given["factory"]()
        except Exception as error:
            self._broken = classify(error)

    def step(self) -> dict[str, Any]:
        """Wait for an order and carry it out."""
        order = self._take_order()
        if order is None or order.serial <= self._last_serial:
            return {"waiting": True}
        self._last_serial = order.serial
        if order.leave:
            return {"done": True}
        try:
            return {"report": self._carry_out(order.assignment)}
        except Exception as error:
            return {"failure": self._broken or classify(error)}

    def _take_order(self) -> Order | None:
        try:
            order: Order | None = ray.get(self._mailbox.take.remote(self._lane))
        except RayActorError:  # its process was killed; Ray makes a new one
            time.sleep(_MAILBOX_RESTART_SECONDS)
            return None
        return order

    def _carry_out(self, assignment: Assignment | None) -> StepReport:
        if self._trainable is None:
            raise FailedRunError("the worker could not be set up")
        started = time.monotonic()
        with step_watchdog(self._timeout):
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


class LaneEvents(Protocol):
    """What the driver is told of its lanes."""

    def lane_started(self, lane: int, worker: Any) -> None:
        """A worker (its actor handle, if Tune gives it) is up and waits for its order."""

    def lane_reported(self, lane: int, result: Mapping[str, Any]) -> None:
        """A lane did what it was ordered to."""

    def lane_died(self, lane: int, message: str) -> None:
        """A worker is gone."""

    def tick(self) -> None:
        """Another round of Tune's loop."""


class Relay(tune.Callback):
    """Passes Tune's events on."""

    def __init__(self, events: LaneEvents) -> None:
        self._events = events

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        worker = getattr(getattr(trial, "temporary_state", None), "ray_actor", None)
        self._events.lane_started(trial.config["lane"], worker)

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        self._events.lane_reported(trial.config["lane"], result)
        self._events.tick()

    def on_trial_recover(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self._events.lane_died(trial.config["lane"], _last_error(trial))

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self._events.lane_died(trial.config["lane"], _last_error(trial))

    def on_step_end(self, iteration: int, trials: Any, **info: Any) -> None:
        self._events.tick()


class WhenStopping(tune.Stopper):
    """Ends all lanes when the driver says so."""

    def __init__(self, stopping: Callable[[], bool]) -> None:
        self._stopping = stopping

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._stopping()


def _last_error(trial: Any) -> str:
    path = getattr(trial, "error_file", None)
    if path and Path(path).exists():
        return Path(path).read_text(errors="replace")[-_LONGEST_ERROR_READ:]
    return "no message"
