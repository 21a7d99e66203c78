"""What every search algorithm keeps, as tests: subclass and say how to make yours.

class TestMySearch(AlgorithmContract):
    @pytest.fixture
    def make(self) -> MakeAlgorithm:
        return MySearch

An algorithm that is registered is tested by its name: see tests/contract/test_algorithms.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from strandline.search.algorithm import Algorithm, Observation
from strandline.search.space import (
    Candidate,
    Categorical,
    Condition,
    Constraint,
    Float,
    Int,
    Space,
    candidate_key,
)
from strandline.spec.errors import CorruptArtifactError

MakeAlgorithm = Callable[[Space, int], Algorithm]
"""Makes the algorithm for a space and a seed."""

MIXED = Space(
    (
        Categorical("head", ("linear", "mlp", "kernel")),
        Float("strength", 1e-4, 1e2, log=True, when=Condition("head", ("linear", "kernel"))),
        Int("layers", 1, 3, when=Condition("head", ("mlp",))),
        Int("width", 16, 1024, log=True, when=Condition("head", ("mlp",))),
        Categorical("dropout", (True, False), when=Condition("layers", (2, 3))),
        Float("rate", 0.0, 0.5, when=Condition("dropout", (True,))),
    )
)
CELL = Space(tuple(Categorical(f"edge{place}", ("none", "skip", "conv")) for place in range(5)))
BOUNDED = Space(
    (
        Int("first", 0, 20, step=2),
        Float("second", 0.0, 2.0, step=0.25),
        Categorical("size", ("small", "middle", "large"), ordered=True),
    ),
    (Constraint("first + 4 * second <= 20"), Constraint("size != 'large' or second < 1")),
)
SMALL = Space(
    (
        Categorical("kind", ("a", "b")),
        Int("size", 2, 8, step=3, when=Condition("kind", ("b",))),
        Categorical("flag", (True, False)),
    )
)
SPACES = {"mixed": MIXED, "cell": CELL, "bounded": BOUNDED, "small": SMALL}


def score(candidate: Candidate) -> float:
    """Return some value of a candidate: any will do that differs among them."""
    total = 0.0
    for name, value in sorted(candidate.items()):
        number = float(value) if isinstance(value, int | float) else len(str(value))
        total += math.sin(number + len(name))
    return total


class AlgorithmContract:
    """The contract. `trials` is how long a search each test runs, at the least."""

    trials = 24

    @pytest.fixture(params=sorted(SPACES))
    def space(self, request: pytest.FixtureRequest) -> Space:
        return SPACES[str(request.param)]

    def run(
        self, algorithm: Algorithm, space: Space, trials: range, failing: Sequence[int] = ()
    ) -> list[Candidate]:
        """Try candidates one after the other; return them."""
        tried: list[Candidate] = []
        for number in trials:
            candidate: Candidate | None = algorithm.suggest(number, ())
            if candidate is None:
                break
            value = None if number in failing else score(candidate)
            algorithm.observe(Observation(number, candidate, value))
            tried.append(candidate)
        return tried

    def test_what_is_suggested_belongs_to_the_space_and_is_new(
        self, make: MakeAlgorithm, space: Space
    ) -> None:
        tried = self.run(make(space, 0), space, range(self.trials))
        for each in tried:
            space.validate(each)
        assert len({candidate_key(candidate) for candidate in tried}) == len(tried)
        assert len(tried) == min(self.trials, space.size())

    def test_a_space_is_exhausted_when_all_of_it_was_tried(self, make: MakeAlgorithm) -> None:
        algorithm = make(SMALL, 3)
        assert len(self.run(algorithm, SMALL, range(100))) == SMALL.size()
        assert algorithm.suggest(100, ()) is None

    def test_what_is_being_tried_is_not_suggested(self, make: MakeAlgorithm) -> None:
        algorithm = make(SMALL, 0)
        *pending, last = SMALL.list_candidates()
        assert algorithm.suggest(0, pending) == last
        assert algorithm.suggest(0, [*pending, last]) is None

    def test_many_workers_try_different_candidates(self, make: MakeAlgorithm) -> None:
        algorithm = make(CELL, 1)
        self.run(algorithm, CELL, range(12))
        running: list[Candidate] = []
        for number in range(12, 12 + self.trials):
            candidate = algorithm.suggest(number, running)
            assert candidate is not None
            CELL.validate(candidate)
            running.append(candidate)
        assert len({candidate_key(candidate) for candidate in running}) == self.trials

    def test_the_same_seed_tries_the_same_and_another_one_does_not(
        self, make: MakeAlgorithm
    ) -> None:
        one, same, other = (
            self.run(make(MIXED, seed), MIXED, range(self.trials)) for seed in (7, 7, 8)
        )
        assert one == same
        assert one != other

    def test_a_suggestion_depends_on_seed_number_and_observations_alone(
        self, make: MakeAlgorithm
    ) -> None:
        asked, told = make(MIXED, 5), make(MIXED, 5)
        tried = self.run(asked, MIXED, range(self.trials), failing=(3,))
        for number, candidate in enumerate(tried):
            value = None if number == 3 else score(candidate)
            told.observe(Observation(number, candidate, value))
        asked.suggest(999, ())  # what was asked and thrown away leaves no trace
        for number in range(self.trials, self.trials + 3):
            assert asked.suggest(number, ()) == told.suggest(number, ())

    @pytest.mark.parametrize("after", [0, 1, 11, 23])
    def test_it_equals_itself_after_save_and_load(
        self, make: MakeAlgorithm, space: Space, after: int
    ) -> None:
        original = make(space, 2)
        self.run(original, space, range(after), failing=(1, 5))
        state = original.save()
        copy = make(space, 2)
        copy.load(state)
        assert copy.save() == state
        more = range(after, after + 4)
        assert self.run(copy, space, more) == self.run(original, space, more)
        assert copy.save() == original.save()

    def test_loading_forgets_what_was_known_before(self, make: MakeAlgorithm) -> None:
        empty, used = make(CELL, 4), make(CELL, 4)
        self.run(used, CELL, range(self.trials))
        used.load(empty.save())
        assert used.save() == empty.save()
        assert used.suggest(0, ()) == empty.suggest(0, ())

    @pytest.mark.parametrize("state", [b"", b"{}", b"[1]", b"\x80\x04", b'{"format": 99}'])
    def test_what_is_no_state_is_refused(self, make: MakeAlgorithm, state: bytes) -> None:
        with pytest.raises(CorruptArtifactError):
            make(CELL, 0).load(state)

    def test_trials_that_failed_or_gave_no_number_do_not_stop_it(
        self, make: MakeAlgorithm, space: Space
    ) -> None:
        algorithm = make(space, 0)
        values = [None, math.nan, math.inf, -math.inf]
        for number in range(self.trials):
            candidate = algorithm.suggest(number, ())
            if candidate is None:
                break
            space.validate(candidate)
            value = values[number % 6] if number % 6 < 4 else score(candidate)
            algorithm.observe(Observation(number, candidate, value))
        algorithm.save()

    def test_results_may_come_late_out_of_order_and_twice(self, make: MakeAlgorithm) -> None:
        algorithm = make(CELL, 6)
        rng = np.random.default_rng(0)
        running: dict[int, Candidate] = {}
        for number in range(2 * self.trials):
            candidate = algorithm.suggest(number, list(running.values()))
            assert candidate is not None
            CELL.validate(candidate)
            running[number] = candidate
            if len(running) > 6:
                ended = int(rng.choice(list(running)))
                observation = Observation(ended, running.pop(ended), float(ended % 5))
                algorithm.observe(observation)
                state = algorithm.save()
                algorithm.observe(observation)
                assert algorithm.save() == state, "an observation was counted twice"

    def test_a_value_that_was_corrected_counts_once(self, make: MakeAlgorithm) -> None:
        algorithm = make(CELL, 6)
        tried = self.run(algorithm, CELL, range(self.trials))
        corrected = Observation(0, tried[0], 99.0)
        algorithm.observe(Observation(0, tried[0], 1.0, complete=False, curve=((1, 1.0),)))
        algorithm.observe(corrected)
        candidate = algorithm.suggest(self.trials, ())
        assert candidate is not None
        assert candidate not in tried

    def test_it_learns_from_candidates_it_never_suggested(self, make: MakeAlgorithm) -> None:
        algorithm = make(CELL, 0)
        known = list(CELL.list_candidates())[:30]
        for number, each in enumerate(known):
            algorithm.observe(Observation(number, each, score(each)))
        candidate = algorithm.suggest(len(known), ())
        assert candidate is not None
        CELL.validate(candidate)
        assert candidate not in known

    def test_observations_of_a_space_that_was_edited_since_do_no_harm(
        self, make: MakeAlgorithm
    ) -> None:
        algorithm = make(SMALL, 0)
        for number in range(self.trials):
            algorithm.observe(Observation(number, {"kind": "gone", "n": number}, 1.0))
        candidate = algorithm.suggest(self.trials, ())
        assert candidate is not None
        SMALL.validate(candidate)

    def test_several_objectives_and_limits_do_no_harm(self, make: MakeAlgorithm) -> None:
        algorithm = make(CELL, 0)
        for number in range(self.trials):
            candidate = algorithm.suggest(number, ())
            assert candidate is not None
            value = score(candidate)
            algorithm.observe(
                Observation(
                    number, candidate, value, values=(value, -value), excess=float(number % 3)
                )
            )
        assert algorithm.suggest(self.trials, ()) is not None
