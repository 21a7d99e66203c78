"""The body of a trial over cells: a network trained from nothing, an epoch a step.

Every epoch is judged on the images held out for that, so an early-stopping scheduler
compares networks after equally many epochs, and a trial that is taken up again goes on
from the weights and the optimizer's state of its last epoch. Several processes may learn
one network together, and judge it together; the first of them keeps it.

The test split is not in `TransferData`: nothing here can look at it.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from strandline.cells.registry import family
from strandline.learn.features import Rows
from strandline.learn.scratch.pixels import load_pixels
from strandline.learn.scratch.ranks import ALONE, Ranks
from strandline.learn.scratch.recipe import ScratchRecipe, read_recipe
from strandline.learn.transfer_data import NEVER_SCORED, TransferData
from strandline.learn.validation import validation_metrics
from strandline.ports import Assignment, StepReport
from strandline.spec.errors import UnusableDataError
from strandline.spec.search_space import Space

if TYPE_CHECKING:
    from strandline.learn.scratch.fitting import Fitting
    from strandline.zoo.cells.network import CellNetwork


@dataclass(frozen=True, slots=True)
class ScratchFactory:
    """Makes the trainable inside a worker.

    Attributes:
        data: with one fold to be scored by.
        space: of the Search, preset `cells`.
        objectives: names of the metrics that are asked for; what costs time to measure is
            measured only then.
        threads: of one worker.
    """

    data: TransferData
    space: Space
    objectives: tuple[str, ...] = ()
    threads: int | None = None

    def __call__(self) -> ScratchTrainable:
        return ScratchTrainable(self)


class ScratchTrainable:
    """`ports.Trainable` over candidates of an architecture space.

    Raises:
        UnusableDataError: (from the constructor) no image would be scored.
    """

    def __init__(self, made_by: ScratchFactory) -> None:
        if not made_by.data.fold_numbers:
            raise UnusableDataError("there is no fold to validate on: label more images")
        self._made_by = made_by
        self._data = made_by.data.settled()
        self._number = -1
        self._leads = True
        self._fitting: Fitting | None = None
        self._known: Mapping[str, float] = {}

    def reset(self, assignment: Assignment) -> None:
        """Take up a candidate, from its last epoch if there is one."""
        recipe = read_recipe(self._made_by.space, assignment.candidate)
        self._number = assignment.number
        ranks = Ranks(assignment.rank, assignment.ranks)
        self._leads = ranks.rank == 0
        self._fitting = make_fitting(self._data, recipe, self._made_by.threads, ranks)
        if assignment.checkpoint is not None:
            self._fitting.load_bytes(assignment.checkpoint)
        self._known = measure_candidate(
            recipe, len(self._data.labels), self._made_by.objectives, self._fitting.network
        )

    def step(self) -> StepReport:
        """Learn for an epoch (unless all are over) and judge the network."""
        assert self._fitting is not None, "reset comes first"
        started = time.monotonic()
        if not self._fitting.finished:
            self._fitting.run_epoch()
        self._fitting.settle()
        data, rows = self._data, validation_rows(self._data)
        judged = validation_metrics(
            self._fitting.logits(rows), data.targets[rows], data.task, data.labels
        )
        return StepReport(
            number=self._number,
            step=self._fitting.epochs_done,
            metrics={**self._known, "train/loss": self._fitting.loss, **judged},
            done=self._fitting.finished,
            seconds=time.monotonic() - started,
            checkpoint=self._fitting.to_bytes() if self._leads else None,
        )


MEASURED = frozenset({"latency_ms", "latency_p95_ms", "model_bytes"})
"""Metrics that need the exported network, which takes seconds: measured when asked for."""


def measure_candidate(
    recipe: ScratchRecipe, labels: int, objectives: Collection[str], network: CellNetwork
) -> Mapping[str, float]:
    """Return what is known of a network whatever it learns."""
    plan = recipe.plan(labels)
    counts = family(recipe.family.value).count(recipe.cell, plan)
    known = {
        "parameters": float(counts.parameters),
        "multiply_adds": float(counts.multiply_adds),
    }
    wanted = set(objectives) & MEASURED
    if wanted:
        from strandline.learn.scratch.latency import measure_network

        measured = measure_network(network, plan)
        known |= {name: measured[name] for name in sorted(wanted)}
    return known


def make_fitting(
    data: TransferData, recipe: ScratchRecipe, threads: int | None, ranks: Ranks = ALONE
) -> Fitting:
    """Return a fresh network of the recipe, ready to learn from the images not held out."""
    from strandline.learn.scratch.fitting import Fitting

    pixels = load_pixels(data.open_store, data.images, recipe.network.image_size, data.cache_dir)
    return Fitting(
        recipe,
        pixels,
        data.targets,
        np.flatnonzero(data.folds == NEVER_SCORED),
        data.task,
        len(data.labels),
        data.seed,
        threads,
        ranks,
    )


def validation_rows(data: TransferData) -> Rows:
    """Return the places of the images held out."""
    return np.flatnonzero(data.folds != NEVER_SCORED)
