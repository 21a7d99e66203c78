"""A trial runner in this very process: for tests, and for machines without Ray."""

from __future__ import annotations

import time
from dataclasses import replace

from strandline.ports import Resources, TrainableFactory, TrialSource
from strandline.spec.records import Failure, FailureKind


class InlineRunner:
    """`ports.TrialRunner`, one trial after the other.

    It cannot survive a crash of the trainable and cannot cut a step short, so a step
    timeout is noticed only when the step is over.
    """

    def run(
        self,
        source: TrialSource,
        factory: TrainableFactory,
        resources: Resources,
        parallelism: int,
        step_timeout_seconds: float | None = None,
    ) -> None:
        trainable = factory()
        while not source.should_stop() and not source.finished():
            assignment = source.next_assignment()
            if assignment is None:
                continue
            goes_on, first = True, True
            while goes_on and not source.should_stop():
                started = time.monotonic()
                try:
                    if first:
                        trainable.reset(assignment)
                    report = trainable.step()
                except Exception as error:
                    source.fail(
                        assignment.number,
                        Failure(kind=FailureKind.ERROR, message=f"{type(error).__name__}: {error}"),
                    )
                    break
                first = False
                seconds = time.monotonic() - started
                if step_timeout_seconds is not None and seconds > step_timeout_seconds:
                    late = f"the step took longer than {step_timeout_seconds:g} s"
                    source.fail(assignment.number, Failure(kind=FailureKind.TIMEOUT, message=late))
                    break
                goes_on = source.report(replace(report, seconds=seconds))
