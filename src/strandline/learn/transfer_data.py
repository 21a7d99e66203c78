"""What all trials of one search share: which images, their truth, and who is scored when.

The test split is not in it, so nothing that works on it can look at the test images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strandline.data.cpu import usable_cpus
from strandline.data.splits import Division, make_folds
from strandline.learn.features import FeatureLoader
from strandline.ports import Elsewhere, ObjectStore
from strandline.spec.errors import UnusableDataError
from strandline.spec.records import Item, Split, Task

Targets = NDArray[Any]
NEVER_SCORED = -1
FOLDS = 5
_FEWEST_FOLDS = 2
# So few scored images tell two good candidates apart by luck only.
_JUDGED_IMAGES = 1000
# Beyond so many images one fold alone is a better use of time than all.
_CROSS_VALIDATED_IMAGES = 50_000


@dataclass(frozen=True, slots=True, eq=False)
class TransferData:
    """What all trials of a search share: small, and picklable.

    Attributes:
        images: digests of the labeled training and validation images.
        targets: int64 [n] class indexes, or float32 [n, labels] of 0 and 1.
        folds: int64 [n]; images of fold k are scored by what was fitted on all others.
            -1: never scored (the training part when there is a validation split, whose
            images then are fold 0).
        labels: sorted.
        open_store: returns the store that holds the images; must pickle.
        cache_dir: recomputable things, on this machine.
        elsewhere: where the trials run, if not on this machine.
        seed: of every random choice; the same candidate gives the same result.
    """

    images: tuple[str, ...]
    targets: Targets
    folds: NDArray[np.int64]
    task: Task
    labels: tuple[str, ...]
    open_store: Callable[[], ObjectStore]
    cache_dir: Path
    seed: int = 0
    elsewhere: Elsewhere | None = None

    def settled(self) -> TransferData:
        """Return the data as a worker uses it: its cache is on the worker's machine."""
        if self.elsewhere is None:
            return self
        return replace(self, cache_dir=self.elsewhere.open_cache())

    def threads(self, parallelism: int) -> int:
        """Return how many threads one of so many workers may use."""
        if self.elsewhere is not None:
            return self.elsewhere.threads
        return max(1, usable_cpus() // parallelism)

    @property
    def fold_numbers(self) -> list[int]:
        """The folds in the order of the steps."""
        return [int(fold) for fold in np.unique(self.folds) if fold != NEVER_SCORED]

    @property
    def steps(self) -> list[list[int]]:
        """The folds that each step of a trial scores.

        The first step scores so many images that a scheduler may judge by it; embeddings,
        which come before it, cost more than the folds it could save.
        """
        folds, counts = self.fold_numbers, np.cumsum([self._count(f) for f in self.fold_numbers])
        first = int(np.searchsorted(counts, _JUDGED_IMAGES)) + 1
        return [folds[:first], *([fold] for fold in folds[first:])]

    def _count(self, fold: int) -> int:
        return int((self.folds == fold).sum())

    @property
    def loader(self) -> FeatureLoader:
        """Gives features of images."""
        return FeatureLoader(self.open_store, self.cache_dir)


def prepare_data(
    items: Sequence[Item],
    division: Division,
    task: Task,
    labels: Sequence[str],
    open_store: Callable[[], ObjectStore],
    cache_dir: Path,
    seed: int,
    elsewhere: Elsewhere | None = None,
) -> TransferData:
    """Return the training and validation images of a division, ready for a search.

    With a validation split that is what candidates are scored on; without, they are
    cross-validated in folds that keep groups and near-duplicates together.

    Args:
        open_store: returns the store that holds the images; must pickle.

    Raises:
        UnusableDataError: nothing to train on, or too few independent images to validate.
    """
    train, validation = division.indexes(Split.TRAIN), division.indexes(Split.VALIDATION)
    if not len(train):
        raise UnusableDataError("no labeled image is in the training part: label some")
    indexes = np.concatenate([train, validation])
    if len(validation):
        folds = np.repeat(np.array([NEVER_SCORED, 0]), [len(train), len(validation)])
    else:
        folds = _cross_validation(items, train, task, seed)
    return TransferData(
        images=tuple(items[index].image for index in indexes),
        targets=read_targets([items[index] for index in indexes], task, labels),
        folds=folds,
        task=task,
        labels=tuple(labels),
        open_store=open_store,
        cache_dir=cache_dir,
        seed=seed,
        elsewhere=elsewhere,
    )


def hold_out(data: TransferData, most_images: int | None = None) -> TransferData:
    """Return the data with one fold that is scored and all others learned from.

    For trials that cost too much to be repeated for each fold. With `most_images` at most
    so many are learned from, drawn at random, the same ones for the same seed.
    """
    if not data.fold_numbers:
        return data
    scored = data.folds == data.fold_numbers[0]
    learned = np.flatnonzero(~scored)
    if most_images is not None and len(learned) > most_images:
        rng = np.random.default_rng([data.seed, len(learned)])
        learned = np.sort(rng.choice(learned, most_images, replace=False))
    kept = np.sort(np.concatenate([learned, np.flatnonzero(scored)]))
    return replace(
        data,
        images=tuple(data.images[place] for place in kept),
        targets=data.targets[kept],
        folds=np.where(scored[kept], 0, NEVER_SCORED),
    )


def read_targets(items: Sequence[Item], task: Task, labels: Sequence[str]) -> Targets:
    """Return the truth of labeled items: int64 [n], or float32 [n, labels] of 0 and 1."""
    index = {label: position for position, label in enumerate(labels)}
    if task is Task.MULTICLASS:
        return np.array([index[(item.labels or ())[0]] for item in items], np.int64)
    targets = np.zeros((len(items), len(labels)), np.float32)
    for row, item in enumerate(items):
        targets[row, [index[label] for label in item.labels or ()]] = 1
    return targets


def _cross_validation(
    items: Sequence[Item], train: NDArray[np.int64], task: Task, seed: int
) -> NDArray[np.int64]:
    for count in range(FOLDS, _FEWEST_FOLDS, -1):
        try:
            folds = make_folds(items, train.tolist(), task, count, seed)
            break
        except UnusableDataError:
            continue  # fewer independent images than that
    else:
        folds = make_folds(items, train.tolist(), task, _FEWEST_FOLDS, seed)
    if len(train) > _CROSS_VALIDATED_IMAGES:
        return np.where(folds == 0, 0, NEVER_SCORED)
    return folds
