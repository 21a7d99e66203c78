"""A search takes up edits of its spec while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from strandline.jobs.search import SearchOutcome, run_search
from strandline.jobs.spec_watch import SpecWatch
from strandline.search.engine import EndReason
from strandline.search.space import Candidate, Float, Space, space_from_spec
from strandline.spec.conditions import is_taken_up
from strandline.spec.errors import UnavailableError
from strandline.spec.records import Scalar, TrialState
from strandline.spec.v1alpha1 import SearchSpec, to_document
from strandline.testing.inline_runner import InlineRunner
from strandline.testing.searches import CurveTrials, SearchPlace, make_search_spec
from strandline.testing.simulated_runner import SimulatedRunner


def custom(low: float = 0.0, high: float = 1.0) -> dict[str, Any]:
    return {
        "preset": "custom",
        "parameters": [{"name": "x", "type": "float", "min": low, "max": high}],
    }


def space_of(spec: SearchSpec) -> tuple[Space, list[Candidate]]:
    return space_from_spec(spec.space.parameters or []), []


class Edited(SearchPlace):
    """A search whose spec is edited when so many trials have begun."""

    def go(
        self,
        spec: SearchSpec,
        edits: Mapping[int, dict[str, Any]],
        steps: int = 2,
        runner: Any = None,
        **ports: Any,
    ) -> SearchOutcome:
        resource, _ = self.catalog.apply_resource("Search", "srch", to_document(spec))
        begun: list[Candidate] = []
        left = dict(edits)

        def score(candidate: Mapping[str, Scalar]) -> float:
            if candidate not in begun:
                begun.append(dict(candidate))
            if len(begun) in left:
                fields = {**to_document(spec), **left.pop(len(begun))}
                self.catalog.apply_resource("Search", "srch", fields)
            return float(str(candidate["x"]))

        trials = CurveTrials(self.clock, score=score, steps=steps, seconds=4.0)
        return run_search(
            resource.uid,
            spec,
            *space_of(spec),
            trials,
            catalog=ports.pop("catalog", self.catalog),
            store=self.store,
            runner=runner or InlineRunner(),
            clock=self.clock,
            watch=SpecWatch(self.catalog, self.clock, "srch", resource.uid, spec),
            space_of=space_of,
            **ports,
        )


@pytest.fixture
def place(tmp_path: Path) -> Edited:
    return Edited(tmp_path)


def make_spec(**fields: Any) -> SearchSpec:
    return make_search_spec(space=custom(), **{"budget": {"trials": 8}, **fields})


def xs(outcome: SearchOutcome) -> list[float]:
    return [float(str(trial.candidate["x"])) for trial in outcome.trials]


def test_a_budget_raised_in_the_middle_is_spent(place: Edited) -> None:
    outcome = place.go(make_spec(), {3: {"budget": {"trials": 11}}})
    assert (outcome.reason, len(outcome.trials)) == (EndReason.TRIALS, 11)
    assert {trial.state for trial in outcome.trials} == {TrialState.COMPLETED}


def test_the_status_tells_which_spec_the_search_goes_by(place: Edited) -> None:
    place.go(make_spec(), {3: {"budget": {"trials": 11}}})
    found = place.catalog.get_resource("Search", "srch")
    assert found.generation == 2
    assert is_taken_up(found.status, 2)


def test_an_edit_that_cannot_be_taken_up_is_not_said_to_be(place: Edited) -> None:
    outcome = place.go(make_spec(), {3: {"dataset": {"name": "other"}}})
    assert outcome.reason is EndReason.STOPPED
    assert not is_taken_up(place.catalog.get_resource("Search", "srch").status, 2)


def test_a_budget_lowered_in_the_middle_ends_the_search_after_what_runs(place: Edited) -> None:
    outcome = place.go(make_spec(), {3: {"budget": {"trials": 2}}})
    assert (outcome.reason, len(outcome.trials)) == (EndReason.TRIALS, 3)
    assert [trial.step for trial in outcome.trials] == [2, 2, 2]


def test_a_stop_rule_added_in_the_middle_holds(place: Edited) -> None:
    outcome = place.go(make_spec(), {2: {"stop": {"goal": 0.0}}})
    assert outcome.reason is EndReason.GOAL
    assert len(outcome.trials) < 8


def test_bounds_edited_in_the_middle_hold_for_what_comes_and_keep_what_was(place: Edited) -> None:
    outcome = place.go(make_spec(), {3: {"space": custom(2.0, 3.0)}})
    assert (outcome.reason, len(outcome.trials)) == (EndReason.TRIALS, 8)
    assert all(x <= 1.0 for x in xs(outcome)[:3])
    assert all(x >= 2.0 for x in xs(outcome)[3:])
    assert [trial.step for trial in outcome.trials] == [2] * 8  # nothing was begun anew


def test_an_algorithm_chosen_in_the_middle_learns_from_the_rows(place: Edited) -> None:
    evolve = {"name": "regularized-evolution", "settings": {"population": 3, "sample": 3}}
    outcome = place.go(make_spec(budget={"trials": 12}), {4: {"algorithm": evolve}})
    assert len(outcome.trials) == 12
    assert min(xs(outcome)[6:]) > min(xs(outcome)[:4])


def test_more_workers_come_when_parallelism_is_raised(place: Edited) -> None:
    running: list[int] = []
    outcome = place.go(
        make_spec(budget={"trials": 16}, seed=1),
        {3: {"parallelism": 4}},
        runner=CountedRunner(place.clock, running),
    )
    assert len(outcome.trials) == 16
    assert running == [1, 4]


class CountedRunner(SimulatedRunner):
    """Notes with how many workers it was run."""

    def __init__(self, clock: Any, counts: list[int]) -> None:
        super().__init__(clock)
        self.counts = counts

    def run(self, source: Any, factory: Any, resources: Any, parallelism: int, *more: Any) -> None:
        self.counts.append(parallelism)
        super().run(source, factory, resources, parallelism, *more)


def test_a_suspended_search_finishes_its_steps_and_goes_on_when_it_may(place: Edited) -> None:
    suspended = place.go(make_spec(), {3: {"suspend": True}}, steps=4)
    assert suspended.reason is EndReason.SUSPENDED
    assert [trial.state for trial in suspended.trials][-1] is TrialState.PENDING
    assert suspended.trials[-1].step > 0
    resumed = place.go(make_spec(), {}, steps=4)
    assert resumed.reason is EndReason.TRIALS
    assert [trial.step for trial in resumed.trials] == [4] * 8


def test_other_data_stops_the_search_for_a_run_that_reads_it(place: Edited) -> None:
    outcome = place.go(make_spec(), {3: {"dataset": {"name": "desert"}}})
    assert outcome.reason is EndReason.STOPPED


def test_other_pools_stop_the_search_for_a_run_on_them(place: Edited) -> None:
    assert place.go(make_spec(), {3: {"pools": [{"name": "l4"}]}}).reason is EndReason.STOPPED


def test_how_long_pods_are_kept_is_taken_up_while_the_search_goes_on(place: Edited) -> None:
    assert place.go(make_spec(), {3: {"ttl": "1h"}}).reason is EndReason.TRIALS


def test_a_deleted_search_stops(place: Edited) -> None:
    spec = make_spec()
    resource, _ = place.catalog.apply_resource("Search", "srch", to_document(spec))
    watch = SpecWatch(place.catalog, place.clock, "srch", resource.uid, spec)
    assert watch() is None
    place.catalog.delete_resource("Search", "srch")
    assert watch() is None  # it has just looked
    place.clock.advance(60)
    assert watch() is EndReason.STOPPED


def test_a_catalog_that_does_not_answer_is_looked_at_later(place: Edited) -> None:
    class Away:
        def get_resource(self, *values: Any) -> Any:
            raise UnavailableError("nobody there")

    watch = SpecWatch(Away(), place.clock, "srch", "uid", make_spec())  # type: ignore[arg-type]
    assert watch() is None


def test_a_status_that_changed_is_no_edit(place: Edited) -> None:
    spec = make_spec()
    resource, _ = place.catalog.apply_resource("Search", "srch", to_document(spec))
    watch = SpecWatch(place.catalog, place.clock, "srch", resource.uid, spec)
    place.catalog.update_status("Search", "srch", {"observedGeneration": 1})
    assert watch() is None


def test_the_space_of_a_search_is_read_from_its_spec() -> None:
    space, _ = space_of(make_spec())
    assert space == Space((Float("x", 0.0, 1.0),))
