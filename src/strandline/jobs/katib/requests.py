"""What Katib's controller asks with: an Experiment, and the trials it has had so far."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

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


@dataclass(frozen=True, slots=True)
class PastTrial:
    """A trial of the Experiment.

    Attributes:
        ended: when, in RFC 3339; empty while it is pending.
        value: the objective's value as text, None when there is none.
    """

    condition: Condition
    ended: str
    assignments: Assignments
    value: str | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """How many suggestions are wanted.

    Attributes:
        trials: all trials so far, in any order.
        wanted: suggestions wanted now.
        given: suggestions given before; some of them may not have become trials yet.
    """

    experiment: Experiment
    trials: Sequence[PastTrial]
    wanted: int
    given: int = 0


def digest_of(trial: PastTrial) -> bytes:
    """Return what tells apart all that an algorithm may learn from a trial."""
    text = repr((trial.condition.value, trial.ended, trial.assignments, trial.value))
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
