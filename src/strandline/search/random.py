"""Random search (Bergstra & Bengio 2012), without replacement.

Each trial draws from its own stream, named by seed, trial number and attempt, so what
one trial draws does not depend on how many draws came before it.
"""

from __future__ import annotations

from collections.abc import Container, Iterable

import numpy as np

from strandline.search.record import Learner
from strandline.search.space import Candidate, Space, candidate_key

_ATTEMPTS = 200
# Spaces up to this size are listed whole when drawing finds nothing new.
_LARGEST_LISTED = 100_000


class RandomSearch(Learner):
    """Uniform draws from the space, each candidate once unless `repeats`."""

    def __init__(self, space: Space, seed: int, repeats: bool = False) -> None:
        super().__init__(space, seed, repeats=repeats)

    def suggest(self, number: int, pending: Iterable[Candidate]) -> Candidate | None:
        if self._repeats:
            return self._space.sample(self._rng(number))
        return draw_new(self._space, self._seed, number, self._unavailable(pending))


def draw_new(space: Space, seed: int, number: int, taken: Container[str]) -> Candidate | None:
    """Draw a candidate that is not taken; None when there is none left."""
    for attempt in range(_ATTEMPTS):
        candidate = space.sample(np.random.default_rng([seed, number, attempt]))
        if candidate_key(candidate) not in taken:
            return candidate
    return _pick_left(space, np.random.default_rng([seed, number, _ATTEMPTS]), taken)


def _pick_left(space: Space, rng: np.random.Generator, taken: Container[str]) -> Candidate | None:
    if space.size() > _LARGEST_LISTED:
        return None  # so many equal draws in so large a space: nothing new can be expected
    left = {candidate_key(each): each for each in space.list_candidates()}
    free = sorted(key for key in left if key not in taken)
    return left[free[int(rng.integers(len(free)))]] if free else None
