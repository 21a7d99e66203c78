"""Candidates as numbers, and what guided evolution keeps of them between suggestions."""

from __future__ import annotations

import numpy as np
import pytest

from strandline.cells.family import Plan
from strandline.search import encoding, predictor_evolution
from strandline.search.algorithm import Observation
from strandline.search.cell_space import cell_space
from strandline.search.encoding import Encoder
from strandline.search.predictor_evolution import PredictorEvolution
from strandline.search.space import Categorical, Float, Space
from strandline.testing.algorithm_contract import CELL, MIXED, score

DARTS = cell_space("darts", Plan(image_size=32, labels=10, filters=8, cells=1))


@pytest.mark.parametrize("space", [MIXED, DARTS], ids=["mixed", "darts"])
def test_a_candidate_is_encoded_alike_alone_among_others_and_again(
    space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "_SMALLEST_CACHE", 4)
    monkeypatch.setattr(encoding, "_CACHE_BYTES", 0)
    rng = np.random.default_rng(0)
    candidates = [space.sample(rng) for _ in range(9)]
    encoder = Encoder(space, 0)
    together = encoder.encode(candidates)
    alone = [Encoder(space, 0).encode([each]) for each in candidates]
    again = encoder.encode(candidates[::-1])
    for block in range(encoder.width):
        assert (together[block] == np.concatenate([each[block] for each in alone])).all()
        assert (together[block] == again[block][::-1]).all()


def test_values_that_differ_in_their_type_alone_are_told_apart() -> None:
    space = Space((Categorical("flag", (True, 1, "1")), Float("x", 0.0, 1.0)))
    encoder = Encoder(space, 0)
    (block,) = encoder.encode([{"flag": value, "x": 0.5} for value in (True, 1, "1")])
    assert len(np.unique(block, axis=0)) == 3


@pytest.mark.parametrize("space", [MIXED, DARTS], ids=["mixed", "darts"])
@pytest.mark.parametrize("most", [500, 6], ids=["all", "the best and the newest"])
def test_what_is_suggested_does_not_depend_on_the_order_of_results(
    space: Space, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor_evolution, "_KNOWN", most)
    rng = np.random.default_rng(1)
    told = [
        Observation(number, candidate, score(candidate))
        for number, candidate in enumerate(space.sample(rng) for _ in range(40))
    ]
    orderly, late = PredictorEvolution(space, 0), PredictorEvolution(space, 0)
    for each in told:
        orderly.observe(each)
        orderly.suggest(each.number + 1, ())  # what is kept on the way must not matter
    for place in rng.permutation(len(told)):
        late.observe(told[int(place)])
    late.observe(Observation(7, told[7].candidate, None))  # then it is heard of again
    late.observe(told[7])
    assert late.suggest(40, ()) == orderly.suggest(40, ())


@pytest.mark.parametrize("space", [CELL, DARTS], ids=["cell", "darts"])
def test_a_suggestion_is_the_same_whatever_was_asked_before(space: Space) -> None:
    rng = np.random.default_rng(2)
    asked, fresh = PredictorEvolution(space, 3), PredictorEvolution(space, 3)
    for number in range(20):
        candidate = space.sample(rng)
        for each in (asked, fresh):
            each.observe(Observation(number, candidate, score(candidate)))
    for number in (35, 21, 22, 20):
        asked.suggest(number, [])
    assert asked.suggest(23, []) == fresh.suggest(23, [])


def test_a_result_that_replaces_another_replaces_its_children() -> None:
    rng = np.random.default_rng(4)
    told, corrected = PredictorEvolution(DARTS, 3), PredictorEvolution(DARTS, 3)
    candidates = [DARTS.sample(rng) for _ in range(21)]
    for number, candidate in enumerate(candidates[:20]):
        told.observe(Observation(number, candidate, score(candidate) + 9 * (number == 5)))
    told.suggest(20, ())
    other = candidates[20]
    told.observe(Observation(5, other, 9.0))  # another one it was, and as good
    for number, candidate in enumerate(candidates[:20]):
        seen = other if number == 5 else candidate
        corrected.observe(Observation(number, seen, 9.0 if number == 5 else score(seen)))
    assert told.suggest(21, ()) == corrected.suggest(21, ())
