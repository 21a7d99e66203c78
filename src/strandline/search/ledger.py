"""The trials of a search, and what the engine asks about all of them after each step.

Every answer is kept as trials change instead of gathered anew, so that the ten thousandth
trial costs no more than the first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from strandline.search.objectives import Worth, worth_of
from strandline.search.space import Candidate, candidate_key
from strandline.spec.records import Trial, TrialState
from strandline.spec.v1alpha1 import Objective

ENDED = frozenset({TrialState.COMPLETED, TrialState.PRUNED, TrialState.FAILED})


class Ledger:
    """The newest row of each trial. Trials that ended do not change any more."""

    def __init__(self, objectives: Sequence[Objective]) -> None:
        self._objectives = objectives
        self._trials: dict[int, Trial] = {}
        self._tried: set[str] = set()
        self._running: dict[int, None] = {}
        self._ended: list[int] = []
        self._counts: Counter[TrialState] = Counter()
        self._best: Trial | None = None
        self._ended_at_best = 0
        self._seconds = 0.0
        self._stepped = False

    def __len__(self) -> int:
        return len(self._trials)

    def __getitem__(self, number: int) -> Trial:
        return self._trials[number]

    @property
    def trials(self) -> Sequence[Trial]:
        """All trials by number."""
        return [self._trials[number] for number in sorted(self._trials)]

    @property
    def running(self) -> Sequence[Trial]:
        """The trials that run now."""
        return [self._trials[number] for number in self._running]

    @property
    def ended(self) -> Sequence[int]:
        """The numbers of the trials that ended, in the order they did."""
        return self._ended

    @property
    def counts(self) -> Mapping[TrialState, int]:
        """The number of trials in each state."""
        return {state: self._counts[state] for state in TrialState}

    @property
    def seconds(self) -> float:
        """What all trials took together."""
        return self._seconds

    @property
    def stepped(self) -> bool:
        """Whether any trial ever finished a step."""
        return self._stepped

    @property
    def ended_since_best(self) -> int:
        """How many trials ended after the one that brought the best value; 0 without one."""
        return len(self._ended) - self._ended_at_best if self._best is not None else 0

    def has_tried(self, candidate: Candidate) -> bool:
        """Return whether a trial has this candidate."""
        return candidate_key(candidate) in self._tried

    def worth(self, metrics: Mapping[str, float]) -> Worth | None:
        """Return what a trial of these metrics is worth, None without the first objective."""
        return worth_of(metrics, self._objectives)

    def put(self, trial: Trial) -> None:
        """Take a new trial or the newest row of a known one."""
        old = self._trials.get(trial.number)
        if old is None:
            self._tried.add(candidate_key(trial.candidate))
        else:
            self._counts[old.state] -= 1
        self._trials[trial.number] = trial
        self._counts[trial.state] += 1
        self._seconds += trial.seconds - (old.seconds if old is not None else 0.0)
        self._stepped = self._stepped or trial.step > 0
        if trial.state is TrialState.RUNNING:
            self._running[trial.number] = None
        else:
            self._running.pop(trial.number, None)
        if trial.state in ENDED:
            self._ended.append(trial.number)
            self._compare(trial)

    def best(self) -> Trial | None:
        """Return the best completed trial; the furthest one when none was completed.

        Of trials within the objectives' limits, if there are any, the one whose first
        objective is best.

        The lowest number among equals wins, so that the answer does not depend on timing.
        """
        if self._best is not None:
            return self._best
        usable = [t for t in self.trials if t.step > 0 and t.state is not TrialState.FAILED]
        scored = [(t.step, worth.rank, t) for t in usable if (worth := self.worth(t.metrics))]
        return max(scored, key=lambda entry: entry[:2], default=(0, (False, 0.0), None))[2]

    def _compare(self, trial: Trial) -> None:
        worth = self.worth(trial.metrics)
        if trial.state is not TrialState.COMPLETED or worth is None:
            return
        before = self.worth(self._best.metrics) if self._best is not None else None
        if self._best is None or before is None or worth.rank > before.rank:
            self._best, self._ended_at_best = trial, len(self._ended)
        elif worth.rank == before.rank and trial.number < self._best.number:
            self._best = trial
