"""Population based training (Jaderberg et al. 2017, arXiv 1711.09846).

A population trains side by side. Every so many steps the worst members are replaced by
copies of the best ones, weights and all (exploit, by truncation selection), with
hyperparameters a little changed (explore). So a trial's hyperparameters may change while it
trains, which no sequence of whole trials can do, at the cost of one population.

A member is compared with all that reached the same step, as a rung of successive halving
is, when its turn comes to go on: with one worker that is when all of them are there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from strandline.search.algorithm import Observation
from strandline.search.moves import settle
from strandline.search.parameters import Categorical, Parameter
from strandline.search.random import draw_new
from strandline.search.record import Learner
from strandline.search.space import Candidate, Space, candidate_key
from strandline.spec.errors import InvalidSpecError
from strandline.spec.records import Scalar

_ATTEMPTS = 50
# The paper's: a number is multiplied by one of these.
_FACTORS = (0.8, 1.2)
_PICK, _CHANGE = 1, 2


class PopulationBasedTraining(Learner):
    """`Algorithm` and `Population` in one.

    Args:
        population: members that train side by side.
        interval: steps between two comparisons.
        truncation: the worst such share is replaced by copies out of the best such share.
        resample: probability that a copied hyperparameter is drawn anew instead of changed
            a little.
        fixed: names of parameters, with commas between, that a copy keeps, because the
            checkpoint depends on them.
    """

    def __init__(
        self,
        space: Space,
        seed: int,
        population: int = 10,
        interval: int = 1,
        truncation: float = 0.2,
        resample: float = 0.25,
        fixed: str = "",
    ) -> None:
        if population < 2 or interval < 1:
            raise ValueError("it needs a population of at least 2 and an interval of 1 step")
        if not 0 <= truncation <= 1 or not 0 <= resample <= 1:
            raise ValueError("truncation and resample are shares between 0 and 1")
        super().__init__(space, seed)
        self._size = population
        self._interval = interval
        self._share = min(truncation, 0.5)
        self._resample = resample
        self._fixed = frozenset(name.strip() for name in fixed.split(",") if name.strip())
        if unknown := sorted(self._fixed - {parameter.name for parameter in space.parameters}):
            raise InvalidSpecError(f"fixed: {unknown[0]!r} is no parameter of the space")
        self._live: dict[int, Candidate] = {}
        self._rungs: dict[int, dict[int, float]] = {}
        self._origin: tuple[int, str, int] | None = None

    def suggest(self, number: int, pending: Iterable[Candidate]) -> Candidate | None:
        taken = self._unavailable([*pending, *self._live.values()])
        found = self._choose(number)
        rng = self._rng(number, _CHANGE)
        for _ in range(_ATTEMPTS if found else 0):
            assert found is not None
            parent, candidate = found
            child = self._explore(candidate, rng)
            key = candidate_key(child)
            if self._space.feasible(child) and key not in taken:
                self._origin = (number, key, parent) if parent is not None else None
                return child
        self._origin = None
        return draw_new(self._space, self._seed, number, taken)

    # ------------------------------------------------------------ search.scheduler.Population

    @property
    def size(self) -> int:
        return self._size

    def enter(self, number: int, candidate: Candidate) -> None:
        self._live[number] = dict(candidate)

    def decide(self, number: int, step: int, value: float) -> bool:
        if self.gives_way(step):
            self._rungs.setdefault(step, {})[number] = value
        return True

    def gives_way(self, step: int) -> bool:
        return step > 0 and step % self._interval == 0

    def is_waiting(self, number: int, step: int) -> bool:
        return number in self._rungs.get(step, ())

    def keeps(self, number: int, step: int) -> bool:
        values = self._rungs.get(step, {})
        if number not in values:
            return True
        worst_first = sorted(values, key=lambda each: (values[each], -each))
        return number not in worst_first[: int(self._share * len(values))]

    def parent(self, number: int, candidate: Candidate) -> int | None:
        if self._origin is None or self._origin[:2] != (number, candidate_key(candidate)):
            return None  # a default, or drawn at random
        return self._origin[2]

    # ------------------------------------------------------------ inside

    def _choose(self, number: int) -> tuple[int | None, Candidate] | None:
        """Return whom to copy: one of the best that train, else of the best that ended."""
        if len(self._live) + sum(each >= 0 for each in self._numbers) < self._size:
            return None  # the first population
        rng = self._rng(number, _PICK)
        if training := self._best_training():
            parent = training[int(rng.integers(len(training)))]
            return parent, self._live[parent]
        known = sorted(self._usable(), key=lambda each: -(each.value or 0.0))[: self._size]
        best = known[: max(1, int(self._share * len(known)))]
        return (None, best[int(rng.integers(len(best)))].candidate) if best else None

    def _best_training(self) -> Sequence[int]:
        """Return the best members at the furthest step that nearly all of them reached."""
        enough = max(2, self._size - int(self._share * self._size))
        reached = [step for step, values in self._rungs.items() if len(values) >= enough]
        if not reached:
            return ()
        values = self._rungs[max(reached)]
        best_first = sorted(values, key=lambda each: (-values[each], each))
        top = best_first[: max(1, int(self._share * len(values)))]
        return [each for each in top if each in self._live] or [
            each for each in best_first if each in self._live
        ][:1]

    def _explore(self, candidate: Candidate, rng: np.random.Generator) -> Candidate:
        def change(parameter: Parameter) -> Scalar:
            value = candidate[parameter.name]
            if parameter.name in self._fixed:
                return value
            if rng.random() < self._resample or not parameter.allows(value):
                return parameter.sample(rng)
            return _perturb(parameter, value, rng)

        movable = [p for p in self._space.parameters if p.name in candidate]
        return settle(self._space, {p.name: change(p) for p in movable}, rng)

    def _learn(self, observation: Observation, before: Observation | None) -> None:
        self._live.pop(observation.number, None)

    def _export(self) -> Any:
        return {
            "live": [[number, dict(each)] for number, each in sorted(self._live.items())],
            "rungs": [
                [step, sorted([number, value] for number, value in values.items())]
                for step, values in sorted(self._rungs.items())
            ],
        }

    def _import(self, own: Any) -> None:
        self._live = {int(number): candidate for number, candidate in own["live"]}
        self._rungs = {int(step): dict(values) for step, values in own["rungs"]}
        self._origin = None


def _perturb(parameter: Parameter, value: Any, rng: np.random.Generator) -> Scalar:
    """Multiply a number by 0.8 or 1.2, move to a neighbour of an ordered value, or keep it."""
    up = bool(rng.random() < 0.5)
    if isinstance(parameter, Categorical):
        place = parameter.place(value)
        if parameter.ordered:
            place += 1 if up else -1
        return parameter.values[min(max(place, 0), len(parameter.values) - 1)]
    moved = min(max(float(value) * _FACTORS[up], parameter.low), parameter.high)
    return parameter.from_unit(parameter.to_unit(moved))
