"""The body of a transfer trial: one candidate, scored by cross-validation, fold by fold.

A step is one fold (the first one may be several, see `TransferData.steps`): fit on the
others, score the images left out. Metrics are over all images scored so far, so two
trials at the same step were judged by the same images, and an early-stopping scheduler
may compare them. When the data came with a validation split
there is one step, which fits on the training part and scores that.

The test split is not in `TransferData`: nothing here can look at it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from strandline.learn.heads.contract import Floats
from strandline.learn.models import fit_model
from strandline.learn.recipe import Recipe, read_candidate
from strandline.learn.transfer_data import TransferData
from strandline.learn.trial_state import FoldScores
from strandline.learn.validation import validation_metrics
from strandline.ports import Assignment, StepReport
from strandline.spec.errors import UnusableDataError


@dataclass(frozen=True, slots=True)
class TransferFactory:
    """Makes the trainable inside a worker."""

    data: TransferData

    def __call__(self) -> TransferTrainable:
        return TransferTrainable(self.data.settled())


class TransferTrainable:
    """`ports.Trainable` over candidates of the transfer space.

    Raises:
        UnusableDataError: (from the constructor) no image would be scored.
    """

    def __init__(self, data: TransferData) -> None:
        if not data.fold_numbers:
            raise UnusableDataError("there is no fold to validate on: label more images")
        self._data = data
        self._number = -1
        self._recipe: Recipe | None = None
        self._scores = FoldScores.empty(len(data.images), len(data.labels))

    def reset(self, assignment: Assignment) -> None:
        """Take up a candidate, from its finished folds if there are some."""
        self._number = assignment.number
        self._recipe = read_candidate(assignment.candidate, self._data.cache_dir)
        self._scores = FoldScores.empty(len(self._data.images), len(self._data.labels))
        if assignment.checkpoint is not None:
            self._scores = FoldScores.from_bytes(assignment.checkpoint, like=self._scores)

    def step(self) -> StepReport:
        """Fit and score the next folds."""
        assert self._recipe is not None, "reset comes first"
        started = time.monotonic()
        steps = self._data.steps
        step = self._steps_done()
        for fold in steps[step]:
            logits = score_fold(self._data, self._recipe, fold)
            self._scores = self._scores.with_fold(self._data.folds == fold, logits)
        return StepReport(
            number=self._number,
            step=step + 1,
            metrics=measure_scores(self._data, self._scores),
            done=step + 1 == len(steps),
            seconds=time.monotonic() - started,
            checkpoint=self._scores.to_bytes(),
        )

    def _steps_done(self) -> int:
        """Return how many steps the folds scored so far make."""
        scored = np.cumsum([len(folds) for folds in self._data.steps])
        return int(np.searchsorted(scored, self._scores.folds_done, side="right"))


def score_fold(data: TransferData, recipe: Recipe, fold: int) -> Floats:
    """Return logits of the fold's images, float32 [m, labels], fitted without them.

    Raises:
        UnusableDataError: nothing is left to train on.
    """
    scored = data.folds == fold
    model = fit_model(data, recipe, np.flatnonzero(~scored))
    return model.score(data.loader, data.images, np.flatnonzero(scored))


def measure_scores(data: TransferData, scores: FoldScores) -> Mapping[str, float]:
    """Return the `val/…` metrics over the images scored so far."""
    truth = data.targets[scores.scored]
    return validation_metrics(scores.logits[scores.scored], truth, data.task, data.labels)
