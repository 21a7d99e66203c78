"""The body of a Training: one network from nothing to a registered model.

Every epoch is kept, so a training that was killed at any moment ends like an undisturbed
one when it is started again. What it learns is named by a digest of all that decides it:
when the spec changes in any of that, it begins anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from strandline.jobs.build_model import Built, Evidence, build_model
from strandline.jobs.found_cells import FoundCell, find_cell
from strandline.jobs.search import SearchOutcome
from strandline.jobs.search_journal import CatalogJournal
from strandline.jobs.train import TrainPlace, gather_evidence
from strandline.jobs.training_source import TrainingSource
from strandline.jobs.training_status import TrainingReporter
from strandline.ports import GroupSize, Resource, Resources
from strandline.search.engine import EndReason
from strandline.spec.errors import FailedRunError, InterruptedRunError
from strandline.spec.records import TrainingReport, Trial, canonical_json, digest_of
from strandline.spec.v1alpha1 import (
    Goal,
    Objective,
    SearchSpec,
    Space,
    SpacePreset,
    TrainingSpec,
    parse_duration,
    to_document,
)

_METRIC = "val/precision_at_1"


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """Where a training stands.

    Attributes:
        stage: `training`, then what is made of the network.
        done, total: epochs, or steps of the stage; 0 where they are not counted.
        seconds_left: of the epochs, None when it cannot be told.
        metrics: after the last epoch.
    """

    stage: str
    done: int
    total: int
    seconds_left: float | None = None
    metrics: Mapping[str, float] | None = None


Show = Callable[[TrainingProgress], None]


def train_network(
    resource: Resource,
    place: TrainPlace,
    *,
    progress: Show | None = None,
    stop_requested: Callable[[], bool] | None = None,
) -> TrainingReport:
    """Run the Training `resource` to its end and register its model.

    The caller makes sure that no other process runs the same training.

    Raises:
        NotFoundError: there is no such dataset, search or trial.
        InvalidSpecError: the search's candidates are no cells; the genotype is none.
        UnusableDataError: too few labels or labeled images.
        InterruptedRunError: `stop_requested`; the message says how to go on.
        FailedRunError: the network could not be trained; the message says why.
    """
    started = place.clock.monotonic()
    spec = TrainingSpec.model_validate(resource.spec)
    cell = find_cell(place.catalog, spec.cell)
    as_search = _as_search(spec, cell)
    evidence = gather_evidence(as_search, place)
    uid = f"{resource.uid}/{_identity(spec, cell, evidence.version.digest)}"
    show = progress or (lambda seen: None)

    reporter = TrainingReporter(place.catalog, place.clock, resource, _METRIC)

    def on_epoch(trial: Trial) -> None:
        reporter.epoch_over(trial, source.device_seconds)
        show(_epoch_progress(trial, spec.schedule.epochs))

    def on_workers(workers: int, waiting: str) -> None:
        reporter.workers_changed(workers, waiting)
        if spec.workers > 1:
            show(TrainingProgress(_describe(workers, spec.workers, waiting), 0, 0))

    source = TrainingSource(
        uid,
        cell.decisions,
        CatalogJournal(uid, place.catalog, place.store),
        place.clock,
        stop_requested=stop_requested or (lambda: False),
        on_epoch=on_epoch,
        on_workers=on_workers,
    )
    size = GroupSize(spec.workers, spec.min_workers or spec.workers)
    timeout = parse_duration(spec.epoch_timeout).total_seconds() if spec.epoch_timeout else None
    try:
        factory = evidence.approach.factory()
        place.groups.run_group(source, factory, Resources(), size, timeout)
    finally:
        source.close()
    reporter.workers_left()
    _check_end(resource.name, source)
    built = _build(resource, spec, source, evidence, place, show)
    return TrainingReport(
        training=resource.name,
        model=built.version.model if built else "",
        version=built.version.version if built else 0,
        epochs=source.trial.step,
        metric=_METRIC,
        value=source.trial.metrics[_METRIC],
        seconds=round(place.clock.monotonic() - started, 3),
    )


def _as_search(spec: TrainingSpec, cell: FoundCell) -> SearchSpec:
    """Return the spec of a search whose only candidate is the cell."""
    return SearchSpec(
        dataset=spec.dataset,
        space=Space(
            preset=SpacePreset.CELLS,
            family=cell.family,
            network=spec.network,
            schedule=spec.schedule,
        ),
        objectives=[Objective(metric=_METRIC, goal=Goal.MAXIMIZE)],
        seed=spec.seed,
        model=spec.model,
        parallelism=spec.workers,
    )


def _identity(spec: TrainingSpec, cell: FoundCell, dataset_digest: str) -> str:
    """Return a short name of all that decides what is learned."""
    content = {
        "dataset": dataset_digest,
        "family": cell.family.value,
        "cell": dict(cell.decisions),
        "network": to_document(spec.network),
        "schedule": to_document(spec.schedule),
        "seed": spec.seed,
    }
    return digest_of(canonical_json(content)).removeprefix("sha256:")[:12]


def _describe(workers: int, wanted: int, waiting: str) -> str:
    """Return the stage in words."""
    if waiting:
        return f"waiting for workers: {waiting}"
    return f"training on {workers} of {wanted} workers"


def _epoch_progress(trial: Trial, epochs: int) -> TrainingProgress:
    pace = trial.seconds / trial.step
    left = pace * (epochs - trial.step)
    return TrainingProgress("training", trial.step, epochs, left, trial.metrics)


def _check_end(name: str, source: TrainingSource) -> None:
    if source.complete:
        return
    go_on = f"go on with `strandline training resume {name}`"
    done = f"after {source.trial.step} epochs, all kept"
    if source.trial.failure is None:
        raise InterruptedRunError(f"stopped {done}: {go_on}")
    failure = source.trial.failure
    raise FailedRunError(f"{failure.kind} {done}: {failure.message}; when that is mended, {go_on}")


def _build(
    resource: Resource,
    spec: TrainingSpec,
    source: TrainingSource,
    evidence: Evidence,
    place: TrainPlace,
    show: Show,
) -> Built | None:
    if spec.model is None:
        return None
    outcome = SearchOutcome(
        reason=EndReason.TRIALS,
        best=source.trial,
        trials=(source.trial,),
        elapsed_seconds=source.trial.seconds,
        checkpoint=source.checkpoint(),
    )

    def stage(name: str, done: int, total: int) -> None:
        show(TrainingProgress(name, done, total))

    return build_model(
        resource, spec.model, evidence, outcome, place.store, place.catalog, place.clock, stage
    )
