"""The engine of a search: what to run next, what to make of what came back, when to end.

It decides; a runner executes (ports.TrialSource is the seam). All it knows is in the
catalog before it acts on it, so an engine that died is rebuilt from the rows: finished
trials are observed again in order, and unfinished ones go on from their checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Protocol

from strandline.ports import Assignment, Clock, StepReport
from strandline.search.algorithm import Algorithm, Observation
from strandline.search.asha import Scheduler
from strandline.search.space import Candidate, candidate_key
from strandline.spec.errors import InvalidSpecError
from strandline.spec.records import Failure, FailureKind, Trial, TrialState
from strandline.spec.v1alpha1 import Goal, Objective, SearchSpec, parse_duration

# A worker that dies may have been killed for no fault of its trial; one that dies each
# time is the trial's fault.
_CRASHES_FORGIVEN = 2
# Suggestions looked at before "nothing fits in the time left" is believed.
_UNAFFORDABLE_SKIPPED = 30
_ENDED = (TrialState.COMPLETED, TrialState.PRUNED, TrialState.FAILED)

Affordable = Callable[[Candidate, float], bool]
"""Whether a candidate can be tried within so many seconds."""


class Journal(Protocol):
    """Where the engine keeps what it knows; each call is durable when it returns."""

    def record_trial(self, trial: Trial) -> None:
        """Insert or replace the trial's row."""

    def record_metrics(self, number: int, step: int, metrics: Mapping[str, float]) -> None:
        """Store the metrics of one step."""

    def save_checkpoint(self, number: int, step: int, data: bytes) -> None:
        """Keep the newest checkpoint of a trial."""

    def load_checkpoint(self, number: int) -> tuple[int, bytes] | None:
        """Return (step, data) of the newest checkpoint that verifies."""

    def drop_checkpoint(self, number: int) -> None:
        """Forget a trial's checkpoints."""

    def record_elapsed(self, seconds: float) -> None:
        """Keep how long the search has run, over all its runs."""


class EndReason(StrEnum):
    """Why a search ended."""

    TRIALS = "TrialBudgetSpent"
    TIME = "TimeBudgetSpent"
    DEVICE_HOURS = "DeviceHoursSpent"
    GOAL = "GoalReached"
    PLATEAU = "PlateauReached"
    EXHAUSTED = "SpaceExhausted"
    NOTHING_FITS = "NothingFitsInTime"
    FAILURES = "TooManyFailures"
    STOPPED = "Stopped"


@dataclass(frozen=True, slots=True)
class History:
    """What earlier runs of the search left.

    Attributes:
        trials: all rows, by number.
        metrics: by trial number: (step, metrics) of each step.
        elapsed_seconds: over all earlier runs.
    """

    trials: Sequence[Trial] = ()
    metrics: Mapping[int, Sequence[tuple[int, Mapping[str, float]]]] = field(default_factory=dict)
    elapsed_seconds: float = 0.0


class SearchEngine:
    """`ports.TrialSource` for one Search.

    Args:
        defaults: candidates to try before the algorithm is asked.
        devices: devices that one trial occupies, for the budget in device-hours.
        affordable: leaves out candidates that would not end within the time left.
        stop_requested: the person's wish to stop.
        on_change: told of every trial whose row changed, with the engine itself.
    """

    def __init__(
        self,
        uid: str,
        spec: SearchSpec,
        algorithm: Algorithm,
        scheduler: Scheduler,
        journal: Journal,
        clock: Clock,
        *,
        defaults: Sequence[Candidate] = (),
        history: History | None = None,
        devices: float = 1.0,
        affordable: Affordable | None = None,
        stop_requested: Callable[[], bool] | None = None,
        on_change: Callable[[Trial], None] | None = None,
    ) -> None:
        self.uid = uid
        self._spec = spec
        self._algorithm = algorithm
        self._scheduler = scheduler
        self._journal = journal
        self._clock = clock
        self._defaults = list(defaults)
        self._devices = devices
        self._affordable = affordable
        self._stop_requested = stop_requested or (lambda: False)
        self._on_change = on_change or (lambda trial: None)
        self._trials: dict[int, Trial] = {}
        self._waiting: list[int] = []
        self._crashes: dict[int, int] = {}
        self._failures_in_a_row = 0
        self._end: EndReason | None = None
        before = history or History()
        self._elapsed_before = before.elapsed_seconds
        self._started = clock.monotonic()
        self._restore(before)

    # ------------------------------------------------------------ seen from outside

    @property
    def trials(self) -> Sequence[Trial]:
        """All trials by number."""
        return [self._trials[number] for number in sorted(self._trials)]

    @property
    def end_reason(self) -> EndReason | None:
        """Why the search ended, None while it goes on."""
        return self._end

    @property
    def elapsed_seconds(self) -> float:
        """Seconds of wall-clock time over all runs of the search."""
        return self._elapsed_before + self._clock.monotonic() - self._started

    @property
    def seconds_left(self) -> float:
        """Seconds until the time budget is spent; infinite without one."""
        if self._spec.budget.time is None:
            return math.inf
        return parse_duration(self._spec.budget.time) / timedelta(seconds=1) - self.elapsed_seconds

    def best(self) -> Trial | None:
        """Return the best completed trial; the furthest one when none was completed.

        The first of equals wins, so that the answer does not depend on timing.
        """
        scored = [t for t in self.trials if self._value(t) is not None]
        completed = [t for t in scored if t.state is TrialState.COMPLETED]
        if completed:
            return max(completed, key=lambda t: self._value(t) or 0.0)
        stepped = [t for t in scored if t.step > 0 and t.state is not TrialState.FAILED]
        return max(stepped, key=lambda t: (t.step, self._value(t) or 0.0), default=None)

    # ------------------------------------------------------------ ports.TrialSource

    def next_assignment(self) -> Assignment | None:
        self._check_end()
        if self._end is not None:
            return None
        if self._waiting:
            return self._assign(self._trials[self._waiting.pop(0)])
        if not self._may_start():
            return None
        number = len(self._trials)
        candidate = self._choose(number)
        if candidate is None:
            return None
        return self._assign(Trial(search=self.uid, number=number, candidate=dict(candidate)))

    def finished(self) -> bool:
        self._check_end()
        if self._end is not None:
            return True
        if self._waiting or self._running():
            return False
        limit = self._spec.budget.trials
        if limit is not None and len(self._trials) >= limit:
            self._end = EndReason.TRIALS
        return self._end is not None

    def report(self, report: StepReport) -> bool:
        trial = self._trials[report.number]
        if bad := sorted(n for n, value in report.metrics.items() if not math.isfinite(value)):
            failure = Failure(
                kind=FailureKind.NOT_A_NUMBER,
                message=f"{', '.join(bad)} is not a number after step {report.step}",
            )
            self._end_trial(trial, TrialState.FAILED, failure)
            return False
        stepped = trial.model_copy(
            update={
                "step": report.step,
                "metrics": dict(report.metrics),
                "seconds": trial.seconds + report.seconds,
            }
        )
        value = self._value(stepped)
        if value is None:
            names = ", ".join(sorted(report.metrics)) or "none"
            raise InvalidSpecError(
                f"trials report no {self._objective.metric!r}: the objective must be one of {names}"
            )
        # Data first, then what points at it: a row never names a step that is not there.
        if report.checkpoint is not None and not report.done:
            self._journal.save_checkpoint(report.number, report.step, report.checkpoint)
        self._journal.record_metrics(report.number, report.step, report.metrics)
        self._journal.record_elapsed(self.elapsed_seconds)
        goes_on = self._scheduler.decide(report.number, report.step, value)
        if report.done:
            self._end_trial(stepped, TrialState.COMPLETED)
        elif not goes_on:
            self._end_trial(stepped, TrialState.PRUNED)
        else:
            self._record(stepped)
        return not report.done and goes_on

    def fail(self, number: int, failure: Failure) -> None:
        trial = self._trials[number]
        crashes = self._crashes.get(number, 0) + (failure.kind is FailureKind.CRASH)
        self._crashes[number] = crashes
        if failure.kind is FailureKind.CRASH and crashes <= _CRASHES_FORGIVEN:
            self._record(trial.model_copy(update={"state": TrialState.PENDING}))
            self._waiting.append(number)
            return
        self._end_trial(trial, TrialState.FAILED, failure)

    def should_stop(self) -> bool:
        if self._stop_requested():
            self._end = EndReason.STOPPED
        elif self.seconds_left <= 0 and self._end is None and self._has_result():
            self._end = EndReason.TIME
        return self._end in (EndReason.STOPPED, EndReason.TIME)

    def close(self) -> None:
        """Put trials that were dropped in the middle back to waiting, for a later run."""
        for trial in self._running():
            self._record(trial.model_copy(update={"state": TrialState.PENDING}))
        self._journal.record_elapsed(self.elapsed_seconds)

    # ------------------------------------------------------------ inside

    @property
    def _objective(self) -> Objective:
        return self._spec.objectives[0]

    def _value(self, trial: Trial) -> float | None:
        """Return the first objective, turned so that more is better."""
        value = trial.metrics.get(self._objective.metric)
        if value is None:
            return None
        return value if self._objective.goal is Goal.MAXIMIZE else -value

    def _restore(self, history: History) -> None:
        for trial in sorted(history.trials, key=lambda each: each.number):
            self._trials[trial.number] = trial
            for step, metrics in history.metrics.get(trial.number, ()):
                value = self._value(trial.model_copy(update={"metrics": dict(metrics)}))
                if value is not None and math.isfinite(value):
                    self._scheduler.decide(trial.number, step, value)
            if trial.state in _ENDED:
                self._observe(trial)
                self._count_failure(trial)
            else:
                self._waiting.append(trial.number)
        # Failures of an earlier run do not end a resumed one before it has begun.
        self._failures_in_a_row = 0

    def _assign(self, trial: Trial) -> Assignment:
        found = self._journal.load_checkpoint(trial.number)
        step, data = found if found is not None else (0, None)
        self._record(
            trial.model_copy(
                update={
                    "state": TrialState.RUNNING,
                    "started_at": trial.started_at or self._clock.now(),
                }
            )
        )
        return Assignment(trial.number, trial.candidate, step, data)

    def _choose(self, number: int) -> Candidate | None:
        tried = {candidate_key(trial.candidate) for trial in self._trials.values()}
        for candidate in self._defaults:
            if candidate_key(candidate) not in tried and self._fits(candidate):
                return candidate
        skipped: list[Candidate] = [trial.candidate for trial in self._running()]
        for _ in range(_UNAFFORDABLE_SKIPPED):
            suggested = self._algorithm.suggest(number, skipped)
            if suggested is None:
                self._end_when_idle(EndReason.EXHAUSTED)
                return None
            if self._fits(suggested):
                return suggested
            skipped.append(suggested)
        self._end_when_idle(EndReason.NOTHING_FITS)
        return None

    def _has_result(self) -> bool:
        """Return whether there is anything to show: no budget ends a search before that."""
        return any(trial.step > 0 for trial in self._trials.values()) or (
            self._failures_in_a_row > 0
        )

    def _fits(self, candidate: Candidate) -> bool:
        if self._affordable is None or math.isinf(self.seconds_left) or not self._has_result():
            return True
        return self._affordable(candidate, self.seconds_left)

    def _end_when_idle(self, reason: EndReason) -> None:
        if not self._running():
            self._end = reason

    def _may_start(self) -> bool:
        limit = self._spec.budget.trials
        return limit is None or len(self._trials) < limit

    def _running(self) -> list[Trial]:
        return [t for t in self._trials.values() if t.state is TrialState.RUNNING]

    def _end_trial(self, trial: Trial, state: TrialState, failure: Failure | None = None) -> None:
        ended = trial.model_copy(
            update={"state": state, "failure": failure, "ended_at": self._clock.now()}
        )
        self._record(ended)
        self._journal.drop_checkpoint(trial.number)
        self._observe(ended)
        self._count_failure(ended)

    def _observe(self, trial: Trial) -> None:
        value = None if trial.state is TrialState.FAILED else self._value(trial)
        complete = trial.state is TrialState.COMPLETED
        self._algorithm.observe(Observation(trial.number, trial.candidate, value, complete))

    def _count_failure(self, trial: Trial) -> None:
        failed = trial.state is TrialState.FAILED
        self._failures_in_a_row = self._failures_in_a_row + 1 if failed else 0

    def _record(self, trial: Trial) -> None:
        self._journal.record_trial(trial)
        self._trials[trial.number] = trial
        self._on_change(trial)

    def _check_end(self) -> None:
        """Set the reason to end when one holds; trials that run may still finish."""
        if self._end is not None:
            return
        if self.should_stop():
            return
        if self._failures_in_a_row > self._spec.max_failed_trials:
            self._end = EndReason.FAILURES
        elif self._goal_reached():
            self._end = EndReason.GOAL
        elif self._on_plateau():
            self._end = EndReason.PLATEAU
        elif self._device_hours() >= (self._spec.budget.device_hours or math.inf):
            self._end = EndReason.DEVICE_HOURS

    def _goal_reached(self) -> bool:
        goal, best = self._spec.stop.goal, self.best()
        if goal is None or best is None or best.state is not TrialState.COMPLETED:
            return False
        wanted = goal if self._objective.goal is Goal.MAXIMIZE else -goal
        return (self._value(best) or -math.inf) >= wanted

    def _on_plateau(self) -> bool:
        patience, best = self._spec.stop.plateau_trials, self.best()
        if patience is None or best is None or best.ended_at is None:
            return False
        ended = best.ended_at
        since = [t for t in self._trials.values() if t.ended_at is not None and t.ended_at > ended]
        return len(since) >= patience

    def _device_hours(self) -> float:
        return sum(t.seconds for t in self._trials.values()) * self._devices / 3600
