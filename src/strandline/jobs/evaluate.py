"""Evaluate a model's bundle on a dataset: through the very graph that predicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strandline.bundle.format import Bundle
from strandline.bundle.runtime import Predictor
from strandline.data.cpu import usable_cpus
from strandline.data.decode import decode_stored, make_thumbnail
from strandline.data.splits import divide
from strandline.data.versions import read_items
from strandline.jobs.examined import cluster_of
from strandline.jobs.models import FoundModel
from strandline.ports import Catalog, ObjectStore
from strandline.spec.errors import (
    CorruptArtifactError,
    InterruptedRunError,
    NotFoundError,
    UnusableDataError,
)
from strandline.spec.records import DatasetVersion, Item, Split, Task
from strandline.spec.scorecard import Scorecard, to_contract
from strandline.spec.v1alpha1 import SplitPolicy

_THUMBNAIL_SIDE = 160


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """A scorecard and what it is about."""

    model: str
    dataset: str
    scorecard: Scorecard

    def contract(self) -> dict[str, Any]:
        """Return what `evaluate -o json` prints (contract v1)."""
        return to_contract(self.scorecard, self.model, self.dataset)


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The images to evaluate on, and what to know about their choice."""

    items: list[Item]
    notes: tuple[str, ...]


def evaluate_model(
    found: FoundModel,
    dataset: str | None,
    *,
    store: ObjectStore,
    catalog: Catalog,
    progress: Callable[[int, int], None] | None = None,
    stop_requested: Callable[[], bool] | None = None,
) -> Evaluation:
    """Evaluate a model on the test split of its own dataset, or on another dataset.

    Of its own dataset the version and division it was trained with are used. Of another
    one the given test split counts, else all labeled images; images that the model was
    trained on are left out.

    Raises:
        NotFoundError: there is no such dataset.
        UnusableDataError: no labeled image is left to evaluate on.
        InterruptedRunError: `stop_requested`.
    """
    from strandline.learn.evaluate import evaluate_scores

    bundle, receipt = found.bundle, found.bundle.receipt
    name = dataset or receipt.dataset
    version = _version(bundle, name, catalog)
    chosen = _choose(bundle, version, store, catalog)
    scores = _score(found, chosen.items, store, progress, stop_requested)
    own = version.digest == receipt.dataset_digest
    scorecard = evaluate_scores(
        scores,
        _truth(chosen.items, bundle),
        bundle.manifest.task,
        bundle.manifest.labels,
        image_digests=[item.image for item in chosen.items],
        abstention=bundle.manifest.abstention,
        groups=[cluster_of(item) for item in chosen.items],
        sources=[item.sources[0] for item in chosen.items],
        seed=receipt.seed,
        notes=receipt.notes if own else chosen.notes,
    )
    if own:
        scorecard = _with_measured_in_training(scorecard, bundle.scorecard)
    return Evaluation(found.name, name, scorecard)


def _with_measured_in_training(scorecard: Scorecard, trained: Scorecard) -> Scorecard:
    """Add what the finished model cannot show: leakage, and its scores before calibration."""
    calibration = scorecard.calibration.model_copy(
        update={
            "uncalibrated": trained.calibration.uncalibrated,
            "improvement": trained.calibration.improvement,
        }
    )
    return scorecard.model_copy(update={"leakage": trained.leakage, "calibration": calibration})


def thumbnails(store: ObjectStore) -> Callable[[str], bytes | None]:
    """Return what makes small pictures, without metadata, for a report."""

    def thumbnail(digest: str) -> bytes | None:
        try:
            return make_thumbnail(decode_stored(store.get(digest)).pixels, _THUMBNAIL_SIDE)
        except (NotFoundError, CorruptArtifactError, UnusableDataError):
            return None  # the report says so in its place

    return thumbnail


def _version(bundle: Bundle, dataset: str, catalog: Catalog) -> DatasetVersion:
    receipt = bundle.receipt
    if dataset != receipt.dataset:
        return catalog.get_dataset_version(dataset)
    for version in catalog.list_dataset_versions(dataset):
        if version.digest == receipt.dataset_digest:
            return version
    return catalog.get_dataset_version(dataset)


def _choose(
    bundle: Bundle, version: DatasetVersion, store: ObjectStore, catalog: Catalog
) -> _Chosen:
    items = read_items(store, version)
    receipt = bundle.receipt
    if version.digest == receipt.dataset_digest:
        policy = SplitPolicy.model_validate(receipt.spec.get("datasetSplit", {}))
        division = divide(items, version.task, policy)
        test = [items[index] for index in division.indexes(Split.TEST)]
        if test:
            return _Chosen(test, division.notes)
        raise UnusableDataError(
            f"dataset {version.dataset} has no test split; the numbers of its training stand in "
            "the bundle's scorecard. Name other images with --dataset"
        )
    return _choose_foreign(bundle, version, items, store, catalog)


def _choose_foreign(
    bundle: Bundle,
    version: DatasetVersion,
    items: Sequence[Item],
    store: ObjectStore,
    catalog: Catalog,
) -> _Chosen:
    known = set(bundle.manifest.labels)
    labeled = [item for item in items if item.labels is not None]
    given = [item for item in labeled if item.split is Split.TEST]
    usable = [item for item in given or labeled if set(item.labels or ()) <= known]
    trained_on = _trained_on(bundle, store, catalog)
    fresh = [item for item in usable if item.image not in trained_on]
    notes = []
    if len(usable) < len(given or labeled):
        notes.append(
            f"{len(given or labeled) - len(usable)} images were left out: the model does not know "
            "their labels"
        )
    if len(fresh) < len(usable):
        notes.append(
            f"{len(usable) - len(fresh)} images were left out: the model was trained on them"
        )
    if not fresh:
        raise UnusableDataError(
            f"no image of dataset {version.dataset} can be used: none is labeled with labels of "
            "the model, or it was trained on all of them"
        )
    return _Chosen(fresh, tuple(notes))


def _trained_on(bundle: Bundle, store: ObjectStore, catalog: Catalog) -> set[str]:
    receipt = bundle.receipt
    try:
        version = _version(bundle, receipt.dataset, catalog)
    except NotFoundError:
        return set()  # the bundle came from elsewhere
    if version.digest != receipt.dataset_digest:
        return set()
    items = read_items(store, version)
    policy = SplitPolicy.model_validate(receipt.spec.get("datasetSplit", {}))
    parts = divide(items, version.task, policy).parts
    learned = (Split.TRAIN, Split.VALIDATION)
    return {item.image for item, part in zip(items, parts, strict=True) if part in learned}


def _truth(items: Sequence[Item], bundle: Bundle) -> NDArray[Any]:
    labels = bundle.manifest.labels
    place = {label: number for number, label in enumerate(labels)}
    truth = np.zeros((len(items), len(labels)), np.float32)
    for row, item in enumerate(items):
        for label in item.labels or ():
            truth[row, place[label]] = 1
    if bundle.manifest.task is Task.MULTILABEL:
        return truth
    if (truth.sum(axis=1) != 1).any():
        raise UnusableDataError(
            "the model gives one label an image, but the dataset has images with several"
        )
    classes: NDArray[np.intp] = truth.argmax(axis=1)
    return classes


def _score(
    found: FoundModel,
    items: Sequence[Item],
    store: ObjectStore,
    progress: Callable[[int, int], None] | None,
    stop_requested: Callable[[], bool] | None,
) -> NDArray[np.float64]:
    predictor = Predictor(found.bundle, threads=1)

    def score(item: Item) -> NDArray[Any]:
        return predictor.scores(decode_stored(store.get(item.image)).pixels)

    rows = []
    with ThreadPoolExecutor(usable_cpus(), "strandline-evaluate") as threads:
        for row in threads.map(score, items):
            rows.append(row)
            if progress is not None:
                progress(len(rows), len(items))
            if stop_requested is not None and stop_requested():
                threads.shutdown(wait=False, cancel_futures=True)
                raise InterruptedRunError("the evaluation was stopped; start it again")
    return np.asarray(rows, np.float64)
