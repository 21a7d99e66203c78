"""What Katib's controller asks with: an Experiment, and the trials it has had so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from strandline.jobs.katib.declared import Declared

Assignments = tuple[tuple[str, str], ...]
"""(parameter, value) of a trial, both text, in Katib's order."""


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation of an architecture search, with what is to be chosen in it."""

    type: str
    parameters: tuple[Declared, ...]


@dataclass(frozen=True, slots=True)
class NasConfig:
    """The space of an architecture search.

    Attributes:
        layers: number of layers.
        input_sizes, output_sizes: shapes that are passed on to the trial.
    """

    layers: int
    input_sizes: tuple[int, ...]
    output_sizes: tuple[int, ...]
    operations: tuple[Operation, ...]


@dataclass(frozen=True, slots=True)
class Experiment:
    """One optimization, as Katib describes it in every request.

    Attributes:
        goal: `minimize` or `maximize`; anything else is refused.
        most_trials: `maxTrialCount`; 0 when there is none.
    """

    name: str
    parameters: tuple[Declared, ...]
    goal: str
    metric: str
    algorithm: str
    settings: Assignments = ()
    most_trials: int = 0
    nas: NasConfig | None = None


class Condition(StrEnum):
    """Where a trial stands, as far as deciding what to try next goes."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    STOPPED_EARLY = "stopped early"
    FAILED = "failed"


class Trial(Protocol):
    """A trial of the Experiment; its words are read only when somebody asks for them.

    Thousands come with every request, and all but a few were learned from before.
    """

    @property
    def condition(self) -> Condition:
        """Where it stands."""

    @property
    def ended(self) -> str:
        """When it ended, in RFC 3339; empty while it is pending."""

    @property
    def key(self) -> bytes:
        """What tells it from any trial of which something else can be learned."""

    @property
    def assignments(self) -> Assignments:
        """What it was given."""

    @property
    def value(self) -> str | None:
        """The objective's value as text, None when there is none."""


@dataclass(frozen=True, slots=True)
class PastTrial:
    """A `Trial` in plain words."""

    condition: Condition
    ended: str
    assignments: Assignments
    value: str | None = None

    @property
    def key(self) -> bytes:
        return repr((self.assignments, self.condition.value, self.ended, self.value)).encode()


@dataclass(frozen=True, slots=True)
class Request:
    """How many suggestions are wanted.

    Attributes:
        trials: all trials so far, in any order.
        wanted: suggestions wanted now.
        given: suggestions given before; some of them may not have become trials yet.
    """

    experiment: Experiment
    trials: Sequence[Trial]
    wanted: int
    given: int = 0
