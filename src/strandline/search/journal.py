"""Where the engine keeps what it knows, and what it finds there when it starts again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from strandline.spec.records import Trial


class Journal(Protocol):
    """Where the engine keeps what it knows; each call is durable when it returns."""

    def record_trial(self, trial: Trial) -> None:
        """Insert or replace the trial's row."""

    def record_metrics(self, number: int, step: int, metrics: Mapping[str, float]) -> None:
        """Store the metrics of one step."""

    def save_checkpoint(self, number: int, step: int, data: bytes) -> None:
        """Keep the newest checkpoint of a trial."""

    def load_checkpoint(self, number: int) -> tuple[int, bytes] | None:
        """Return (step, data) of the newest checkpoint that verifies."""

    def drop_checkpoint(self, number: int) -> None:
        """Forget a trial's checkpoints; there need not be any."""

    def record_elapsed(self, seconds: float) -> None:
        """Keep how long the search has run, over all its runs."""


@dataclass(frozen=True, slots=True)
class History:
    """What earlier runs of the search left.

    Attributes:
        trials: all rows, by number.
        metrics: by trial number: (step, metrics) of each step.
        elapsed_seconds: over all earlier runs.
    """

    trials: Sequence[Trial] = ()
    metrics: Mapping[int, Sequence[tuple[int, Mapping[str, float]]]] = field(default_factory=dict)
    elapsed_seconds: float = 0.0
