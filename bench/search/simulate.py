"""A whole Search in simulated time: the real engine, algorithm and early stopping."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from strandline.ports import Assignment, Resources, StepReport
from strandline.search.engine import SearchEngine
from strandline.search.registry import make_algorithm, make_scheduler
from strandline.search.space import Candidate, Space
from strandline.spec.records import Scalar, Trial, TrialState
from strandline.spec.v1alpha1 import SearchSpec
from strandline.testing.fake_clock import FakeClock
from strandline.testing.simulated_runner import SimulatedRunner

Curve = Callable[[Candidate], list[tuple[float, float]]]
"""The (value, seconds) of each step of a candidate's training."""


class MemoryJournal:
    """`search.journal.Journal` that keeps the steps of checkpoints alone: nothing here dies."""

    def __init__(self) -> None:
        self._steps: dict[int, int] = {}

    def record_trial(self, trial: Trial) -> None: ...

    def record_metrics(self, number: int, step: int, metrics: Mapping[str, float]) -> None: ...

    def save_checkpoint(self, number: int, step: int, data: bytes) -> None:
        self._steps[number] = step

    def load_checkpoint(self, number: int) -> tuple[int, bytes] | None:
        step = self._steps.get(number)
        return (step, b"-") if step is not None else None

    def drop_checkpoint(self, number: int) -> None:
        self._steps.pop(number, None)

    def record_elapsed(self, seconds: float) -> None: ...


class CurveTrial:
    """A trainable that replays a curve."""

    def __init__(self, curve: Curve) -> None:
        self._curve = curve
        self._number = -1
        self._points: list[tuple[float, float]] = []
        self._step = 0

    def reset(self, assignment: Assignment) -> None:
        self._number, self._step = assignment.number, assignment.start_step
        self._points = self._curve(assignment.candidate)

    def step(self) -> StepReport:
        value, seconds = self._points[self._step]
        self._step += 1
        done = self._step == len(self._points)
        return StepReport(self._number, self._step, {"value": value}, done, seconds, b"-")


@dataclass
class Run:
    """What a simulated search did.

    Attributes:
        ended: (clock, busy seconds so far, trial) of every trial that ended, in order.
        seconds: on the simulated clock; busy: summed over workers.
    """

    ended: list[tuple[float, float, Trial]] = field(default_factory=list)
    seconds: float = 0.0
    busy: float = 0.0
    trials: int = 0


def simulate(
    space: Space,
    curve: Curve,
    *,
    algorithm: str,
    seed: int,
    budget: Mapping[str, Any],
    workers: int = 1,
    early_stopping: Mapping[str, Any] | None = None,
    settings: Mapping[str, Scalar] | None = None,
) -> Run:
    """Run a search of `workers` workers until its budget is spent."""
    spec = SearchSpec.model_validate(
        {
            "dataset": {"name": "table"},
            "objectives": [{"metric": "value", "goal": "maximize"}],
            "algorithm": {"name": algorithm, "settings": dict(settings or {})},
            "earlyStopping": dict(early_stopping or {"name": "none"}),
            "budget": dict(budget),
            "parallelism": workers,
            "seed": seed,
        }
    )
    clock = FakeClock()
    runner = SimulatedRunner(clock)
    run = Run()

    def note(trial: Trial) -> None:
        if trial.state in (TrialState.COMPLETED, TrialState.PRUNED):
            run.ended.append((clock.monotonic(), runner.busy_seconds, trial))

    engine = SearchEngine(
        "simulated",
        spec,
        make_algorithm(algorithm, space, seed, settings),
        make_scheduler(spec.early_stopping.name, spec.early_stopping.settings),
        MemoryJournal(),
        clock,
        on_change=note,
    )
    runner.run(engine, lambda: CurveTrial(curve), Resources(), workers)
    run.seconds, run.busy, run.trials = clock.monotonic(), runner.busy_seconds, len(engine.trials)
    return run
