"""What algorithms remember of a search, and how that survives as bytes.

`Learner` is the base of all algorithms here: it keeps the observations, one a trial, and
knows which candidates are taken. What an algorithm derives from them it may recompute; what
it cannot, such as the weights of a trained controller, it adds to the state by overriding
`_export` and `_import`.
"""

from __future__ import annotations

import json
import math
from bisect import insort
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from strandline.search.algorithm import Observation
from strandline.search.space import Candidate, Space, candidate_key
from strandline.spec.errors import CorruptArtifactError

_FORMAT = 1


class Learner:
    """The observations of a search and the candidates they take.

    Args:
        repeats: whether a candidate that was tried may be suggested again.
    """

    def __init__(self, space: Space, seed: int, *, repeats: bool = False) -> None:
        self._space = space
        self._seed = seed
        self._repeats = repeats
        self._observations: dict[int, Observation] = {}
        self._fitting: dict[int, Observation] = {}
        self._numbers: list[int] = []
        self._taken: dict[str, int] = {}
        self._version = 0

    def observe(self, observation: Observation) -> None:
        """Keep the observation and learn from it."""
        value = observation.value
        if value is not None and not math.isfinite(value):
            observation = replace(observation, value=None, values=())
        before = self._observations.get(observation.number)
        if before == observation:
            return
        self._keep(observation, before)
        self._learn(observation, before)

    def save(self) -> bytes:
        """Return the whole state as JSON."""
        rows = [_row(observation) for observation in self._observations.values()]
        state = {"format": _FORMAT, "observations": rows, "own": self._export()}
        return json.dumps(state, allow_nan=False).encode()

    def load(self, state: bytes) -> None:
        """Take up what `save` gave; what was known before is forgotten."""
        try:
            document = json.loads(state)
            if document["format"] != _FORMAT:
                raise ValueError(f"format {document['format']} instead of {_FORMAT}")
            observations = [_observation(row) for row in document["observations"]]
            own = document["own"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise CorruptArtifactError(
                f"this is no saved state of a search algorithm ({error})"
            ) from error
        self._observations.clear()
        self._fitting.clear()
        self._numbers.clear()
        self._taken.clear()
        for observation in observations:
            self._keep(observation, None)
        self._import(own)

    # ------------------------------------------------------------ for algorithms

    def _learn(self, observation: Observation, before: Observation | None) -> None:
        """Take note of an observation; `before` is what it replaces."""

    def _export(self) -> Any:
        """Return what cannot be derived from the observations, as JSON can hold it."""
        return None

    def _import(self, own: Any) -> None:
        """Take up what `_export` gave; the observations are here already."""

    def _rng(self, number: int, *more: int) -> np.random.Generator:
        """Return a random stream of trial `number` alone."""
        # A foreign trial's number is below 0, which no stream can have.
        return np.random.default_rng([self._seed, number % 2**32, *more])

    def _usable(self) -> list[Observation]:
        """Return the observations that have a value and belong to the space, by number.

        The space may have been edited since some of them were made.
        """
        return [each for each in map(self._fitting.get, self._numbers) if each is not None]

    def _newest(self, most: int) -> list[Observation]:
        """Return the newest usable observations, at most so many, the oldest first."""
        found: list[Observation] = []
        for number in reversed(self._numbers):
            observation = self._fitting.get(number)
            if observation is not None:
                found.append(observation)
                if len(found) == most:
                    break
        return found[::-1]

    def _unavailable(self, pending: Iterable[Candidate]) -> Unavailable:
        """Return the keys of the candidates that must not be suggested."""
        running = {candidate_key(candidate) for candidate in pending}
        return Unavailable({} if self._repeats else self._taken, running)

    def _keep(self, observation: Observation, before: Observation | None) -> None:
        self._version += 1
        self._observations[observation.number] = observation
        self._fitting.pop(observation.number, None)
        if observation.usable and self._space.contains(observation.candidate):
            self._fitting[observation.number] = observation
        if before is None:
            insort(self._numbers, observation.number)
        if observation.foreign:
            return  # learned from, but nothing that this search tried
        if before is not None:
            key = candidate_key(before.candidate)
            self._taken[key] -= 1
            if not self._taken[key]:
                del self._taken[key]
        key = candidate_key(observation.candidate)
        self._taken[key] = self._taken.get(key, 0) + 1


class Unavailable:
    """The keys that are taken: a set made of two, without copying the large one."""

    def __init__(self, observed: Mapping[str, int], running: set[str]) -> None:
        self._observed = observed
        self._more = running

    def __contains__(self, key: object) -> bool:
        return key in self._observed or key in self._more

    def __len__(self) -> int:
        return len(self._observed) + sum(key not in self._observed for key in self._more)

    def add(self, key: str) -> None:
        self._more.add(key)


def _row(observation: Observation) -> list[Any]:
    return [
        observation.number,
        dict(observation.candidate),
        observation.value,
        observation.complete,
        list(observation.values),
        observation.excess,
        [list(point) for point in observation.curve],
    ]


def _observation(row: list[Any]) -> Observation:
    number, candidate, value, complete, values, excess, curve = row
    points = tuple((int(step), float(each)) for step, each in curve)
    return Observation(number, candidate, value, complete, tuple(values), excess, points)
