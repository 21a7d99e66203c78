"""Local search: move to the first neighbour that is better, start anew where none is.

White et al. 2021 (arXiv 2005.02960) found it hard to beat on tabular architecture spaces.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from strandline.search.algorithm import Observation
from strandline.search.moves import neighbours
from strandline.search.random import draw_new
from strandline.search.record import Learner
from strandline.search.space import Candidate, candidate_key


class LocalSearch(Learner):
    """First-improvement hill climbing with restarts, each candidate once."""

    _current: int | None = None
    # By their keys: telling candidates apart costs more than all else here.
    _around: tuple[int, dict[str, Candidate]] | None = None

    def suggest(self, number: int, pending: Iterable[Candidate]) -> Candidate | None:
        taken = self._unavailable(pending)
        for key, neighbour in self._neighbours().items():
            if key not in taken:
                return neighbour
        return draw_new(self._space, self._seed, number, taken)

    def _learn(self, observation: Observation, before: Observation | None) -> None:
        if observation.value is None or not self._space.contains(observation.candidate):
            return
        here = self._observations.get(self._current) if self._current is not None else None
        if here is None or here.value is None or observation.value > here.value:
            self._current = observation.number
        elif self._is_optimum(observation):
            self._current = observation.number  # the start of another climb

    def _is_optimum(self, observation: Observation) -> bool:
        """Return whether all around the current place is known and the observation is not of it."""
        around = self._neighbours().keys()
        return around <= self._taken.keys() and candidate_key(observation.candidate) not in around

    def _neighbours(self) -> dict[str, Candidate]:
        """Return the neighbours of the current place in a random order, always the same one."""
        if self._current is None:
            return {}
        if self._around is None or self._around[0] != self._current:
            here = self._observations[self._current].candidate
            rng = self._rng(self._current)
            found = list(neighbours(self._space, here, rng)) if self._space.contains(here) else []
            order = rng.permutation(len(found))
            ordered = [found[int(place)] for place in order]
            self._around = (self._current, {candidate_key(each): each for each in ordered})
        return self._around[1]

    def _export(self) -> Any:
        return self._current

    def _import(self, own: Any) -> None:
        self._current = own if own in self._observations else None
        self._around = None
