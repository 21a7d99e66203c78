"""A trial runner in simulated time: a thousand workers for an hour take seconds.

Steps are computed at once and their results delivered in the order in which real workers
would have delivered them, by the seconds each report says its step took (Syne Tune's idea of
a simulator backend; Salinas et al. 2022).
"""

from __future__ import annotations

import heapq
import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from strandline.adapters.failures import classify, too_late
from strandline.ports import Resources, StepReport, Trainable, TrainableFactory, TrialSource
from strandline.spec.records import Failure
from strandline.testing.fake_clock import FakeClock


@dataclass(slots=True)
class _Worker:
    """One simulated worker; `number` is the trial it has, None while it is idle."""

    trainable: Trainable | None = None
    number: int | None = None


class SimulatedRunner:
    """`ports.TrialRunner` that moves a clock instead of waiting.

    Args:
        clock: the one that the search goes by.
    """

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.busy_seconds = 0.0
        """Simulated seconds that workers spent in steps, summed over them."""

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
        self._timeout = math.inf if step_timeout_seconds is None else step_timeout_seconds
        # By the time it is delivered; equal times in the order they began.
        self._coming: list[tuple[float, int, _Worker, StepReport | Failure]] = []
        self._begun = 0
        idle = [_Worker() for _ in range(parallelism)]
        while not source.should_stop():
            while idle and (assignment := source.next_assignment()) is not None:
                worker = idle.pop()
                worker.number = assignment.number
                try:
                    worker.trainable = worker.trainable or factory()
                    worker.trainable.reset(assignment)
                except Exception as error:
                    self._deliver_later(worker, 0.0, classify(error))
                    continue
                self._begin_step(worker)
            if not self._coming:
                if source.finished() or len(idle) == parallelism:
                    return
                continue
            worker = self._deliver(source)
            if worker.number is None:
                idle.append(worker)

    def _begin_step(self, worker: _Worker) -> None:
        assert worker.trainable is not None
        try:
            report = worker.trainable.step()
        except Exception as error:
            self._deliver_later(worker, 0.0, classify(error))
            return
        if report.seconds > self._timeout:
            self._deliver_later(worker, self._timeout, too_late(self._timeout))
        else:
            self._deliver_later(worker, report.seconds, report)

    def _deliver_later(
        self, worker: _Worker, seconds: float, outcome: StepReport | Failure
    ) -> None:
        self.busy_seconds += seconds
        self._begun += 1
        when = self._clock.monotonic() + seconds
        heapq.heappush(self._coming, (when, self._begun, worker, outcome))

    def _deliver(self, source: TrialSource) -> _Worker:
        """Move the clock to the next result and hand it over; return its worker."""
        when, _, worker, outcome = heapq.heappop(self._coming)
        self._clock.advance(max(0.0, when - self._clock.monotonic()))
        assert worker.number is not None
        if isinstance(outcome, Failure):
            source.fail(worker.number, outcome)
            worker.number = None
        elif source.report(outcome):
            self._begin_step(worker)
        else:
            worker.number = None
        return worker
