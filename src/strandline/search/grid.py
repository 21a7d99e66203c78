"""Grid search: every combination of so many values a parameter, in a shuffled order.

The order is one of the seed's, so that a search that ends early has looked everywhere; it is
walked without being listed, so that a grid of billions costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from strandline.search.record import Learner
from strandline.search.space import Candidate, Parameter, Space, candidate_key
from strandline.spec.records import Scalar

# Combinations looked at for one suggestion before the grid is called exhausted: beyond it,
# next to nothing of what is left holds the constraints.
_MOST_SKIPPED = 200_000


class GridSearch(Learner):
    """All combinations, each once.

    Args:
        points: values of a continuous parameter, its ends among them.
    """

    def __init__(self, space: Space, seed: int, points: int = 5) -> None:
        if points < 2:
            raise ValueError("points must be at least 2")
        super().__init__(space, seed)
        self._axes = [_axis(parameter, points) for parameter in space.parameters]
        self._size = math.prod(len(axis) for axis in self._axes)
        rng = np.random.default_rng(seed)
        self._offset = int(rng.integers(min(self._size, 2**62)))
        self._stride = _coprime(self._size, rng)
        self._done = 0

    def suggest(self, number: int, pending: Iterable[Candidate]) -> Candidate | None:
        taken = self._unavailable(pending)
        self._skip_observed()
        for place in range(self._done, min(self._size, self._done + _MOST_SKIPPED)):
            candidate = self._at(place)
            if self._space.feasible(candidate) and candidate_key(candidate) not in taken:
                return candidate
        return None

    def _skip_observed(self) -> None:
        """Move the front over combinations that will never be suggested again."""
        while self._done < self._size:
            candidate = self._at(self._done)
            if self._space.feasible(candidate) and candidate_key(candidate) not in self._taken:
                return
            self._done += 1

    def _import(self, own: object) -> None:
        self._done = 0

    def _at(self, place: int) -> Candidate:
        index = (place * self._stride + self._offset) % self._size
        chosen: dict[str, Scalar] = {}
        for parameter, axis in zip(self._space.parameters, self._axes, strict=True):
            index, digit = divmod(index, len(axis))
            chosen[parameter.name] = axis[digit]
        return self._space.walk(lambda parameter: chosen[parameter.name])


def _axis(parameter: Parameter, points: int) -> tuple[Scalar, ...]:
    listed = parameter.listed()
    if listed is not None and (len(listed) <= points or parameter.size() <= points):
        return listed
    values = getattr(parameter, "values", None)
    if values is not None:
        return tuple(values)  # every category is on the grid
    return tuple(dict.fromkeys(parameter.from_unit(u) for u in np.linspace(0.0, 1.0, points)))


def _coprime(size: int, rng: np.random.Generator) -> int:
    """Return a stride that reaches every place before it returns to the first."""
    while True:
        stride = int(rng.integers(1, max(2, min(size, 2**62))))
        if math.gcd(stride, size) == 1:
            return stride
