"""The engine of a search: what to run next, what to make of what came back, when to end.

It decides; a runner executes (ports.TrialSource is the seam). All it knows is in the
catalog before it acts on it, so an engine that died is rebuilt from the rows: finished
trials are observed again in order, and unfinished ones go on from their checkpoints.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from strandline.ports import HERE, Assignment, Clock, StepReport, Workplace
from strandline.search.algorithm import Algorithm, Observation
from strandline.search.ending import EndReason, reason_to_end
from strandline.search.frozen import Frozen
from strandline.search.journal import History, Journal
from strandline.search.ledger import ENDED, Ledger
from strandline.search.scheduler import Population, Scheduler
from strandline.search.space import Candidate
from strandline.search.turns import Turns
from strandline.spec.errors import InvalidSpecError
from strandline.spec.records import Failure, FailureKind, Trial, TrialState
from strandline.spec.v1alpha1 import SearchSpec, parse_duration

__all__ = ["Affordable", "EndReason", "SearchEngine", "Watch"]

FORGIVEN = {FailureKind.CRASH: 2, FailureKind.LOST: 10}
"""How often a trial goes on after its worker died so.

A worker may have been killed for no fault of its trial; one that dies each time is the
trial's fault. Nodes come and go, but one that goes each time may be brought down by the trial.
"""

# Suggestions looked at before "nothing fits in the time left" is believed.
_UNAFFORDABLE_SKIPPED = 30
# The clock of the whole search is written down this often: a kill loses no more of it.
_ELAPSED_SECONDS = 1.0
_NEVER = datetime.min.replace(tzinfo=UTC)

Affordable = Callable[[Candidate, float], bool]
"""Whether a candidate can be tried within so many seconds."""

Watch = Callable[[], SearchSpec | EndReason | None]
"""Says what a person wants by now: other limits, or an end after the running steps."""


class SearchEngine:
    """`ports.TrialSource` for one Search.

    Args:
        scheduler: not asked when the algorithm is a `Population`, which rules itself.
        defaults: candidates to try before the algorithm is asked.
        devices: devices that one trial occupies, for the budget in device-hours.
        affordable: leaves out candidates that would not end within the time left.
        keep_best: keeps the last checkpoint of the best trial after its end, for whoever
            makes a model of it; without, a trial's checkpoint goes when it ends.
        stop_requested: the person's wish to stop.
        watch: asked again and again while the search runs.
        on_change: told of every trial whose row changed.
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
        keep_best: bool = False,
        stop_requested: Callable[[], bool] | None = None,
        watch: Watch | None = None,
        on_change: Callable[[Trial], None] | None = None,
    ) -> None:
        self.uid = uid
        self._spec = spec
        self._algorithm = algorithm
        self._population = algorithm if isinstance(algorithm, Population) else None
        self._scheduler = self._population or scheduler
        self._journal = journal
        self._clock = clock
        self._defaults = list(defaults)
        self._devices = devices
        self._affordable = affordable
        self._keep_best = keep_best
        self._stop_requested = stop_requested or (lambda: False)
        self._watch = watch or (lambda: None)
        self._drain: EndReason | None = None
        self._on_change = on_change or (lambda trial: None)
        self._ledger = Ledger(spec.objectives)
        self._turns = Turns(self._ledger, self._population)
        self._frozen = Frozen(self._scheduler, algorithm, len(spec.objectives))
        self._curves: dict[int, dict[int, float]] = {}
        self._deaths: Counter[tuple[int, FailureKind]] = Counter()
        self._failures_in_a_row = 0
        self._nothing_new_after: int | None = None
        self._end: EndReason | None = None
        before = history or History()
        self._elapsed_before = before.elapsed_seconds
        self._elapsed_written = before.elapsed_seconds
        self._started = clock.monotonic()
        self._working_since: dict[int, float] = {}
        self._places: dict[int, Workplace] = {}
        self._restore(before)

    # ------------------------------------------------------------ seen from outside

    @property
    def spec(self) -> SearchSpec:
        """What the search goes by now."""
        return self._spec

    @property
    def trials(self) -> Sequence[Trial]:
        """All trials by number."""
        return self._ledger.trials

    @property
    def counts(self) -> Mapping[TrialState, int]:
        """The number of trials in each state."""
        return self._ledger.counts

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
        """Return the best completed trial; the furthest one when none was completed."""
        return self._ledger.best()

    # ------------------------------------------------------------ ports.TrialSource

    def next_assignment(self, place: Workplace = HERE) -> Assignment | None:
        self._check_end()
        if self._end is not None or self._drain is not None:
            return None
        trial = self._go_on() or self._thaw() or self._start() or self._go_on(only=True)
        return self._assign(trial, place) if trial is not None else None

    def finished(self) -> bool:
        self._check_end()
        if self._drain is not None and not self._ledger.running:
            self._end = self._end or self._drain
        if self._end is not None:
            return True
        if self._unfinished:
            return False
        if not self._may_start() and self._thaw() is None:
            self._end = EndReason.TRIALS
        return self._end is not None

    def report(self, report: StepReport) -> bool:
        self._working_since[report.number] = self._clock.monotonic()
        trial = self._spend(self._ledger[report.number], report.seconds)
        if bad := sorted(n for n, value in report.metrics.items() if not math.isfinite(value)):
            message = f"{', '.join(bad)} is not a number after step {report.step}"
            failure = Failure(kind=FailureKind.NOT_A_NUMBER, message=message)
            self._end_trial(trial, TrialState.FAILED, failure)
            return False
        trial = trial.model_copy(update={"step": report.step, "metrics": dict(report.metrics)})
        # What a kill leaves between any two of these writes repeats this step, and decides
        # again: a checkpoint is there only after the decision to go on.
        self._journal.record_metrics(report.number, report.step, report.metrics)
        value = self._value(report)
        self._curves.setdefault(report.number, {})[report.step] = value
        goes_on = self._scheduler.decide(report.number, report.step, value)
        freezes = report.step == self._frozen.step and report.checkpoint is not None
        goes_on = goes_on or freezes
        if report.done or not goes_on:
            state = TrialState.COMPLETED if report.done else TrialState.PRUNED
            self._end_trial(trial, state, last=report)
        else:
            if report.checkpoint is not None:
                self._journal.save_checkpoint(report.number, report.step, report.checkpoint)
                if freezes or self._gives_way(report.step):
                    trial = trial.model_copy(update={"state": TrialState.PENDING})
                    goes_on = False
            self._record(trial)
            if trial.state is TrialState.PENDING:
                self._wait(trial)
                self._end_surplus()
        self._write_elapsed()
        return not report.done and goes_on

    def fail(self, number: int, failure: Failure) -> None:
        trial = self._charge(self._ledger[number])
        self._deaths[number, failure.kind] += 1
        if self._deaths[number, failure.kind] <= FORGIVEN.get(failure.kind, 0):
            self._record(trial.model_copy(update={"state": TrialState.PENDING}))
            self._turns.add(number)
            return
        self._end_trial(trial, TrialState.FAILED, failure)

    def should_stop(self) -> bool:
        wish = self._watch()
        if isinstance(wish, EndReason):
            self._drain = wish
        elif wish is not None:
            self._spec, self._drain = wish, None
            self._end = None
        if self._stop_requested():
            self._end = EndReason.STOPPED
        late = self.seconds_left <= 0 and self._has_result()
        if late and self._end is None:
            self._end = EndReason.TIME
        return late or self._end is EndReason.STOPPED

    def close(self) -> None:
        """Put trials that were dropped in the middle back to waiting, for a later run."""
        for trial in self._ledger.running:
            self._record(self._charge(trial).model_copy(update={"state": TrialState.PENDING}))
        self._journal.record_elapsed(self.elapsed_seconds)

    # ------------------------------------------------------------ inside

    def _value(self, report: StepReport) -> float:
        """Return what the trial is worth after this step."""
        worth = self._ledger.worth(report.metrics)
        if worth is None:
            names = ", ".join(sorted(report.metrics)) or "none"
            metric = self._spec.objectives[0].metric
            raise InvalidSpecError(
                f"trials report no {metric!r}: the objective must be one of {names}"
            )
        return worth.value

    def _restore(self, history: History) -> None:
        for trial in sorted(history.trials, key=_order_of_end):
            self._ledger.put(trial)
            if self._population is not None:
                self._population.enter(trial.number, trial.candidate)
            for step, metrics in history.metrics.get(trial.number, ()):
                worth = self._ledger.worth(metrics)
                if worth is not None and math.isfinite(worth.value):
                    self._scheduler.decide(trial.number, step, worth.value)
                    self._curves.setdefault(trial.number, {})[step] = worth.value
            if trial.state in ENDED:
                self._observe(trial)
                self._count_failure(trial)
            else:
                self._put_back(trial, history)
        self._end_surplus()
        # A kill may have come between the end of a trial and the end of its checkpoint.
        kept = self._kept_checkpoint()
        recent = len(self._ledger) if self._keep_best else self._spec.parallelism
        for number in self._ledger.ended[-recent:]:
            if number != kept:
                self._journal.drop_checkpoint(number)
        # What ended an earlier run does not end the one that was asked to go on.
        if self._failures_in_a_row > self._spec.max_failed_trials:
            self._failures_in_a_row = 0

    def _put_back(self, trial: Trial, history: History) -> None:
        """Let a trial wait that a kill, or an end of the search, interrupted."""
        if trial.state is TrialState.RUNNING:
            trial = trial.model_copy(update={"state": TrialState.PENDING})
            self._journal.record_trial(trial)
        takes_turns = self._population is not None or self._frozen.step is not None
        found = self._journal.load_checkpoint(trial.number) if takes_turns else None
        if found is not None and found[0] > trial.step:
            # The kill came between checkpoint and row: whose turn it is depends on the row.
            metrics = dict(history.metrics.get(trial.number, ())).get(found[0], trial.metrics)
            trial = trial.model_copy(update={"step": found[0], "metrics": dict(metrics)})
        self._ledger.put(trial)
        self._wait(trial)

    def _wait(self, trial: Trial) -> None:
        """Let a trial wait: for a worker, or until the algorithm goes on with it."""
        step = self._frozen.step
        if step is None or trial.step < step:
            self._turns.add(trial.number)
            return
        # What it gave by then, whatever it has given since.
        curve = {at: v for at, v in self._curves.get(trial.number, {}).items() if at <= step}
        if step in curve:
            self._algorithm.observe(
                Observation(
                    trial.number,
                    trial.candidate,
                    curve[step],
                    complete=False,
                    curve=tuple(sorted(curve.items())),
                )
            )
        if step in curve and trial.step == step:
            self._frozen.add(trial.number, curve[step])
        else:
            self._turns.add(trial.number)

    def _thaw(self) -> Trial | None:
        """Return the trial that waits and is worth more than a new one; None without one."""
        running = [trial.candidate for trial in self._ledger.running]
        number = self._frozen.choose(len(self._ledger), running)
        completed = self._ledger.counts[TrialState.COMPLETED] > 0
        if number is None and not (running or completed or self._may_start()):
            number = self._frozen.best()  # a search has something to show at its end
        return self._ledger[number] if number is not None else None

    def _end_surplus(self) -> None:
        for number in self._frozen.surplus():
            self._end_trial(self._ledger[number], TrialState.PRUNED)

    def _go_on(self, only: bool = False) -> Trial | None:
        """Return a trial that waited; None when there is none, or a new one comes first."""
        may_start = self._may_start() and not only
        while (number := self._turns.next(may_start)) is not None:
            trial = self._ledger[number]
            # Without leave to start another in its place, the worst may as well go on.
            if not self._may_start() or self._population is None:
                return trial
            if self._population.keeps(number, trial.step):
                return trial
            self._end_trial(trial, TrialState.PRUNED)
        return None

    def _start(self) -> Trial | None:
        """Return a new trial, its checkpoint in place if it begins from another's."""
        if not self._may_start():
            return None
        number = len(self._ledger)
        candidate = self._choose(number)
        if candidate is None:
            return None
        trial = Trial(search=self.uid, number=number, candidate=dict(candidate))
        # A kill may have left a copy for a trial of this number that never came to be.
        self._journal.drop_checkpoint(number)
        if self._population is None:
            return trial
        parent = self._population.parent(number, candidate)
        found = self._journal.load_checkpoint(parent) if parent is not None else None
        if found is not None:
            self._journal.save_checkpoint(number, *found)
            trial = trial.model_copy(update={"parent": parent, "step": found[0]})
        self._population.enter(number, candidate)
        return trial

    def _gives_way(self, step: int) -> bool:
        """Return whether a trial that can go on from its checkpoint stops here for now."""
        if self._drain is not None:
            return True
        return self._population is not None and self._population.gives_way(step)

    @property
    def _unfinished(self) -> bool:
        return bool(self._turns or self._ledger.running)

    def _assign(self, trial: Trial, place: Workplace) -> Assignment:
        found = self._journal.load_checkpoint(trial.number)
        step, data = found if found is not None else (0, None)
        started = trial.started_at or self._clock.now()
        self._places[trial.number] = place
        self._record(
            trial.model_copy(
                update={"state": TrialState.RUNNING, "started_at": started, "pool": place.pool}
            )
        )
        self._frozen.remove(trial.number)
        self._working_since[trial.number] = self._clock.monotonic()
        return Assignment(trial.number, trial.candidate, step, data)

    def _charge(self, trial: Trial) -> Trial:
        """Add what the step that was lost took: devices were occupied all the same."""
        since = self._working_since.pop(trial.number, None)
        lost = self._clock.monotonic() - since if since is not None else 0.0
        return self._spend(trial, lost)

    def _spend(self, trial: Trial, seconds: float) -> Trial:
        """Add seconds that a trial's worker was occupied, and what they cost."""
        cost = self._places.get(trial.number, HERE).add_cost(trial.cost, seconds)
        return trial.model_copy(update={"seconds": trial.seconds + seconds, "cost": cost})

    def _choose(self, number: int) -> Candidate | None:
        for candidate in self._defaults:
            if not self._ledger.has_tried(candidate) and self._fits(candidate):
                return candidate
        running = [trial.candidate for trial in self._ledger.running]
        if self._unfinished and self._nothing_new_after == len(self._ledger.ended):
            return None  # nothing was learned since the algorithm was asked in vain
        skipped: list[Candidate] = running
        reason = EndReason.NOTHING_FITS
        for _ in range(_UNAFFORDABLE_SKIPPED):
            suggested = self._algorithm.suggest(number, skipped)
            if suggested is None:
                reason = EndReason.EXHAUSTED
                break
            if self._fits(suggested):
                return suggested
            skipped.append(suggested)
        self._nothing_new_after = len(self._ledger.ended)
        if not self._unfinished:
            self._end = reason
        return None

    def _has_result(self) -> bool:
        """Return whether there is anything to show: no budget ends a search before that."""
        return self._ledger.stepped or self._failures_in_a_row > 0

    def _fits(self, candidate: Candidate) -> bool:
        if self._affordable is None or math.isinf(self.seconds_left) or not self._has_result():
            return True
        return self._affordable(candidate, self.seconds_left)

    def _may_start(self) -> bool:
        limit = self._spec.budget.trials
        return limit is None or len(self._ledger) < limit

    def _end_trial(
        self,
        trial: Trial,
        state: TrialState,
        failure: Failure | None = None,
        last: StepReport | None = None,
    ) -> None:
        ended = trial.model_copy(
            update={"state": state, "failure": failure, "ended_at": self._clock.now()}
        )
        before = self._kept_checkpoint()
        self._record(ended)
        self._frozen.remove(trial.number)
        self._settle_checkpoints(before, trial.number, last)
        self._working_since.pop(trial.number, None)
        self._observe(ended)
        self._count_failure(ended)

    def _kept_checkpoint(self) -> int | None:
        """Return the ended trial whose checkpoint is kept, None if there is none."""
        best = self.best() if self._keep_best else None
        return best.number if best is not None and best.state in ENDED else None

    def _settle_checkpoints(self, before: int | None, ended: int, last: StepReport | None) -> None:
        """Keep the checkpoint of the best trial alone; that of an earlier step will do."""
        kept = self._kept_checkpoint()
        if kept == ended and last is not None and last.checkpoint is not None:
            self._journal.save_checkpoint(ended, last.step, last.checkpoint)
        for number in {before, ended} - {kept}:
            if number is not None:
                self._journal.drop_checkpoint(number)

    def _observe(self, trial: Trial) -> None:
        curve = self._curves.pop(trial.number, {})
        worth = None if trial.state is TrialState.FAILED else self._ledger.worth(trial.metrics)
        if worth is None:
            self._algorithm.observe(Observation(trial.number, trial.candidate, None))
            return
        self._algorithm.observe(
            Observation(
                trial.number,
                trial.candidate,
                worth.value,
                complete=trial.state is TrialState.COMPLETED,
                values=worth.values,
                excess=worth.excess,
                curve=tuple(sorted(curve.items())),
            )
        )

    def _count_failure(self, trial: Trial) -> None:
        failed = trial.state is TrialState.FAILED
        self._failures_in_a_row = self._failures_in_a_row + 1 if failed else 0

    def _record(self, trial: Trial) -> None:
        self._journal.record_trial(trial)
        self._ledger.put(trial)
        self._on_change(trial)

    def _write_elapsed(self) -> None:
        if self.elapsed_seconds - self._elapsed_written >= _ELAPSED_SECONDS:
            self._journal.record_elapsed(self.elapsed_seconds)
            self._elapsed_written = self.elapsed_seconds

    def _check_end(self) -> None:
        """Set the reason to end when one holds; trials that run may still finish."""
        if self.should_stop() or self._end is not None:
            return
        self._end = reason_to_end(self._spec, self._ledger, self._failures_in_a_row, self._devices)


def _order_of_end(trial: Trial) -> tuple[bool, datetime, int]:
    """Order trials as they ended, then those that did not by number."""
    return (trial.ended_at is None, trial.ended_at or _NEVER, trial.number)
