"""Random search (Bergstra & Bengio 2012), without replacement.

Each trial draws from its own stream, named by seed, trial number and attempt, so what
one trial draws does not depend on how many draws came before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product

import numpy as np

from strandline.search.algorithm import Observation
from strandline.search.space import Candidate, Categorical, Int, Parameter, Space, candidate_key
from strandline.spec.records import Scalar

_ATTEMPTS = 200
# Spaces up to this size are listed whole when drawing finds nothing new.
_LARGEST_LISTED = 100_000


class RandomSearch:
    """Uniform draws from the space, each candidate once."""

    def __init__(self, space: Space, seed: int) -> None:
        self._space = space
        self._seed = seed
        self._seen: set[str] = set()

    def suggest(self, number: int, pending: Iterable[Candidate]) -> Candidate | None:
        taken = self._seen | {candidate_key(candidate) for candidate in pending}
        return draw_new(self._space, self._seed, number, taken)

    def observe(self, observation: Observation) -> None:
        self._seen.add(candidate_key(observation.candidate))


def draw_new(space: Space, seed: int, number: int, taken: set[str]) -> Candidate | None:
    """Draw a candidate that is not taken; None when there is none left."""
    for attempt in range(_ATTEMPTS):
        candidate = space.sample(np.random.default_rng([seed, number, attempt]))
        if candidate_key(candidate) not in taken:
            return candidate
    return _pick_left(space, np.random.default_rng([seed, number, _ATTEMPTS]), taken)


def _pick_left(space: Space, rng: np.random.Generator, taken: set[str]) -> Candidate | None:
    if space.size() > _LARGEST_LISTED:
        return None  # so many equal draws in so large a space: nothing new can be expected
    left = {candidate_key(each): each for each in list_candidates(space)}
    free = sorted(left.keys() - taken)
    return left[free[int(rng.integers(len(free)))]] if free else None


def list_candidates(space: Space) -> Iterator[Candidate]:
    """List all candidates of a finite space, each once."""
    seen: set[str] = set()
    for values in product(*(_values(parameter) for parameter in space.parameters)):
        chosen = dict(zip((p.name for p in space.parameters), values, strict=True))
        candidate = space.walk(lambda parameter, chosen=chosen: chosen[parameter.name])  # type: ignore[misc]  # bound early
        key = candidate_key(candidate)
        if key not in seen:
            seen.add(key)
            yield candidate


def _values(parameter: Parameter) -> tuple[Scalar, ...]:
    if isinstance(parameter, Categorical):
        return parameter.values
    if isinstance(parameter, Int):
        return tuple(range(parameter.low, parameter.high + 1, parameter.step))
    return (parameter.low,)
