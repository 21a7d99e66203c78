"""What a search algorithm is asked and told.

An algorithm's suggestion is a function of its seed, the trial's number, and what it has
observed (in order) — nothing else. So a search that was killed is rebuilt by telling the
algorithm the recorded trials again, and goes on with the very candidates it would have
tried undisturbed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from strandline.search.space import Candidate


@dataclass(frozen=True, slots=True)
class Observation:
    """A trial that ended.

    Attributes:
        value: of the first objective, turned so that more is better; None when the
            trial failed.
        complete: False when a scheduler stopped it early, so the value is a rough one.
    """

    number: int
    candidate: Candidate
    value: float | None
    complete: bool = True


class Algorithm(Protocol):
    """Decides what to try next. One file each, registered in `search.registry`."""

    def suggest(self, number: int, pending: Iterable[Candidate]) -> Candidate | None:
        """Return the candidate of trial `number`, None when the space is exhausted.

        `pending` are the candidates being tried now. Neither they nor any observed
        candidate is suggested again.
        """

    def observe(self, observation: Observation) -> None:
        """Learn from a trial that ended."""
