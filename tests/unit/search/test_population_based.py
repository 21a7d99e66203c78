"""Population based training: who is replaced, by whose copy, and what survives a kill."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from strandline.jobs.search import CatalogJournal, SearchOutcome
from strandline.search.population_based import PopulationBasedTraining
from strandline.search.registry import make_algorithm
from strandline.search.scheduler import Population
from strandline.search.space import Categorical, Float, Int, Space
from strandline.spec.errors import InvalidSpecError
from strandline.spec.records import Scalar, Trial, TrialState
from strandline.testing.searches import LINE, UID, CurveTrials, SearchPlace, make_search_spec
from strandline.testing.simulated_runner import SimulatedRunner

RATES = Space((Float("x", 0.01, 1.0, log=True), Int("size", 1, 64), Categorical("net", ("a", "b"))))


@pytest.fixture
def place(tmp_path: Path) -> SearchPlace:
    return SearchPlace(tmp_path)


def make_spec(trials: int, **fields: Any) -> Any:
    settings = {"population": 4, "truncation": 0.25, **fields.pop("settings", {})}
    return make_search_spec(
        algorithm={"name": "pbt", "settings": settings}, budget={"trials": trials}, **fields
    )


def values_by_step(place: SearchPlace, trial: Trial) -> dict[int, float]:
    rows = place.catalog.list_metrics(UID, trial.number)
    return {step: metrics["score"] for step, metrics in rows}


def copies(outcome: SearchOutcome) -> list[Trial]:
    return [trial for trial in outcome.trials if trial.parent is not None]


# ---------------------------------------------------------------- in a search


def test_the_worst_of_a_step_is_replaced_by_a_copy_of_the_best(place: SearchPlace) -> None:
    outcome = place.run(make_spec(5), CurveTrials(place.clock, steps=3))
    first = {t.number: values_by_step(place, t)[1] for t in outcome.trials[:4]}
    (copy,) = copies(outcome)
    assert copy.number == 4
    assert copy.parent == max(first, key=lambda number: first[number])
    (replaced,) = (t for t in outcome.trials if t.state is TrialState.PRUNED)
    assert replaced.number == min(first, key=lambda number: first[number])
    assert replaced.step == 1


def test_a_copy_goes_on_from_the_others_weights_with_hyperparameters_changed_a_little(
    place: SearchPlace,
) -> None:
    trials = CurveTrials(place.clock, steps=3)
    outcome = place.run(make_spec(5, settings={"resample": 0.0}), trials)
    (copy,) = copies(outcome)
    parent = outcome.trials[copy.parent or 0]
    ratio = float(str(copy.candidate["x"])) / float(str(parent.candidate["x"]))
    assert round(ratio, 6) in (0.8, 1.2)
    begun = min(values_by_step(place, copy))
    weights = values_by_step(place, parent)[begun - 1]
    expected = 0.5 * (weights + float(str(copy.candidate["x"])))
    assert values_by_step(place, copy)[begun] == pytest.approx(expected)
    assert copy.candidate not in trials.tried  # it never started from nothing


def test_both_checkpoints_survive_and_none_is_left_at_the_end(place: SearchPlace) -> None:
    copied: list[tuple[int | None, int | None]] = []
    journal = CatalogJournal(UID, place.catalog, place.store)

    def look(progress: Any) -> None:
        trial = progress.trial
        if trial.parent is not None and trial.state is TrialState.RUNNING:
            both = (journal.load_checkpoint(trial.number), journal.load_checkpoint(trial.parent))
            copied.append((both[0] and both[0][0], both[1] and both[1][0]))

    place.run(make_spec(6), CurveTrials(place.clock, steps=4), progress=look)
    assert copied
    assert all(None not in steps for steps in copied[:1])
    assert list(place.store.digests()) == []


def test_members_take_turns_so_that_one_worker_trains_all_of_them(place: SearchPlace) -> None:
    order: list[int] = []

    def note(progress: Any) -> None:
        if progress.trial.state is TrialState.RUNNING:
            order.append(progress.trial.number)

    place.run(
        make_spec(4, settings={"interval": 2}), CurveTrials(place.clock, steps=4), progress=note
    )
    turns = [number for i, number in enumerate(order) if i == 0 or order[i - 1] != number]
    assert turns == [0, 1, 2, 3, 0, 1, 2, 3]


@pytest.mark.parametrize("parallelism", [2, 4, 9])
def test_several_workers_share_the_population(place: SearchPlace, parallelism: int) -> None:
    spec = make_spec(12, parallelism=parallelism, settings={"population": 4})
    outcome = place.run(
        spec, CurveTrials(place.clock, steps=6), runner=SimulatedRunner(place.clock)
    )
    assert len(outcome.trials) == 12
    assert {trial.state for trial in outcome.trials} <= {TrialState.COMPLETED, TrialState.PRUNED}
    assert copies(outcome)


def test_no_trial_is_replaced_once_no_other_may_start(place: SearchPlace) -> None:
    outcome = place.run(make_spec(4), CurveTrials(place.clock, steps=5))
    assert {trial.state for trial in outcome.trials} == {TrialState.COMPLETED}


def test_it_ends_better_than_the_same_trials_without_copies(tmp_path: Path) -> None:
    best = []
    for algorithm in ("pbt", "random"):
        (tmp_path / algorithm).mkdir()
        place = SearchPlace(tmp_path / algorithm)
        spec = make_search_spec(algorithm={"name": algorithm}, budget={"trials": 30}, seed=3)
        # The best rate of each step is another, as when a learning rate has to fall.
        outcome = place.run(spec, Drifting(place.clock))
        assert outcome.best is not None
        best.append(outcome.best.metrics["score"])
    assert best[0] > best[1]


class Drifting(CurveTrials):
    """Trials that do best when `x` follows a target which moves with each step."""

    def __init__(self, clock: Any) -> None:
        super().__init__(clock, steps=12)

    def step(self) -> Any:
        target = 0.9 - 0.06 * self._step
        self.score = lambda candidate: 1.0 - abs(float(str(candidate["x"])) - target)
        self._score += self.score(self._assignment.candidate)
        return super().step()


def test_trials_without_checkpoints_run_through(place: SearchPlace) -> None:
    class Forgetful(CurveTrials):
        def step(self) -> Any:
            return replace(super().step(), checkpoint=None)

    outcome = place.run(make_spec(6), Forgetful(place.clock, steps=3))
    assert {(t.state, t.step, t.parent) for t in outcome.trials} == {
        (TrialState.COMPLETED, 3, None)
    }


# ---------------------------------------------------------------- alone


def make(space: Space = RATES, **settings: Scalar) -> PopulationBasedTraining:
    made = make_algorithm("pbt", space, 0, {"population": 4, **settings})
    assert isinstance(made, PopulationBasedTraining)
    assert isinstance(made, Population)
    return made


def fill(algorithm: PopulationBasedTraining, step: int = 1) -> list[Mapping[str, Scalar]]:
    entered = []
    for number in range(4):
        candidate = algorithm.suggest(number, ())
        assert candidate is not None
        algorithm.enter(number, candidate)
        algorithm.decide(number, step, float(number))
        entered.append(candidate)
    return entered


def test_what_a_checkpoint_depends_on_is_kept_by_a_copy() -> None:
    algorithm = make(fixed="net, size", resample=1.0)
    entered = fill(algorithm)
    for number in range(4, 20):
        candidate = algorithm.suggest(number, ())
        assert candidate is not None
        assert algorithm.parent(number, candidate) == 3
        assert {key: candidate[key] for key in ("net", "size")} == {
            key: entered[3][key] for key in ("net", "size")
        }


def test_the_copied_one_is_only_told_for_the_candidate_suggested() -> None:
    algorithm = make()
    fill(algorithm)
    candidate = algorithm.suggest(4, ())
    assert candidate is not None
    assert algorithm.parent(5, candidate) is None
    assert algorithm.parent(4, {"x": 0.5}) is None


@pytest.mark.parametrize(
    ("step", "share", "leaving"),
    [(1, 0.25, {0}), (1, 0.5, {0, 1}), (1, 0.0, set()), (3, 1.0, {0, 1})],
)
def test_the_worst_share_of_those_at_a_step_leaves(
    step: int, share: float, leaving: set[int]
) -> None:
    algorithm = make(truncation=share)
    fill(algorithm, step)
    assert {number for number in range(4) if not algorithm.keeps(number, step)} == leaving


def test_the_state_of_the_population_survives_saving() -> None:
    algorithm, copy = make(), make()
    fill(algorithm)
    copy.load(algorithm.save())
    assert copy.save() == algorithm.save()
    assert copy.suggest(4, ()) == algorithm.suggest(4, ())
    assert [copy.keeps(number, 1) for number in range(4)] == [
        algorithm.keeps(number, 1) for number in range(4)
    ]


@pytest.mark.parametrize(
    "settings", [{"population": 1}, {"interval": 0}, {"truncation": 1.5}, {"fixed": "depth"}]
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Scalar]) -> None:
    with pytest.raises(InvalidSpecError):
        make_algorithm("pbt", LINE, 0, settings)
