"""The bodies of a search with shared weights: the sharing itself, and a child's trial.

The sharing is one long trial, an epoch a step. A child is scored with the weights it
shares with all others, which takes as long as looking at the images: its trial has one step.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from strandline.learn.one_shot.children import make_policy
from strandline.learn.scratch.recipe import read_recipe, scratch_space
from strandline.learn.scratch.trials import measure_candidate, validation_rows
from strandline.learn.transfer_data import TransferData
from strandline.learn.validation import validation_metrics
from strandline.ports import Assignment, StepReport
from strandline.spec.search_space import Space
from strandline.spec.v1alpha1 import NamedChoice

if TYPE_CHECKING:
    from strandline.learn.one_shot.sharing import Sharing

SHARINGS = {
    "enas": "strandline.learn.one_shot.controlled:ControlledSharing",
    "darts": "strandline.learn.one_shot.relaxed:RelaxedSharing",
}
"""How weights are shared, by the Search's algorithm."""


@dataclass(frozen=True, slots=True)
class SharingFactory:
    """Makes the trainable that shares weights, inside a worker.

    Attributes:
        data: with one fold to be scored by.
        space: of the Search, preset `cells`.
        algorithm: of the Search, one of `SHARINGS`.
        seconds: after which no other epoch begins; None for all epochs.
        threads: of the worker.
    """

    data: TransferData
    space: Space
    algorithm: NamedChoice
    seconds: float | None = None
    threads: int | None = None

    def __call__(self) -> SharingTrainable:
        return SharingTrainable(self)

    def make(self, content: bytes | None = None) -> Sharing[Any]:
        """Return the sharing, as far as a checkpoint tells it is.

        Raises:
            InvalidSpecError: no such setting, or the space cannot be searched like that.
        """
        module, _, name = SHARINGS[self.algorithm.name].partition(":")
        cells = scratch_space(self.space, len(self.data.labels))
        policy = make_policy(cells, self.data.seed, self.algorithm)
        made: Sharing[Any] = getattr(import_module(module), name)(
            self.data.settled(), self.space, policy, self.threads
        )
        if content is not None:
            made.load_bytes(content)
        return made


class SharingTrainable:
    """`ports.Trainable` whose only trial is the sharing."""

    def __init__(self, made_by: SharingFactory) -> None:
        self._made_by = made_by
        self._number = -1
        self._sharing: Sharing[Any] | None = None

    def reset(self, assignment: Assignment) -> None:
        """Take it up, from its last epoch if there is one."""
        self._number = assignment.number
        self._sharing = self._made_by.make(assignment.checkpoint)

    def step(self) -> StepReport:
        """Run an epoch."""
        sharing, limit = self._sharing, self._made_by.seconds
        assert sharing is not None, "reset comes first"
        started = time.monotonic()
        if sharing.epochs_done < sharing.epochs:
            sharing.run_epoch()
        seconds = time.monotonic() - started
        sharing.seconds += seconds
        late = limit is not None and sharing.seconds >= limit
        return StepReport(
            number=self._number,
            step=sharing.epochs_done,
            metrics=sharing.metrics(),
            done=late or sharing.epochs_done >= sharing.epochs,
            seconds=seconds,
            checkpoint=sharing.to_bytes(),
        )


@dataclass(frozen=True, slots=True)
class ChildFactory:
    """Makes the body of a child's trial inside a worker.

    Attributes:
        sharing: how the weights were trained.
        shared: the checkpoint of their last epoch.
        objectives: names of the metrics that are asked for.
    """

    sharing: SharingFactory
    shared: bytes
    objectives: tuple[str, ...] = ()

    def __call__(self) -> ChildTrainable:
        return ChildTrainable(self)


class ChildTrainable:
    """`ports.Trainable` that scores children with the weights they share."""

    def __init__(self, made_by: ChildFactory) -> None:
        self._made_by = made_by
        self._sharing = made_by.sharing.make(made_by.shared)
        self._assignment: Assignment | None = None

    def reset(self, assignment: Assignment) -> None:
        """Take up a candidate."""
        self._assignment = assignment

    def step(self) -> StepReport:
        """Score the child on the images held out."""
        assert self._assignment is not None, "reset comes first"
        started = time.monotonic()
        data, made_by = self._made_by.sharing.data, self._made_by
        network = self._sharing.child(self._assignment.candidate)
        rows = validation_rows(data)
        judged = validation_metrics(
            self._sharing.logits(network, rows), data.targets[rows], data.task, data.labels
        )
        recipe = read_recipe(made_by.sharing.space, self._assignment.candidate)
        known = measure_candidate(recipe, len(data.labels), made_by.objectives, network)
        return StepReport(
            number=self._assignment.number,
            step=1,
            metrics={**known, **judged},
            done=True,
            seconds=time.monotonic() - started,
        )
