"""The body of a Search with a model: search, refit, calibrate, evaluate, pack, register.

Every stage can be repeated: the search goes on from the catalog, and what follows is a
function of its best trial, so a training killed at any moment ends like an undisturbed
one when it is started again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from strandline.jobs.approaches import OneShotApproach, choose_approach
from strandline.jobs.build_model import Built, Evidence, Stage, build_model
from strandline.jobs.examined import check_learnable
from strandline.jobs.one_shot import share_weights
from strandline.jobs.search import SearchOutcome, SearchProgress, run_search
from strandline.jobs.spec_watch import SpecWatch
from strandline.jobs.status import change_status, with_fields
from strandline.ports import (
    Catalog,
    Clock,
    Elsewhere,
    GroupRunner,
    ObjectStore,
    Resource,
    TrialRunner,
)
from strandline.search.engine import EndReason
from strandline.spec.errors import (
    BudgetExhaustedError,
    FailedRunError,
    InterruptedRunError,
    NotFoundError,
)
from strandline.spec.records import (
    BestValue,
    DatasetVersion,
    Split,
    TrainReport,
    TrialState,
)
from strandline.spec.v1alpha1 import DatasetSpec, SearchSpec, SplitPolicy


@dataclass(frozen=True, slots=True)
class TrainPlace:
    """The ports a training works with.

    Attributes:
        groups: runs what one trial needs many workers for.
        open_store: opens `store` anew; pickles, for the workers.
        cache_dir: recomputable things on this machine.
        elsewhere: where trials run, if not on this machine.
    """

    store: ObjectStore
    catalog: Catalog
    clock: Clock
    runner: TrialRunner
    groups: GroupRunner
    open_store: Callable[[], ObjectStore]
    cache_dir: Path
    elsewhere: Elsewhere | None = None


Show = Callable[[SearchProgress], None]


def train(
    resource: Resource,
    place: TrainPlace,
    *,
    progress: Show | None = None,
    stop_requested: Callable[[], bool] | None = None,
) -> TrainReport:
    """Run the Search `resource` to its end and register its model.

    The caller makes sure that no other process runs the same search.

    Raises:
        NotFoundError: there is no such dataset.
        UnusableDataError: too few labels or labeled images.
        InterruptedRunError: `stop_requested`; the message says how to go on.
        BudgetExhaustedError: the budget ended before any candidate was scored.
        FailedRunError: too many trials failed in a row.
    """
    started = place.clock.monotonic()
    spec = SearchSpec.model_validate(resource.spec)
    evidence = gather_evidence(spec, place)
    with place.runner.held(spec.parallelism):
        outcome = _search(resource, spec, evidence, place, progress, stop_requested)
        _check_outcome(resource.name, outcome)
        if spec.rerank is not None:
            evidence, outcome = _rerank(
                resource, spec, evidence, outcome, place, progress, stop_requested
            )
    assert outcome.best is not None, "checked: there is a best trial"
    built: Built | None = None
    if spec.model is not None:
        stage = _stage_reporter(outcome, spec, place.clock, progress)
        built = build_model(
            resource, spec.model, evidence, outcome, place.store, place.catalog, place.clock, stage
        )
    objective = spec.objectives[0].metric
    return TrainReport(
        search=resource.name,
        model=built.version.model if built else "",
        version=built.version.version if built else 0,
        trials=sum(trial.step > 0 for trial in outcome.trials),
        best=BestValue(metric=objective, value=outcome.best.metrics[objective]),
        seconds=round(place.clock.monotonic() - started, 3),
    )


def gather_evidence(spec: SearchSpec, place: TrainPlace) -> Evidence:
    """Read the dataset, divide it, and prepare what trials learn from.

    Raises:
        as `train`.
    """
    from strandline.data.splits import divide
    from strandline.data.versions import read_items
    from strandline.learn.transfer_data import prepare_data

    version = place.catalog.get_dataset_version(spec.dataset.name, spec.dataset.version)
    items = read_items(place.store, version)
    notes = check_learnable(items, version.labels, version.task)
    policy = split_policy(place.catalog, version)
    division = divide(items, version.task, policy)
    data = prepare_data(
        items,
        division,
        version.task,
        version.labels,
        place.open_store,
        place.cache_dir,
        spec.seed,
        place.elsewhere,
    )
    approach = choose_approach(spec, version, data)
    return Evidence(version, tuple(items), division, policy, approach, (*notes, *division.notes))


def split_policy(catalog: Catalog, version: DatasetVersion) -> SplitPolicy:
    """Return how the dataset's owner wants it divided."""
    try:
        resource = catalog.get_resource("Dataset", version.dataset)
    except NotFoundError:
        return SplitPolicy()
    return DatasetSpec.model_validate(resource.spec).split


def _search(
    resource: Resource,
    spec: SearchSpec,
    evidence: Evidence,
    place: TrainPlace,
    progress: Show | None,
    stop_requested: Callable[[], bool] | None,
) -> SearchOutcome:
    approach = evidence.approach
    if isinstance(approach, OneShotApproach):
        shared = share_weights(
            resource.name,
            resource.uid,
            spec,
            evidence.version.digest,
            approach,
            catalog=place.catalog,
            store=place.store,
            runner=place.runner,
            clock=place.clock,
            progress=progress,
            stop_requested=stop_requested,
        )
        approach.take(shared)
    space, defaults = approach.space()
    later = [item.image for item in evidence.part(Split.TEST)]
    return run_search(
        resource.uid,
        spec,
        space,
        defaults,
        approach.factory(),
        catalog=place.catalog,
        store=place.store,
        runner=place.runner,
        clock=place.clock,
        affordable=approach.affordable(later),
        keep_best=approach.keep_best,
        progress=progress,
        stop_requested=stop_requested,
        watch=SpecWatch(
            place.catalog, place.clock, resource.name, resource.uid, spec, resource.generation
        ),
        space_of=lambda edited: choose_approach(edited, evidence.version, approach.data).space(),
    )


def _rerank(
    resource: Resource,
    spec: SearchSpec,
    evidence: Evidence,
    outcome: SearchOutcome,
    place: TrainPlace,
    progress: Show | None,
    stop_requested: Callable[[], bool] | None,
) -> tuple[Evidence, SearchOutcome]:
    """Train the best cells fully; return what they learned from and how they did."""
    from strandline.jobs.rerank import (
        choose_finalists,
        choose_sample,
        judge_proxy,
        rerank,
        rerank_spec,
    )

    full = rerank_spec(spec)
    space, _ = evidence.approach.space()
    finalists = choose_finalists(spec, space, outcome.trials)
    sample = choose_sample(spec, space, outcome.trials)
    all_images = gather_evidence(full, place)
    reranked = rerank(
        resource.uid,
        full,
        [*finalists, *sample],
        outcome.trials,
        all_images.approach,
        catalog=place.catalog,
        store=place.store,
        runner=place.runner,
        clock=place.clock,
        progress=progress,
        stop_requested=stop_requested,
    )
    _check_outcome(resource.name, reranked.outcome)
    fields: dict[str, Any] = {"reranked": reranked.status(spec.objectives)}
    fields["proxy"] = judge_proxy(spec, sample, reranked)  # None: that of before is gone
    change_status(place.catalog, "Search", resource.name, lambda r: with_fields(r.status, fields))
    # The receipt names every candidate tried: those of the search, then the finalists.
    tried = [
        trial.model_copy(update={"number": len(outcome.trials) + trial.number})
        for trial in reranked.outcome.trials
    ]
    return all_images, replace(reranked.outcome, trials=(*outcome.trials, *tried))


def _check_outcome(name: str, outcome: SearchOutcome) -> None:
    go_on = f"go on with `strandline search resume {name}`"
    if outcome.reason is EndReason.STOPPED:
        ended = sum(trial.ended_at is not None for trial in outcome.trials)
        raise InterruptedRunError(f"stopped after {ended} trials, all kept: {go_on}")
    failures = [trial.failure for trial in outcome.trials if trial.failure is not None]
    if outcome.reason is EndReason.FAILURES:
        last = failures[-1]
        raise FailedRunError(
            f"{len(failures)} trials failed, the last with {last.kind}: {last.message}; when "
            f"that is mended, {go_on}"
        )
    if outcome.best is None and failures:
        last = failures[-1]
        raise FailedRunError(f"no trial gave a result; the last {last.kind}: {last.message}")
    if outcome.best is None:
        raise BudgetExhaustedError(
            f"the budget ended before one candidate was scored: {go_on} --budget with more time"
        )


def _stage_reporter(
    outcome: SearchOutcome, spec: SearchSpec, clock: Clock, progress: Show | None
) -> Stage:
    counts: Mapping[TrialState, int] = {
        state: sum(trial.state is state for trial in outcome.trials) for state in TrialState
    }

    started = clock.monotonic()

    def report(stage: str, done: int, total: int) -> None:
        if progress is not None:
            progress(
                SearchProgress(
                    trial=None,
                    best=outcome.best,
                    counts=counts,
                    elapsed_seconds=outcome.elapsed_seconds + clock.monotonic() - started,
                    seconds_left=None,
                    value_name=spec.objectives[0].metric,
                    stage=stage,
                    done=done,
                    total=total,
                )
            )

    return report
