"""How a search stands, from what the catalog holds: nothing is kept for it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from strandline.jobs.search_journal import CatalogJournal
from strandline.ports import Catalog, ObjectStore
from strandline.search.forecast import FEWEST, FURTHEST, Forecast, forecast
from strandline.search.importance import importances
from strandline.search.ledger import ENDED
from strandline.search.objectives import Worth, worth_of
from strandline.search.parameters import Categorical, Float, Int, Parameter
from strandline.search.pareto import pareto_front
from strandline.spec.errors import InvalidSpecError
from strandline.spec.progress import (
    ChoiceImportance,
    CurvePoint,
    FailureGroup,
    FrontTrial,
    ProgressReport,
    ProxyReport,
    RerankedTrial,
    ValueForecast,
)
from strandline.spec.records import FailureKind, Scalar, Trial, TrialState
from strandline.spec.v1alpha1 import Goal, SearchSpec, parse_duration

_SHOWN_TRIALS = 20
_ADVICE = {
    FailureKind.OUT_OF_MEMORY: "make networks, images or batches smaller, or lower parallelism",
    FailureKind.NOT_A_NUMBER: "lower the highest learning rate of the space",
    FailureKind.CRASH: "see the log; a worker that the system kills is mostly out of memory",
    FailureKind.LOST: "nodes went away under it again and again; see which ones, and why",
    FailureKind.TIMEOUT: "raise trialTimeout, or take the slowest choices out of the space",
    FailureKind.ERROR: "the message tells what was wrong; take such candidates out by constraints",
}

_Judged = tuple[Trial, Worth]


def search_progress(catalog: Catalog, store: ObjectStore, name: str) -> ProgressReport:
    """Return how search `name` stands.

    Raises:
        NotFoundError: there is no such search.
    """
    resource = catalog.get_resource("Search", name)
    spec = SearchSpec.model_validate(resource.spec)
    journal = CatalogJournal(resource.uid, catalog, store)
    elapsed = float(journal.read_mark("elapsed") or 0.0)
    return report_progress(name, spec, journal.trials(), elapsed, resource.status)


def report_progress(
    name: str,
    spec: SearchSpec,
    trials: Sequence[Trial],
    elapsed_seconds: float,
    status: Mapping[str, Any],
) -> ProgressReport:
    """Return how a search of these trials stands.

    Args:
        elapsed_seconds: of wall-clock time, over all its runs.
        status: the Search's; has what the full training after the search found.
    """
    ended = sorted((t for t in trials if t.state in ENDED), key=_end)
    judged = list(_judge(spec, ended))
    curve = _curve(spec, ended, judged)
    spent = _spent(spec, trials, elapsed_seconds)
    at_budget, at_double, why = _forecasts(spec, ended, judged, spent)
    counts = Counter(trial.state for trial in trials)
    return ProgressReport(
        search=name,
        metric=spec.objectives[0].metric,
        maximize=spec.objectives[0].goal is Goal.MAXIMIZE,
        counts={state: counts[state] for state in TrialState},
        device_seconds=sum(trial.seconds for trial in trials),
        best=curve[-1] if curve else None,
        curve=curve,
        at_budget=at_budget,
        at_double=at_double,
        no_forecast=why,
        importances=_importances(judged),
        front=_front(spec, judged),
        reranked=_reranked(trials, status),
        proxy=_proxy(status),
        failures=_failures(ended),
        steps=_steps(trials),
    )


def forecast_end(
    spec: SearchSpec, trials: Sequence[Trial], elapsed_seconds: float
) -> ValueForecast | None:
    """Return where the best value will be when the budget is spent; None if nobody can tell."""
    ended = sorted((t for t in trials if t.state in ENDED), key=_end)
    judged = list(_judge(spec, ended))
    at_budget, _, _ = _forecasts(spec, ended, judged, _spent(spec, trials, elapsed_seconds))
    return at_budget


def _end(trial: Trial) -> tuple[float, int]:
    return (trial.ended_at.timestamp() if trial.ended_at else math.inf, trial.number)


def _judge(spec: SearchSpec, ended: Sequence[Trial]) -> Iterator[_Judged]:
    """Yield the trials that have a value, with what they are worth."""
    for trial in ended:
        if trial.state is TrialState.FAILED:
            continue
        try:
            worth = worth_of(trial.metrics, spec.objectives)
        except InvalidSpecError:
            continue  # one of before an edit of the objectives: the others still tell
        if worth is not None and all(map(math.isfinite, (worth.value, *worth.values))):
            yield trial, worth


def _curve(
    spec: SearchSpec, ended: Sequence[Trial], judged: Sequence[_Judged]
) -> tuple[CurvePoint, ...]:
    metric, points = spec.objectives[0].metric, []
    worths = {trial.number: worth for trial, worth in judged}
    best: tuple[bool, float] | None = None
    seconds = 0.0
    for number, trial in enumerate(ended, 1):
        seconds += trial.seconds
        worth = worths.get(trial.number)
        if trial.state is not TrialState.COMPLETED or worth is None:
            continue
        if best is None or worth.rank > best:
            best = worth.rank
            value = trial.metrics[metric]
            points.append(
                CurvePoint(ended=number, trial=trial.number, device_seconds=seconds, value=value)
            )
    return tuple(points)


def _spent(spec: SearchSpec, trials: Sequence[Trial], elapsed_seconds: float) -> float:
    """Return the share of the budget that is spent: of its limit that comes first."""
    budget = spec.budget
    ended = sum(trial.state in ENDED for trial in trials)
    shares = [0.0]
    if budget.trials is not None:
        shares.append(ended / budget.trials)
    if budget.time is not None:
        shares.append(elapsed_seconds / parse_duration(budget.time).total_seconds())
    if budget.device_hours is not None:
        shares.append(sum(trial.seconds for trial in trials) / 3600 / budget.device_hours)
    return min(1.0, max(shares))


def _forecasts(
    spec: SearchSpec, ended: Sequence[Trial], judged: Sequence[_Judged], spent: float
) -> tuple[ValueForecast | None, ValueForecast | None, str]:
    """Return the forecasts for the budget and its double, and why there is none.

    Trials that were stopped early, or lie beyond a limit, count as trials; their values do not.
    """
    completed = [worth for trial, worth in judged if trial.state is TrialState.COMPLETED]
    values = [worth.value for worth in completed if worth.excess == 0]
    if len(values) < FEWEST:
        within = " within the limits" if len(values) < len(completed) else ""
        told_of = f"{len(values)} trials have a value{within}"
        return None, None, f"{told_of}; it takes {FEWEST} to judge by"
    whole = len(values) / max(spent, 1e-9)
    told = [forecast(values, math.ceil(times * whole)) for times in (1, 2)]
    share = len(values) / len(ended)
    at_budget, at_double = (_told(spec, each, share) for each in told)
    if spent >= 1:
        at_budget = None
    if at_budget is None and at_double is None:
        too_far = 2 * whole > FURTHEST * len(values)
        far = f"more than {FURTHEST:.0f} times the trials there are is too far ahead"
        return None, None, far if too_far else "all trials have the same value"
    return at_budget, at_double, ""


def _told(spec: SearchSpec, found: Forecast | None, share: float) -> ValueForecast | None:
    if found is None:
        return None
    sign = 1.0 if spec.objectives[0].goal is Goal.MAXIMIZE else -1.0
    low, high = sorted((sign * found.low, sign * found.high))
    return ValueForecast(
        trials=math.ceil(found.trials / share), value=sign * found.middle, low=low, high=high
    )


def _importances(judged: Sequence[_Judged]) -> tuple[ChoiceImportance, ...]:
    if not judged:
        return ()
    furthest = max(trial.step for trial, _ in judged)
    # Values after different numbers of steps cannot be compared: those of the most common.
    steps = Counter(trial.step for trial, _ in judged)
    step = max(steps, key=lambda each: (steps[each], each), default=furthest)
    chosen = [(trial, worth) for trial, worth in judged if trial.step == step]
    found = importances(
        _parameters([trial for trial, _ in chosen]),
        [trial.candidate for trial, _ in chosen],
        [worth.value for _, worth in chosen],
    )
    return tuple(
        ChoiceImportance(name=e.name, share=e.share, low=e.low, high=e.high, trials=e.trials)
        for e in found
    )


def _parameters(trials: Sequence[Trial]) -> list[Parameter]:
    """Return a parameter for each name in the candidates, by the values it took.

    The space may have been edited since, and is not needed: what was tried is all there is.
    """
    values: dict[str, dict[Scalar, None]] = {}
    for trial in trials:
        for name, value in trial.candidate.items():
            values.setdefault(name, {})[value] = None
    return [_parameter(name, list(found)) for name, found in sorted(values.items())]


def _parameter(name: str, values: Sequence[Scalar]) -> Parameter:
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) < len(values) or len(numbers) <= 8:
        return Categorical(name, tuple(values))
    low, high = min(numbers), max(numbers)
    if all(isinstance(number, int) for number in numbers):
        return Int(name, int(low), int(high))
    return Float(name, float(low), float(high))


def _front(spec: SearchSpec, judged: Sequence[_Judged]) -> tuple[FrontTrial, ...]:
    completed = [(t, w) for t, w in judged if t.state is TrialState.COMPLETED]
    if len(spec.objectives) < 2 or not completed:
        return ()
    places = pareto_front([w.values for _, w in completed], [w.excess for _, w in completed])
    chosen = sorted((completed[place] for place in places), key=lambda pair: -pair[1].values[0])
    metrics = [objective.metric for objective in spec.objectives]
    return tuple(
        FrontTrial(
            trial=trial.number,
            values={metric: trial.metrics[metric] for metric in metrics},
            within_limits=worth.excess == 0,
        )
        for trial, worth in chosen
    )


def _reranked(trials: Sequence[Trial], status: Mapping[str, Any]) -> tuple[RerankedTrial, ...]:
    metrics = {trial.number: trial.metrics for trial in trials}
    return tuple(
        RerankedTrial(
            trial=each["number"],
            searched=metrics.get(each["number"], {}).get(each["metric"]),
            value=each["value"],
        )
        for each in status.get("reranked") or []
    )


def _proxy(status: Mapping[str, Any]) -> ProxyReport | None:
    found = status.get("proxy")
    if found is None:
        return None
    return ProxyReport(
        trials=found["trials"],
        rank_correlation=found["rankCorrelation"],
        low=found["low"],
        high=found["high"],
        cost_ratio=found["costRatio"],
    )


def _failures(ended: Sequence[Trial]) -> tuple[FailureGroup, ...]:
    groups: dict[FailureKind, list[Trial]] = {}
    for trial in ended:
        if trial.failure is not None:
            groups.setdefault(trial.failure.kind, []).append(trial)
    found = [
        FailureGroup(
            kind=kind,
            count=len(trials),
            trials=tuple(trial.number for trial in trials[-_SHOWN_TRIALS:]),
            message=trials[-1].failure.message if trials[-1].failure else "",
            advice=_ADVICE[kind],
        )
        for kind, trials in groups.items()
    ]
    return tuple(sorted(found, key=lambda group: -group.count))


def _steps(trials: Sequence[Trial]) -> dict[int, int]:
    reached = Counter(trial.step for trial in trials if trial.step > 0)
    total, counts = 0, {}
    for step in sorted(reached, reverse=True):
        total += reached[step]
        counts[step] = total
    return dict(sorted(counts.items()))
