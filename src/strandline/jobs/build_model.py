"""From a search's best trial to a registered model version with its bundle."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from strandline.bundle.contents import Receipt, describe_environment
from strandline.bundle.format import BundleContents, write_bundle
from strandline.data.decode import decode_stored
from strandline.data.splits import Division, divide_naively
from strandline.jobs.approaches import Approach
from strandline.jobs.examined import cluster_of
from strandline.jobs.model_card import write_card
from strandline.jobs.search import SearchOutcome
from strandline.ports import Catalog, Clock, ObjectStore, Resource
from strandline.spec.errors import NotFoundError, UnusableDataError
from strandline.spec.records import DatasetVersion, Item, ModelVersion, Scalar, Split
from strandline.spec.scorecard import Abstention, Scorecard
from strandline.spec.v1alpha1 import ModelSpec, ModelTarget, SplitPolicy, to_document

if TYPE_CHECKING:
    from strandline.learn.calibrate import Calibration
    from strandline.learn.leakage import LeakedScores
    from strandline.learn.refit import Refitted
    from strandline.learn.transfer_data import TransferData

_GOLDEN_IMAGES = 4
_HEADLINES = ("precision_at_1", "auc_pr", "auc_roc", "log_loss", "ece", "mean_average_precision")


Progress = Callable[[int, int], None]
Stage = Callable[[str, int, int], None]
"""Called with (what is going on, steps done, steps in all); 0 where steps are not counted."""


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What a search may learn from, and what it will be judged by.

    Attributes:
        approach: how it is learned from.
        notes: what a person should know of the data.
    """

    version: DatasetVersion
    items: tuple[Item, ...]
    division: Division
    policy: SplitPolicy
    approach: Approach
    notes: tuple[str, ...]

    @property
    def data(self) -> TransferData:
        """The training and validation images; the test images are not in it."""
        return self.approach.data

    def part(self, split: Split) -> list[Item]:
        """Return the items of one part."""
        return [self.items[index] for index in self.division.indexes(split)]


@dataclass(frozen=True, slots=True, eq=False)
class Built:
    """A registered model version and its evaluation."""

    version: ModelVersion
    scorecard: Scorecard


@dataclass(frozen=True, slots=True, eq=False)
class _Judged:
    """A refitted candidate with what was chosen on its out-of-fold scores."""

    refitted: Refitted
    calibration: Calibration
    abstention: Abstention


def build_model(
    resource: Resource,
    target: ModelTarget,
    evidence: Evidence,
    outcome: SearchOutcome,
    store: ObjectStore,
    catalog: Catalog,
    clock: Clock,
    stage: Stage,
) -> Built:
    """Refit, calibrate, evaluate and register the best trial of a search.

    The same trial gives the same scores; the bundle is stored whole before the catalog
    names it.
    """
    assert outcome.best is not None, "there is nothing to build from"
    candidate = outcome.best.candidate
    judged = _judge(evidence, outcome, target, partial(stage, "refitting"))
    scorecard = _evaluate(evidence, candidate, judged, partial(stage, "evaluating"))
    stage("packing", 0, 0)
    contents = _contents(resource, target, evidence, outcome, judged, scorecard, store)
    version = _register(target.name, contents, evidence, resource, store, catalog, clock)
    return Built(version, scorecard)


def _judge(
    evidence: Evidence, outcome: SearchOutcome, target: ModelTarget, progress: Progress
) -> _Judged:
    from strandline.learn.abstain import choose_threshold
    from strandline.learn.calibrate import fit_calibration

    assert outcome.best is not None
    task = evidence.version.task
    progress(0, 0)
    refitted = evidence.approach.refit(outcome.best.candidate, outcome.checkpoint, progress)
    clusters = {item.image: cluster_of(item) for item in evidence.items}
    groups = [clusters[image] for image in refitted.out_of_fold_images]
    logits, truth = refitted.out_of_fold_logits, refitted.out_of_fold_targets
    calibration = fit_calibration(logits, truth, task, groups=groups, seed=evidence.data.seed)
    abstention = choose_threshold(
        calibration.apply(logits), truth, task, target.max_error_rate, groups=groups
    )
    return _Judged(refitted, calibration, abstention)


def _evaluate(evidence: Evidence, candidate: Any, judged: _Judged, progress: Progress) -> Scorecard:
    from strandline.learn.evaluate import evaluate_scores
    from strandline.learn.transfer_data import read_targets

    progress(0, 0)
    version, refitted = evidence.version, judged.refitted
    notes = [*evidence.notes, *refitted.notes]
    items = evidence.part(Split.TEST)
    if items:
        images = [item.image for item in items]
        logits: NDArray[Any] = refitted.scorer.score(images, progress)
        truth = read_targets(items, version.task, version.labels)
    else:
        notes.append("No test split: these numbers are cross-validated on the training images.")
        by_image = {item.image: item for item in evidence.items}
        items = [by_image[image] for image in refitted.out_of_fold_images]
        logits, truth = refitted.out_of_fold_logits, refitted.out_of_fold_targets
    return evaluate_scores(
        judged.calibration.apply(logits),
        truth,
        version.task,
        version.labels,
        image_digests=[item.image for item in items],
        abstention=judged.abstention,
        uncalibrated=refitted.scorer.raw_scores(logits, version.task),
        leaked=_leaked(evidence, candidate, judged),
        groups=[cluster_of(item) for item in items],
        sources=[item.sources[0] for item in items],
        seed=evidence.data.seed,
        notes=tuple(notes),
    )


def _leaked(evidence: Evidence, candidate: Any, judged: _Judged) -> LeakedScores | None:
    """Score the same candidate with near-duplicates left on both sides of the split."""
    from strandline.learn.leakage import LeakedScores, count_affected
    from strandline.learn.transfer_data import prepare_data, read_targets

    version, data = evidence.version, evidence.data
    naive = divide_naively(evidence.items, version.task, evidence.policy)
    train = [evidence.items[index] for index in naive.indexes(Split.TRAIN)]
    test = [evidence.items[index] for index in naive.indexes(Split.TEST)]
    affected = count_affected([cluster_of(i) for i in train], [cluster_of(i) for i in test])
    if not affected:
        return None
    try:
        leaking = prepare_data(
            evidence.items,
            naive,
            version.task,
            version.labels,
            data.open_store,
            data.cache_dir,
            data.seed,
        )
    except UnusableDataError:
        return None
    images = [item.image for item in test]
    logits = evidence.approach.score_leaking(leaking, candidate, images)
    if logits is None:
        return None
    return LeakedScores(
        scores=judged.calibration.apply(logits),
        truth=read_targets(test, version.task, version.labels),
        image_digests=images,
        affected=affected,
        groups=[cluster_of(item) for item in test],
    )


def _contents(
    resource: Resource,
    target: ModelTarget,
    evidence: Evidence,
    outcome: SearchOutcome,
    judged: _Judged,
    scorecard: Scorecard,
    store: ObjectStore,
) -> BundleContents:
    from strandline.learn.refit import finish_graph

    assert outcome.best is not None
    version, calibration = evidence.version, judged.calibration
    receipt = Receipt(
        dataset=version.dataset,
        dataset_version=version.version,
        dataset_digest=version.digest,
        search=resource.name,
        spec={**resource.spec, "datasetSplit": to_document(evidence.policy)},
        seed=evidence.data.seed,
        candidate=outcome.best.candidate,
        trials=tuple(_trial_line(trial) for trial in outcome.trials),
        environment=describe_environment(),
        notes=scorecard.notes,
    )
    graph = finish_graph(judged.refitted.graph, calibration, version.task)
    return BundleContents(
        name=target.name,
        task=version.task,
        labels=version.labels,
        graph=graph.SerializeToString(deterministic=True),
        abstention=judged.abstention,
        scorecard=scorecard,
        receipt=receipt,
        card=write_card(target.name, scorecard, receipt),
        golden=_golden(evidence.part(Split.TRAIN), store),
        calibration=calibration.model_dump(mode="json"),
    )


def _trial_line(trial: Any) -> dict[str, Scalar | dict[str, Any]]:
    """Return what a receipt keeps of a trial: no times, so equal searches match."""
    line = trial.model_dump(mode="json", include={"number", "candidate", "state", "step"})
    return {**line, "metrics": dict(trial.metrics)}


def _golden(items: Sequence[Item], store: ObjectStore) -> list[NDArray[np.uint8]]:
    """Return a few training images, of as many labels as possible."""
    chosen: dict[object, Item] = {}
    for item in items:
        chosen.setdefault(item.labels, item)
    spread = [*chosen.values(), *items][:_GOLDEN_IMAGES]
    return [decode_stored(store.get(item.image)).pixels for item in spread]


def _register(
    name: str,
    contents: BundleContents,
    evidence: Evidence,
    resource: Resource,
    store: ObjectStore,
    catalog: Catalog,
    clock: Clock,
) -> ModelVersion:
    with tempfile.TemporaryDirectory(prefix="strandline-") as folder:
        path = Path(folder) / "model.strandline"
        write_bundle(path, contents)
        digest = store.put_file(path)
    _ensure_model(name, catalog)
    metrics = contents.scorecard.metrics
    return catalog.add_model_version(
        ModelVersion(
            model=name,
            version=1,
            bundle=digest,
            task=contents.task,
            labels=contents.labels,
            dataset=evidence.version.dataset,
            dataset_digest=evidence.version.digest,
            search=resource.uid,
            metrics={
                key: metrics[key].value or 0.0
                for key in _HEADLINES
                if key in metrics and metrics[key].value is not None
            },
            created_at=clock.now(),
        )
    )


def _ensure_model(name: str, catalog: Catalog) -> None:
    """Make the Model that versions belong to, unless a person has described it already."""
    try:
        catalog.get_resource("Model", name)
    except NotFoundError:
        catalog.apply_resource("Model", name, to_document(ModelSpec()))
