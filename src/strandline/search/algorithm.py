"""What a search algorithm is asked and told.

An algorithm's suggestion is a function of its seed, the trial's number, what is pending,
and what it has observed – nothing else. So a search that was killed is rebuilt by telling
the algorithm the recorded trials again, and goes on with the very candidates it would
have tried undisturbed; where that takes long, `save` and `load` do it at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from strandline.search.space import Candidate


@dataclass(frozen=True, slots=True)
class Observation:
    """What a trial gave, at its end or when it was stopped or paused on the way.

    Attributes:
        number: of the trial; below 0 for one of an earlier search.
        value: of the first objective, turned so that more is better; None when the
            trial failed.
        complete: False when a scheduler stopped it early, so the value is a rough one.
        values: of all objectives, each turned so that more is better, the first being
            `value`; empty when there is only that one.
        excess: how far the trial is beyond the objectives' limits, relative to them,
            summed; 0 when it keeps to all.
        curve: the value after each step done, as (step, value), the last being `value`.
    """

    number: int
    candidate: Candidate
    value: float | None
    complete: bool = True
    values: tuple[float, ...] = ()
    excess: float = 0.0
    curve: tuple[tuple[int, float], ...] = ()

    @property
    def foreign(self) -> bool:
        """Whether another search made it: its candidate may be suggested all the same."""
        return self.number < 0

    @property
    def usable(self) -> bool:
        """Whether there is a number to learn from."""
        return self.value is not None and math.isfinite(self.value)


class Algorithm(Protocol):
    """Decides what to try next. One file each, registered in `search.registry`.

    Observations may come late, out of order and of candidates the algorithm never
    suggested; one of a number observed before replaces what was known of it.
    """

    def suggest(self, number: int, pending: Iterable[Candidate]) -> Candidate | None:
        """Return the candidate of trial `number`, None when the space is exhausted.

        `pending` are the candidates being tried now. Neither they nor any observed
        candidate is suggested again, but for those of other searches.
        """

    def observe(self, observation: Observation) -> None:
        """Learn from a trial that ended."""

    def save(self) -> bytes:
        """Return the whole state; `load` into a new one of the same settings equals this."""

    def load(self, state: bytes) -> None:
        """Take up a state that `save` gave.

        Raises:
            CorruptArtifactError: it is no such state.
        """


@runtime_checkable
class Thawing(Algorithm, Protocol):
    """An algorithm that can tell which of the trials that wait is worth its full training.

    It has observed what they gave so far, and observes them again at their end.
    """

    def thaw(self, number: int, frozen: Sequence[int], pending: Iterable[Candidate]) -> int | None:
        """Return which of the trials `frozen` goes on; None to begin trial `number` instead.

        A function of seed, what is asked and what was observed, as a suggestion is.
        """
