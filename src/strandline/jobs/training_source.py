"""The one trial of a Training, seen from a runner: every epoch is kept, no failure is final.

Unlike a search, which gives a failed candidate up and tries others, a training has only
this one: it goes on from its last epoch whatever ended it, now or when it is asked again.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping

from strandline.jobs.search_journal import CatalogJournal
from strandline.ports import HERE, Assignment, Clock, StepReport, Workplace
from strandline.search.engine import FORGIVEN
from strandline.spec.records import Failure, FailureKind, Scalar, Trial, TrialState

_NUMBER = 0


class TrainingSource:
    """`ports.GroupSource` of one training.

    Attributes:
        trial: its row.
        device_seconds: that this run's epochs took, summed over all devices.

    Args:
        uid: under which the journal keeps the row.
        on_epoch: told of the row after each epoch.
        on_workers: told of how many workers learn from now on, and what it waits for.
    """

    def __init__(
        self,
        uid: str,
        candidate: Mapping[str, Scalar],
        journal: CatalogJournal,
        clock: Clock,
        *,
        stop_requested: Callable[[], bool],
        on_epoch: Callable[[Trial], None],
        on_workers: Callable[[int, str], None] = lambda workers, waiting: None,
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._stop_requested = stop_requested
        self._on_epoch = on_epoch
        self._on_workers = on_workers
        self._devices = 1
        self._place = HERE
        self.device_seconds = 0.0
        self._deaths: Counter[FailureKind] = Counter()
        self._running = False
        self._given_up = False
        known = journal.trials()
        self.trial = known[0] if known else Trial(search=uid, number=_NUMBER, candidate=candidate)

    @property
    def complete(self) -> bool:
        """Return whether all epochs are over."""
        return self.trial.state is TrialState.COMPLETED

    @property
    def stopped(self) -> bool:
        """Return whether it ended because that was asked for."""
        return not self.complete and not self._given_up

    def checkpoint(self) -> bytes | None:
        """Return the newest checkpoint, None when it was lost."""
        found = self._journal.load_checkpoint(_NUMBER)
        return None if found is None else found[1]

    # ------------------------------------------------------------ ports.GroupSource

    def workers_changed(self, workers: int, devices: int, waiting: str = "") -> None:
        self._devices = devices
        self._on_workers(workers, waiting)

    def next_assignment(self, place: Workplace = HERE) -> Assignment | None:
        if self._running or self.finished():
            return None
        step, data = self._journal.load_checkpoint(_NUMBER) or (0, None)
        self._running = True
        started = self.trial.started_at or self._clock.now()
        self._place = place
        self._record(
            state=TrialState.RUNNING,
            started_at=started,
            failure=None,
            ended_at=None,
            pool=place.pool,
        )
        return Assignment(_NUMBER, self.trial.candidate, step, data)

    def finished(self) -> bool:
        return self.complete or self._given_up

    def report(self, report: StepReport) -> bool:
        seconds, on_devices = self.trial.seconds + report.seconds, report.seconds * self._devices
        self.device_seconds += on_devices
        if bad := sorted(n for n, value in report.metrics.items() if not math.isfinite(value)):
            message = f"{', '.join(bad)} is not a number after epoch {report.step}"
            failure = Failure(kind=FailureKind.NOT_A_NUMBER, message=message)
            self._give_up(failure)
            return False
        self._deaths.clear()  # they count again and again without an epoch in between
        self._journal.record_metrics(_NUMBER, report.step, report.metrics)
        if report.checkpoint is not None:
            self._journal.save_checkpoint(_NUMBER, report.step, report.checkpoint)
        ended = {"state": TrialState.COMPLETED, "ended_at": self._clock.now()}
        self._record(
            step=report.step,
            metrics=dict(report.metrics),
            seconds=seconds,
            cost=self._place.add_cost(self.trial.cost, on_devices),
            **(ended if report.done else {}),
        )
        self._running = not report.done
        self._on_epoch(self.trial)
        return not report.done

    def fail(self, number: int, failure: Failure) -> None:
        self._running = False
        self._deaths[failure.kind] += 1
        if self._deaths[failure.kind] > FORGIVEN.get(failure.kind, 0):
            self._give_up(failure)

    def should_stop(self) -> bool:
        return self._stop_requested()

    def close(self) -> None:
        """Put a run that was dropped in the middle back to waiting."""
        if self.trial.state is TrialState.RUNNING:
            self._record(state=TrialState.PENDING)

    # ------------------------------------------------------------ inside

    def _give_up(self, failure: Failure) -> None:
        self._given_up = True
        self._running = False
        self._record(state=TrialState.FAILED, failure=failure, ended_at=self._clock.now())

    def _record(self, **changes: object) -> None:
        self.trial = self.trial.model_copy(update=changes)
        self._journal.record_trial(self.trial)
