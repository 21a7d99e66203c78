"""What an early-stopping rule is asked: whether a trial goes on after a step."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from strandline.search.space import Candidate


class Scheduler(Protocol):
    """Decides whether a trial goes on. One file each, registered in `search.registry`.

    Decisions are a function of what was reported, in its order. A trial that goes on does so
    from its checkpoint; none is ever started over.
    """

    def decide(self, number: int, step: int, value: float) -> bool:
        """Take the value (more is better) after `step`; True to go on.

        The same trial and step again, as after a restart, replaces what was taken.
        """


class NoEarlyStopping:
    """Every trial runs to its end."""

    def decide(self, number: int, step: int, value: float) -> bool:
        return True


@runtime_checkable
class Freezing(Scheduler, Protocol):
    """A rule by which trials wait after their first steps, if the algorithm can tell who goes on.

    It is asked about that step all the same, and decides there where nobody waits.
    """

    @property
    def freezing_step(self) -> int:
        """The step after which trials wait."""

    @property
    def most_frozen(self) -> int:
        """How many wait at most; of more, the worst ends."""


@runtime_checkable
class Population(Scheduler, Protocol):
    """What an algorithm answers besides whose trials take turns and copy each other.

    It is the early-stopping rule of its search as well. Answers are a function of the rows:
    who entered, what was reported, what was observed.
    """

    @property
    def size(self) -> int:
        """How many trials are in the population at once."""

    def enter(self, number: int, candidate: Candidate) -> None:
        """Take note of a trial that is in the population until it is observed."""

    def gives_way(self, step: int) -> bool:
        """Return whether a trial that has done `step` waits until its turn comes again."""

    def is_waiting(self, number: int, step: int) -> bool:
        """Return whether the trial stands after a step of its own at which it gives way."""

    def keeps(self, number: int, step: int) -> bool:
        """Return whether the trial, whose turn it is again, goes on; else it is replaced."""

    def parent(self, number: int, candidate: Candidate) -> int | None:
        """Return whose checkpoint the trial just suggested starts from, None for nobody's."""
