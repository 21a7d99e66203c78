"""A trial runner in this very process: for tests, and for machines without Ray."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

from strandline.adapters.failures import classify, too_late
from strandline.ports import (
    Assignment,
    GroupSize,
    GroupSource,
    Resources,
    StepReport,
    Trainable,
    TrainableFactory,
    TrialSource,
)
from strandline.spec.records import Failure

_PAUSE_SECONDS = 0.01


class InlineRunner:
    """`ports.TrialRunner`, one trial after the other; a `GroupRunner` of one worker, too.

    It cannot survive a crash of the trainable and cannot cut a step short, so a step
    timeout and the wish to stop are noticed only when the step is over.
    """

    def held(self, parallelism: int) -> AbstractContextManager[None]:
        return nullcontext()

    def run(
        self,
        source: TrialSource,
        factory: TrainableFactory,
        resources: Resources,
        parallelism: int,
        step_timeout_seconds: float | None = None,
    ) -> None:
        worker = _Worker(factory, step_timeout_seconds)
        while not source.should_stop() and not source.finished():
            assignment = source.next_assignment()
            if assignment is None:
                time.sleep(_PAUSE_SECONDS)
            else:
                _run_trial(worker, source, assignment)

    def run_group(
        self,
        source: GroupSource,
        factory: TrainableFactory,
        resources: Resources,
        size: GroupSize,
        step_timeout_seconds: float | None = None,
    ) -> None:
        source.workers_changed(1, 1)
        self.run(source, factory, resources, 1, step_timeout_seconds)


def _run_trial(worker: _Worker, source: TrialSource, assignment: Assignment) -> None:
    taken_up: Assignment | None = assignment
    while not source.should_stop():
        outcome = worker.step(taken_up)
        taken_up = None
        if isinstance(outcome, Failure):
            return source.fail(assignment.number, outcome)
        if not source.report(outcome):
            return None
    return None


@dataclass(slots=True)
class _Worker:
    """Makes the trainable on first use; what goes wrong in it is the trial's failure."""

    factory: TrainableFactory
    timeout: float | None
    trainable: Trainable | None = None

    def step(self, assignment: Assignment | None) -> StepReport | Failure:
        try:
            self.trainable = self.trainable or self.factory()
            started = time.monotonic()
            if assignment is not None:
                self.trainable.reset(assignment)
            report = self.trainable.step()
        except Exception as error:
            return classify(error)
        seconds = time.monotonic() - started
        if self.timeout is not None and seconds > self.timeout:
            return too_late(self.timeout)
        return replace(report, seconds=seconds)
