"""How a search stands, from rows of trials of every kind."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from strandline.jobs.progress import report_progress
from strandline.spec.progress import ProgressReport, ProxyReport, RerankedTrial
from strandline.spec.records import Failure, FailureKind, Trial, TrialState
from strandline.testing.searches import make_search_spec

START = datetime(2026, 1, 1, tzinfo=UTC)


def ended(number: int, metrics: Mapping[str, float], **fields: Any) -> Trial:
    given = {"candidate": {"x": number / 100}, "state": TrialState.COMPLETED, "step": 1}
    return Trial(
        search="s",
        number=number,
        metrics=metrics,
        seconds=2.0,
        ended_at=START + timedelta(seconds=number),
        **{**given, **fields},
    )


def report(
    trials: list[Trial], status: Mapping[str, Any] | None = None, **spec: Any
) -> ProgressReport:
    return report_progress("coast", make_search_spec(**spec), trials, 0.0, status or {})


def died(number: int, kind: FailureKind, message: str) -> Trial:
    failure = Failure(kind=kind, message=message)
    return ended(number, {}, state=TrialState.FAILED, failure=failure)


def test_a_search_without_trials_says_so() -> None:
    found = report([])
    assert (found.best, found.curve, found.front, found.importances) == (None, (), (), ())
    assert found.no_forecast.startswith("0 trials have a value;")
    assert sum(found.counts.values()) == 0


def test_a_single_trial_is_the_best_and_says_why_nothing_is_forecast() -> None:
    found = report([ended(0, {"score": 0.5})])
    assert found.best is not None
    assert (found.best.trial, found.best.value) == (0, 0.5)
    assert "it takes" in found.no_forecast
    assert found.importances == ()


def test_the_curve_holds_only_changes_for_the_better_of_sound_completed_trials() -> None:
    trials = [
        ended(0, {"score": math.nan}),
        ended(1, {"score": 0.4}),
        ended(2, {"score": 0.9}, state=TrialState.PRUNED),
        ended(3, {"score": 0.3}),
        died(4, FailureKind.NOT_A_NUMBER, "loss is nan"),
        ended(5, {"score": 0.6}),
        Trial(search="s", number=6, candidate={"x": 0.1}, state=TrialState.RUNNING),
    ]
    found = report(trials, budget={"trials": 20})
    assert [(p.ended, p.trial, p.device_seconds, p.value) for p in found.curve] == [
        (2, 1, 4.0, 0.4),
        (6, 5, 12.0, 0.6),
    ]
    assert found.counts[TrialState.RUNNING] == 1
    assert found.counts[TrialState.PRUNED] == 1


def test_deaths_are_grouped_by_reason_with_what_to_do() -> None:
    trials = [died(n, FailureKind.OUT_OF_MEMORY, f"wanted {n} GiB") for n in range(30)]
    trials.append(died(30, FailureKind.TIMEOUT, "too slow"))
    memory, slow = report(trials).failures
    assert (memory.kind, memory.count, memory.message) == (
        FailureKind.OUT_OF_MEMORY,
        30,
        "wanted 29 GiB",
    )
    assert memory.trials == tuple(range(10, 30))
    assert slow.trials == (30,)
    assert "batches smaller" in memory.advice
    assert "trialTimeout" in slow.advice


@pytest.mark.parametrize("kind", FailureKind)
def test_every_kind_of_death_has_advice(kind: FailureKind) -> None:
    assert report([died(0, kind, "it died")]).failures[0].advice


@pytest.mark.parametrize("goal", ["maximize", "minimize"])
def test_the_forecast_goes_the_way_of_the_goal(goal: str) -> None:
    rng = np.random.default_rng(0)
    sign = 1 if goal == "maximize" else -1
    trials = [ended(n, {"score": sign * float(rng.random())}) for n in range(40)]
    objectives = [{"metric": "score", "goal": goal}]
    found = report(trials, objectives=objectives, budget={"trials": 60})
    assert found.best is not None
    assert found.at_budget is not None
    assert found.at_double is not None
    assert (found.at_budget.trials, found.at_double.trials) == (60, 120)
    gains = [sign * (each.value - found.best.value) for each in (found.at_budget, found.at_double)]
    assert 0 <= gains[0] <= gains[1]
    assert all(each.low <= each.value <= each.high for each in (found.at_budget, found.at_double))


def test_after_the_budget_is_spent_only_a_doubled_one_is_told() -> None:
    rng = np.random.default_rng(0)
    trials = [ended(n, {"score": float(rng.random())}) for n in range(40)]
    found = report(trials, budget={"trials": 40})
    assert found.at_budget is None
    assert found.at_double is not None
    assert found.at_double.trials == 80


def test_one_value_only_gives_no_forecast() -> None:
    found = report([ended(n, {"score": 0.5}) for n in range(40)], budget={"trials": 60})
    assert found.at_double is None
    assert "same value" in found.no_forecast


def test_early_in_a_long_search_the_end_is_too_far_to_tell() -> None:
    rng = np.random.default_rng(0)
    trials = [ended(n, {"score": float(rng.random())}) for n in range(40)]
    assert "too far ahead" in report(trials, budget={"trials": 1000}).no_forecast


def test_how_many_trials_reached_each_step_counts_those_that_went_on() -> None:
    steps = [1, 1, 1, 3, 3, 9]
    trials = [ended(n, {"score": 0.1 * n}, step=step) for n, step in enumerate(steps)]
    assert report(trials).steps == {1: 6, 3: 3, 9: 1}


def _within(values: tuple[float, ...], limits: tuple[float | None, ...]) -> float:
    """Return how far beyond the limits, all objectives but the first one minimized."""
    return sum(
        max(0.0, value - limit) / limit
        for value, limit in zip(values[1:], limits, strict=True)
        if limit is not None
    )


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("limit", [None, 4.0, 0.5])
@pytest.mark.parametrize("seed", range(4))
def test_the_front_is_the_one_of_the_definition(count: int, limit: float | None, seed: int) -> None:
    names = ("score", "latency_ms", "bytes")[:count]
    objectives: list[dict[str, Any]] = [{"metric": "score", "goal": "maximize"}]
    objectives += [{"metric": name, "goal": "minimize"} for name in names[1:]]
    if limit is not None:
        objectives[1]["limit"] = limit
    limits = (limit, None)[: count - 1]
    rng = np.random.default_rng(seed)
    rows = [tuple(map(float, rng.integers(1, 9, count))) for _ in range(60)]
    trials = [ended(n, dict(zip(names, row, strict=True))) for n, row in enumerate(rows)]
    found = report(trials, objectives=objectives, budget={"trials": 100})

    def betters(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
        beyond, other_beyond = _within(one, limits), _within(other, limits)
        if beyond != other_beyond:
            return beyond < other_beyond
        pairs = zip(one[1:], other[1:], strict=True)
        no_worse = one[0] >= other[0] and all(a <= b for a, b in pairs)
        return no_worse and one != other

    expected = {n for n, row in enumerate(rows) if not any(betters(each, row) for each in rows)}
    assert {each.trial for each in found.front} == expected
    assert all(e.within_limits == (_within(rows[e.trial], limits) == 0) for e in found.front)
    scores = [each.values["score"] for each in found.front]
    assert scores == sorted(scores, reverse=True)


def test_a_trial_without_the_other_objective_does_not_keep_the_rest_from_being_told() -> None:
    objectives = [
        {"metric": "score", "goal": "maximize"},
        {"metric": "latency_ms", "goal": "minimize"},
    ]
    trials = [ended(0, {"score": 0.9}), ended(1, {"score": 0.5, "latency_ms": 3.0})]
    found = report(trials, objectives=objectives)
    assert [each.trial for each in found.front] == [1]
    assert found.best is not None
    assert found.best.trial == 1


def test_what_full_training_decided_stands_beside_what_the_search_had_thought() -> None:
    status = {
        "reranked": [{"number": n, "metric": "score", "value": v} for n, v in ((1, 0.9), (7, 0.8))],
        "proxy": {
            "trials": 5,
            "rankCorrelation": 0.5,
            "low": -0.25,
            "high": 1.0,
            "costRatio": 4.0,
        },
    }
    found = report([ended(0, {"score": 0.7}), ended(1, {"score": 0.6})], status)
    assert found.reranked == (
        RerankedTrial(trial=1, searched=0.6, value=0.9),
        RerankedTrial(trial=7, searched=None, value=0.8),
    )
    assert found.proxy == ProxyReport(
        trials=5, rank_correlation=0.5, low=-0.25, high=1.0, cost_ratio=4.0
    )
    assert "5 trials" in found.proxy.in_words()
    assert (report([]).reranked, report([]).proxy) == ((), None)


def test_choices_are_told_from_the_candidates_and_the_report_survives_json() -> None:
    rng = np.random.default_rng(0)
    trials = []
    for n in range(80):
        x, kind = float(rng.random()), str(rng.choice(["a", "b"]))
        candidate = {"x": x, "kind": kind, **({"inner": float(rng.random())} if n % 2 else {})}
        trials.append(ended(n, {"score": x}, candidate=candidate))
    found = report(trials, budget={"trials": 100})
    assert found.importances[0].name == "x"
    inner = next(each for each in found.importances if each.name == "inner")
    assert inner.trials == 40
    assert inner.share < 0.25
    assert ProgressReport.model_validate_json(found.model_dump_json()) == found
