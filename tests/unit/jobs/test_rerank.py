"""The best cells of a search on small networks, trained fully: who is among them, who wins."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from strandline.cells.family import Plan
from strandline.jobs.rerank import (
    Reranked,
    choose_finalists,
    choose_sample,
    judge_proxy,
    rerank,
    rerank_spec,
    spearman,
)
from strandline.ports import TrainableFactory
from strandline.search.cell_space import cell_space
from strandline.search.space import Candidate, Space
from strandline.spec.records import Scalar, Trial, TrialState
from strandline.spec.v1alpha1 import SearchSpec
from strandline.testing.inline_runner import InlineRunner
from strandline.testing.searches import CurveTrials, PowerCut, SearchPlace, cut_off_after

SPACE = cell_space("nasbench201", Plan(8, 3, 4, 1))
EDGES = ("op_0_1", "op_0_2", "op_1_2", "op_0_3", "op_1_3", "op_2_3")


def make_spec(**fields: Any) -> SearchSpec:
    return SearchSpec.model_validate(
        {
            "dataset": {"name": "coast"},
            "space": {"preset": "cells", "family": "nasbench201", "images": 50},
            "objectives": [{"metric": "score", "goal": "maximize"}],
            "rerank": {"candidates": 2, "schedule": {"epochs": 30}},
            **fields,
        }
    )


def cell(*operations: str) -> dict[str, Scalar]:
    names = [choice.name for choice in SPACE.structure.kind.choices]  # type: ignore[union-attr]
    return dict(zip(names, operations, strict=True))


CONV, SKIP, NONE = "nor_conv_3x3", "skip_connect", "none"
CELLS = [
    cell(CONV, CONV, CONV, CONV, CONV, CONV),
    cell(CONV, NONE, NONE, CONV, SKIP, NONE),
    cell(NONE, CONV, NONE, CONV, NONE, SKIP),  # the same graph as the one before
    cell(SKIP, SKIP, CONV, SKIP, CONV, SKIP),
]


def trial(number: int, score: float, step: int = 3, **fields: Any) -> Trial:
    return Trial(
        search="s",
        number=number,
        candidate=CELLS[number],
        **{"state": TrialState.COMPLETED, "step": step, "metrics": {"score": score}, **fields},
    )


class FixedApproach:
    """Trains in no time: the first cell is worst in the end, though it was best before."""

    keep_best = True
    data: Any = None

    def __init__(self, place: SearchPlace) -> None:
        self._place = place

    def space(self) -> tuple[Space, Sequence[Candidate]]:
        return SPACE, ()

    def factory(self) -> TrainableFactory:
        return CurveTrials(self._place.clock, score=score, steps=2)

    def affordable(self, later_images: Sequence[str]) -> None:
        return None

    def refit(self, *given: Any) -> Any:
        raise NotImplementedError

    def score_leaking(self, *given: Any) -> None:
        return None


def score(candidate: Mapping[str, Scalar]) -> float:
    return {0: 0.1, 1: 0.9, 2: 0.9, 3: 0.5}[CELLS.index(dict(candidate))]


def run(place: SearchPlace, spec: SearchSpec, trials: Sequence[Trial], **ports: Any) -> Reranked:
    given = {"catalog": place.catalog, "store": place.store, **ports}
    return rerank(
        "uid",
        rerank_spec(spec),
        [*choose_finalists(spec, SPACE, trials), *choose_sample(spec, SPACE, trials)],
        trials,
        FixedApproach(place),
        runner=InlineRunner(),
        clock=place.clock,
        **given,
    )


@pytest.fixture
def place(tmp_path: Path) -> SearchPlace:
    return SearchPlace(tmp_path)


def test_the_full_training_uses_all_images_and_its_own_schedule() -> None:
    full = rerank_spec(make_spec())
    assert full.space.images is None
    assert full.space.schedule is not None
    assert full.space.schedule.epochs == 30
    assert full.early_stopping.name == "none"


def test_the_same_cell_is_trained_once_and_those_that_failed_are_not() -> None:
    failed = trial(3, 0.99, state=TrialState.FAILED)
    chosen = choose_finalists(
        make_spec(), SPACE, [trial(0, 0.3), trial(1, 0.7), trial(2, 0.8), failed]
    )
    assert [each.number for each in chosen] == [2, 0]


def test_a_trial_that_went_further_comes_before_one_that_was_stopped() -> None:
    stopped = trial(3, 0.9, step=1, state=TrialState.PRUNED)
    chosen = choose_finalists(make_spec(), SPACE, [stopped, trial(0, 0.3), trial(1, 0.2)])
    assert [each.number for each in chosen] == [0, 1]


def test_the_full_training_decides(place: SearchPlace) -> None:
    trials = [trial(0, 0.8), trial(1, 0.7), trial(3, 0.1)]
    done = run(place, make_spec(), trials)
    assert done.outcome.best is not None
    assert done.outcome.best.candidate == CELLS[1]
    assert done.outcome.checkpoint is not None
    status = done.status(make_spec().objectives)
    assert [each["number"] for each in status] == [1, 0]
    assert status[0]["value"] > status[1]["value"]


def test_finalists_of_a_raised_budget_join_those_that_were_trained(place: SearchPlace) -> None:
    first = [trial(0, 0.8), trial(3, 0.7)]
    run(place, make_spec(), first)
    again = run(place, make_spec(), [*first, trial(1, 0.95)])
    assert sorted(again.originals) == [0, 1, 3]
    assert again.outcome.best is not None
    assert again.outcome.best.candidate == CELLS[1]


def test_a_full_training_cut_off_at_any_write_ends_like_an_undisturbed_one(
    tmp_path: Path,
) -> None:
    trials = [trial(0, 0.8), trial(1, 0.7), trial(3, 0.1)]

    def outcome_after(allowed: int | None) -> Any:
        folder = tmp_path / str(allowed)
        folder.mkdir()
        place = SearchPlace(folder)
        if allowed is not None:
            with pytest.raises(PowerCut):
                run(place, make_spec(), trials, **cut_off_after(place, allowed))
        done = run(place, make_spec(), trials)
        place.catalog.close()
        return done.status(make_spec().objectives), done.originals

    calm = outcome_after(None)
    for allowed in range(14):
        assert outcome_after(allowed) == calm, f"cut off after {allowed} writes"


# ---------------------------------------------------------------- the proxy's quality


def test_ranks_are_compared_as_scipy_does() -> None:
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    for _ in range(20):
        first = rng.integers(0, 6, 12).astype(float)
        second = first + rng.integers(0, 6, 12).astype(float)
        assert spearman(first, second) == pytest.approx(spearmanr(first, second).statistic)
    assert math.isnan(spearman(np.ones(4), np.linspace(0, 1, 4)))


def test_the_sample_is_drawn_from_all_distinct_cells_and_the_same_again() -> None:
    spec = make_spec(rerank={"candidates": 1, "sample": 2})
    trials = [trial(0, 0.3), trial(1, 0.7), trial(2, 0.8), trial(3, 0.1)]
    drawn = [each.number for each in choose_sample(spec, SPACE, trials)]
    assert drawn == [each.number for each in choose_sample(spec, SPACE, trials)]
    assert len(drawn) == 2
    everything = make_spec(rerank={"candidates": 1, "sample": 100})
    # 1 and 2 are the same cell.
    assert sorted(e.number for e in choose_sample(everything, SPACE, trials)) == [0, 1, 3]


def test_a_proxy_that_ranks_the_other_way_round_is_told_so(place: SearchPlace) -> None:
    spec = make_spec(rerank={"candidates": 1, "sample": 100})
    # In the end cell 1 is best, then 3, then 0.
    told = {}
    for name, values in {"right": (0.1, 0.9, 0.5), "wrong": (0.9, 0.1, 0.5)}.items():
        trials = [
            trial(number, value, seconds=2.0)
            for number, value in zip((0, 1, 3), values, strict=True)
        ]
        sample = choose_sample(spec, SPACE, trials)
        told[name] = judge_proxy(spec, sample, run(place, spec, trials))
    assert told["right"] is not None
    assert told["wrong"] is not None
    assert told["right"]["rankCorrelation"] == pytest.approx(1)
    assert told["wrong"]["rankCorrelation"] == pytest.approx(-1)
    assert told["right"]["trials"] == 3


def test_two_trials_say_nothing_of_a_proxy(place: SearchPlace) -> None:
    spec = make_spec(rerank={"candidates": 2, "sample": 100})
    trials = [trial(0, 0.8), trial(1, 0.7)]
    assert judge_proxy(spec, choose_sample(spec, SPACE, trials), run(place, spec, trials)) is None
