"""A search that begins with what earlier ones learned, or as a copy of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from strandline.jobs.search import CatalogJournal, SearchOutcome, run_search
from strandline.search.engine import EndReason
from strandline.search.space import Float, Space
from strandline.spec.errors import InvalidSpecError, NotFoundError
from strandline.spec.records import Scalar, TrialState
from strandline.spec.v1alpha1 import SearchSpec, to_document
from strandline.testing.inline_runner import InlineRunner
from strandline.testing.searches import (
    LINE,
    CurveTrials,
    PowerCut,
    SearchPlace,
    cut_off_after,
    make_search_spec,
)


class Searches(SearchPlace):
    """Several searches in one catalog, each under its name."""

    def search(
        self, name: str, spec: SearchSpec, space: Space = LINE, **more: Any
    ) -> SearchOutcome:
        resource, _ = self.catalog.apply_resource("Search", name, to_document(spec))
        given = {
            "catalog": self.catalog,
            "store": self.store,
            "runner": InlineRunner(),
            "clock": self.clock,
            **more,
        }
        trials = given.pop("trials", None) or CurveTrials(self.clock)
        return run_search(resource.uid, spec, space, (), trials, **given)


@pytest.fixture
def place(tmp_path: Path) -> Searches:
    return Searches(tmp_path)


def warm(*names: str, fork: bool = False, **fields: Any) -> SearchSpec:
    return make_search_spec(warmStart=[{"search": name, "fork": fork} for name in names], **fields)


def candidates(outcome: SearchOutcome) -> Sequence[Mapping[str, Scalar]]:
    return [trial.candidate for trial in outcome.trials]


EVOLVE = {"name": "regularized-evolution", "settings": {"population": 4, "sample": 2}}


# ---------------------------------------------------------------- learning


def test_the_best_of_the_earlier_search_is_tried_first_and_the_algorithm_knows_the_rest(
    place: Searches,
) -> None:
    earlier = place.search("first", make_search_spec(budget={"trials": 8}))
    cold = place.search("cold", make_search_spec(algorithm=EVOLVE, seed=5))
    knowing = place.search("second", warm("first", algorithm=EVOLVE, seed=5))
    assert earlier.best is not None
    assert knowing.trials[0].candidate == earlier.best.candidate
    assert len(knowing.trials) == len(cold.trials) == 4  # foreign trials cost no budget
    assert candidates(knowing)[1:] != candidates(cold)[1:]
    worst = min(float(str(c["x"])) for c in candidates(cold))
    assert worst < min(float(str(c["x"])) for c in candidates(knowing))


def test_foreign_trials_are_neither_counted_nor_the_best(place: Searches) -> None:
    place.search("first", make_search_spec(budget={"trials": 6}))
    trials = CurveTrials(place.clock, score=lambda candidate: -1.0)
    outcome = place.search("second", warm("first", budget={"trials": 3}), trials=trials)
    assert [trial.number for trial in outcome.trials] == [0, 1, 2]
    assert outcome.best is not None
    assert outcome.best.metrics["score"] == -1.0


def test_what_does_not_fit_the_space_or_failed_teaches_nothing(place: Searches) -> None:
    def fail_above(candidate: Mapping[str, Scalar]) -> float:
        if float(str(candidate["x"])) > 0.5:
            raise ValueError("too large")
        return float(str(candidate["x"]))

    trials = CurveTrials(place.clock, score=fail_above)
    place.search("first", make_search_spec(budget={"trials": 8}), trials=trials)
    high = Space((Float("x", 0.5, 1.0),))
    cold = place.search("cold", make_search_spec(algorithm=EVOLVE), high)
    outcome = place.search("second", warm("first", algorithm=EVOLVE), high)
    assert candidates(outcome) == candidates(cold)


def test_an_interrupted_search_goes_on_with_what_it_knew_at_first(place: Searches) -> None:
    place.search("first", make_search_spec(budget={"trials": 6}))
    spec = warm("first", algorithm=EVOLVE, budget={"trials": 6}, seed=1)
    calm = place.search("calm", spec)
    with pytest.raises(PowerCut):
        place.search("cut", spec, **cut_off_after(place, 14))
    place.clock.advance(10)
    place.search("first", make_search_spec(budget={"trials": 12}))
    assert candidates(place.search("cut", spec)) == candidates(calm)


def test_a_search_that_does_not_exist_or_is_itself_cannot_be_begun_with(place: Searches) -> None:
    with pytest.raises(NotFoundError, match="'nobody', which does not exist"):
        place.search("second", warm("nobody"))
    with pytest.raises(InvalidSpecError, match="names the search itself"):
        place.search("second", warm("second"))


# ---------------------------------------------------------------- forking


def test_a_fork_goes_on_from_a_copy_and_leaves_the_other_alone(place: Searches) -> None:
    trials = CurveTrials(place.clock, steps=3)
    begun = place.search(
        "first", make_search_spec(), trials=trials, stop_requested=lambda: len(trials.tried) == 3
    )
    assert [trial.state for trial in begun.trials][-1] is TrialState.PENDING
    forked = place.search("fork", warm("first", fork=True, budget={"trials": 6}), trials=trials)
    assert forked.reason is EndReason.TRIALS
    assert candidates(forked)[: len(begun.trials)] == candidates(begun)
    assert len(forked.trials) == 6
    assert {trial.search for trial in forked.trials} != {trial.search for trial in begun.trials}
    resumed = place.search("first", make_search_spec(), trials=trials)
    assert [trial.step for trial in resumed.trials] == [3, 3, 3, 3]
    assert list(place.store.digests()) == []


def test_a_fork_that_is_cut_off_at_any_write_is_made_whole_by_the_next_run(tmp_path: Path) -> None:
    def begin(folder: Path) -> Searches:
        folder.mkdir()
        place = Searches(folder)
        trials = CurveTrials(place.clock, steps=2)
        stop: dict[str, Any] = {"stop_requested": lambda: len(trials.tried) == 3}
        place.search("first", make_search_spec(), trials=trials, **stop)
        return place

    spec = warm("first", fork=True, budget={"trials": 5})
    calm_place = begin(tmp_path / "calm")
    calm = calm_place.search("fork", spec, trials=CurveTrials(calm_place.clock, steps=2))
    for cuts in range(0, 16, 3):
        place = begin(tmp_path / f"cut-{cuts}")
        trials = CurveTrials(place.clock, steps=2)
        with pytest.raises(PowerCut):
            place.search("fork", spec, trials=trials, **cut_off_after(place, cuts))
        whole = place.search("fork", spec, trials=trials)
        assert [(t.candidate, t.metrics, t.step) for t in whole.trials] == [
            (t.candidate, t.metrics, t.step) for t in calm.trials
        ]
        place.catalog.close()


def test_checkpoints_of_a_fork_are_its_own(place: Searches) -> None:
    trials = CurveTrials(place.clock, steps=4)
    stop: dict[str, Any] = {"stop_requested": lambda: place.clock.monotonic() >= 2}
    begun = place.search("first", make_search_spec(), trials=trials, **stop)
    assert begun.trials[0].step == 2
    place.search("fork", warm("first", fork=True), trials=trials)
    uid = place.catalog.get_resource("Search", "first").uid
    kept = CatalogJournal(uid, place.catalog, place.store).load_checkpoint(0)
    assert kept is not None
    assert kept[0] == 2


def test_only_one_search_can_be_forked() -> None:
    with pytest.raises(ValueError, match="may fork one search only"):
        warm("first", "second", fork=True)
