"""Answer Katib's Suggestion requests: a pure function of what the request holds.

The algorithm is rebuilt from the Experiment and its trials: those that ended are observed
in the order of their ends, those that run are pending. So any replica, and one that was
killed and started again, gives the answer that an undisturbed one would have given.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

from strandline.jobs.katib.learners import Learner, Learners, prefix_digests
from strandline.jobs.katib.plans import Plan, plan_of
from strandline.jobs.katib.requests import (
    Assignments,
    Condition,
    Experiment,
    Request,
    Trial,
)
from strandline.search.algorithm import Algorithm, Observation
from strandline.search.random import draw_new
from strandline.search.space import Candidate, candidate_key
from strandline.spec.errors import BudgetExhaustedError, InvalidSpecError

_log = logging.getLogger(__name__)

MOST_WANTED = 10_000
# Where the count of suggestions given is wrong, draws come from elsewhere in the sequence.
_ELSEWHERE = 1_000_003


def suggest(request: Request, learners: Learners | None = None) -> list[Assignments]:
    """Return assignments for `request.wanted` new trials; fewer when the space ends.

    None of them equals a trial of the request, nor another one of them. `learners` only
    saves time.

    Raises:
        InvalidSpecError: the Experiment cannot be searched; the message says what to change.
        BudgetExhaustedError: every candidate of the space has been tried.
    """
    if request.wanted > MOST_WANTED:
        raise InvalidSpecError(f"ask for {MOST_WANTED:,} suggestions at most at once")
    plan = plan_of(request.experiment)
    if request.wanted <= 0:
        return []
    ended = _in_order([t for t in request.trials if t.condition is not Condition.PENDING])
    learner = _learner(plan, ended, learners)
    pending = _candidates(plan, [t for t in request.trials if t.condition is Condition.PENDING])
    number = max(request.given, len(request.trials))
    try:
        found = _ask(plan, learner.algorithm, ended, pending, number, request.wanted)
    except (TypeError, ValueError) as error:
        raise InvalidSpecError(
            f"algorithm {plan.algorithm!r} does not take this Experiment: {error}"
        ) from error
    if learners is not None:
        learners.put(learner)
    if not found:
        raise BudgetExhaustedError(
            f"all {plan.coder.space.size():.0f} different trials have been suggested: widen the "
            "feasible space, or lower maxTrialCount"
        )
    return [plan.coder.assignments(candidate) for candidate in found]


def validate(experiment: Experiment) -> None:
    """Check that the Experiment can be searched, by making a first suggestion.

    Settings that are ignored are named in the log: Katib's protocol has no place for them.

    Raises:
        InvalidSpecError: it cannot; the message says what to change.
    """
    for each in plan_of(experiment).ignored:
        _log.warning("%s: setting %s; it is ignored", experiment.algorithm, each)
    suggest(Request(experiment, (), wanted=1))


def _in_order(ended: list[Trial]) -> list[Trial]:
    """Return trials by the time of their end: Katib lists them in no order at all.

    A client that tells no times is taken to list them in their order.
    """
    if any(trial.ended for trial in ended):
        ended.sort(key=lambda trial: (trial.ended, trial.key))
    return ended


def _learner(plan: Plan, ended: Sequence[Trial], learners: Learners | None) -> Learner:
    learner, digest = None, b""
    if learners is not None:
        lengths = {*learners.lengths(plan.identity), len(ended)}
        prefixes = prefix_digests(ended, lengths)
        learner, digest = learners.take(plan.identity, prefixes), prefixes[len(ended)]
    if learner is None:
        learner = Learner(plan.identity, plan.begin(), 0, b"")
    for number in range(learner.observed, len(ended)):
        observation = _observation(plan, number, ended[number])
        if observation is not None:
            learner.algorithm.observe(observation)
    learner.observed, learner.digest = len(ended), digest
    return learner


def _observation(plan: Plan, number: int, trial: Trial) -> Observation | None:
    """Return what a trial showed, None when it is not of this space."""
    try:
        candidate = plan.coder.candidate(trial.assignments)
    except InvalidSpecError:
        return None
    value = None if trial.condition is Condition.FAILED else _number(trial.value)
    if value is not None and not plan.maximize:
        value = -value
    complete = trial.condition is not Condition.STOPPED_EARLY
    return Observation(number, candidate, value, complete)


def _number(text: str | None) -> float | None:
    """Return the value of a metric; None for `unavailable`, NaN and infinities."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _candidates(plan: Plan, trials: Sequence[Trial]) -> list[Candidate]:
    """Return the candidates of trials, in an order that names and arrival do not change."""
    found = []
    for trial in sorted(trials, key=lambda trial: trial.key):
        try:
            found.append(plan.coder.candidate(trial.assignments))
        except InvalidSpecError:
            continue
    return found


def _ask(
    plan: Plan,
    algorithm: Algorithm,
    ended: Sequence[Trial],
    pending: Sequence[Candidate],
    number: int,
    wanted: int,
) -> list[Candidate]:
    waiting = list(pending)
    found: list[Candidate] = []
    for each in range(number, number + wanted):
        candidate = algorithm.suggest(each, waiting)
        if candidate is None:
            candidate = _draw_elsewhere(plan, ended, waiting, each)
        if candidate is None:
            break
        found.append(candidate)
        waiting.append(candidate)
    return found


def _draw_elsewhere(
    plan: Plan, ended: Sequence[Trial], waiting: Sequence[Candidate], number: int
) -> Candidate | None:
    """Draw at random, for clients that always send the same count of suggestions given."""
    tried = _candidates(plan, ended)
    taken = {candidate_key(candidate) for candidate in (*tried, *waiting)}
    return draw_new(plan.coder.space, plan.seed, _ELSEWHERE + number + len(taken), taken)
