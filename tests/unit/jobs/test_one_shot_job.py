"""A search with shared weights as a job: the sharing, through a power cut, then its children."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from strandline.jobs.approaches import OneShotApproach
from strandline.jobs.one_shot import share_weights
from strandline.jobs.search import SearchProgress, run_search
from strandline.learn.one_shot.children import draw_children
from strandline.learn.transfer_data import TransferData
from strandline.spec.records import Trial, TrialState
from strandline.spec.v1alpha1 import ONE_SHOT, SearchSpec
from strandline.testing.coloured_images import coloured_data
from strandline.testing.inline_runner import InlineRunner
from strandline.testing.searches import PowerCut, SearchPlace, cut_off_after


def make_spec(algorithm: str) -> SearchSpec:
    return SearchSpec.model_validate(
        {
            "dataset": {"name": "colours"},
            "space": {
                "preset": "cells",
                "family": "nasbench201",
                "network": {"imageSize": 8, "filters": 4, "cells": 1},
                "schedule": {"batchSize": 8},
            },
            "objectives": [{"metric": "val/precision_at_1", "goal": "maximize"}],
            "algorithm": {"name": algorithm, "settings": {"epochs": 2}},
            "budget": {"trials": 3},
            "rerank": {},
        }
    )


@pytest.fixture
def data(tmp_path: Path) -> TransferData:
    return coloured_data(tmp_path / "images")


def share(place: SearchPlace, spec: SearchSpec, data: TransferData, **ports: Any) -> bytes:
    given = {"catalog": place.catalog, "store": place.store, **ports}
    return share_weights(
        "s",
        "uid",
        spec,
        "sha256:0",
        OneShotApproach(spec, data),
        runner=InlineRunner(),
        clock=place.clock,
        **given,
    )


def run(place: SearchPlace, spec: SearchSpec, data: TransferData, shared: bytes) -> Sequence[Trial]:
    approach = OneShotApproach(spec, data)
    approach.take(shared)
    space, children = approach.space()
    return run_search(
        "uid",
        spec,
        space,
        children,
        approach.factory(),
        catalog=place.catalog,
        store=place.store,
        runner=InlineRunner(),
        clock=place.clock,
        keep_best=approach.keep_best,
    ).trials


@pytest.mark.parametrize("algorithm", sorted(ONE_SHOT))
def test_children_of_weights_that_were_shared_through_a_power_cut_are_the_trials(
    algorithm: str, tmp_path: Path, data: TransferData
) -> None:
    spec = make_spec(algorithm)
    for name in ("calm", "hit"):
        (tmp_path / name).mkdir()
    calm, hit = SearchPlace(tmp_path / "calm"), SearchPlace(tmp_path / "hit")
    expected = run(calm, spec, data, share(calm, spec, data))
    with pytest.raises(PowerCut):
        share(hit, spec, data, **cut_off_after(hit, 5))
    shared = share(hit, spec, data)
    found = run(hit, spec, data, shared)

    drawn = draw_children(shared, spec.space, len(data.labels), spec.algorithm, spec.seed, 3)
    assert [trial.candidate for trial in found] == list(drawn)
    assert all(trial.state is TrialState.COMPLETED for trial in found)
    assert [(t.candidate, t.metrics) for t in found] == [(t.candidate, t.metrics) for t in expected]
    for place in (calm, hit):
        place.catalog.close()


def test_sharing_tells_how_far_it_is_and_how_long_the_rest_takes(
    tmp_path: Path, data: TransferData
) -> None:
    spec = make_spec("enas")
    place = SearchPlace(tmp_path)
    seen: list[SearchProgress] = []
    share(place, spec, data, progress=seen.append)
    place.catalog.close()
    assert [(each.done, each.total) for each in seen] == [(1, 2), (2, 2)]
    first, last = (each.seconds_left for each in seen)
    assert first == pytest.approx(seen[0].elapsed_seconds)  # the other epoch at this pace
    assert last == 0
    short = spec.model_copy(update={"budget": spec.budget.model_copy(update={"time": "1s"})})
    place = SearchPlace(tmp_path / "short")
    share(place, short, data, progress=seen.append)
    place.catalog.close()
    assert seen[2].seconds_left is not None
    assert seen[2].seconds_left <= 0.5
