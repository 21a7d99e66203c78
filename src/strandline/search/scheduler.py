"""What an early-stopping rule is asked: whether a trial goes on after a step."""

from __future__ import annotations

from typing import Protocol


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
