"""Search, and look at searches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from strandline import compose
from strandline.adapters.agent import list_all
from strandline.api.checks import check_name, checked
from strandline.api.running import StopRequested, run_foreground, train_place
from strandline.compose import Platform
from strandline.jobs.object_job import Finished
from strandline.ports import Resource
from strandline.spec.errors import AlreadyExistsError
from strandline.spec.records import TrainReport
from strandline.spec.v1alpha1 import (
    Budget,
    DatasetRef,
    ModelTarget,
    SearchSpec,
    Space,
    to_document,
)

if TYPE_CHECKING:
    from strandline.jobs.found_cells import FoundCell
    from strandline.jobs.search import SearchProgress
    from strandline.spec.progress import ProgressReport

Effort = Literal["fast", "balanced", "best"]
_NAMES_TRIED = 10_000


def train(
    dataset: str,
    *,
    budget: str = "2m",
    trials: int | None = None,
    preset: Effort = "balanced",
    model: str | None = None,
    search: str | None = None,
    backbones: Sequence[str] = (),
    parallelism: int = 1,
    seed: int = 0,
    max_error_rate: float = 0.01,
    progress: Callable[[SearchProgress], None] | None = None,
    stop_requested: StopRequested | None = None,
    platform: Platform | None = None,
) -> TrainReport:
    """Search, refit, calibrate, evaluate and register the best model for `dataset`.

    A search name that exists already goes on when the same is asked of it.

    Raises:
        InvalidSpecError: an option breaks a rule.
        NotFoundError: there is no such dataset.
        AlreadyExistsError: another search has that name.
        UnusableDataError: too few labels or labeled images to learn from.
        InterruptedRunError: `stop_requested`; `resume_search` goes on from there.
    """
    place = platform or compose.local()
    version = place.catalog.get_dataset_version(dataset)
    spec = wanted_search(
        DatasetRef(name=dataset, version=version.version),
        budget=budget,
        trials=trials,
        preset=preset,
        model=model,
        backbones=backbones,
        parallelism=parallelism,
        seed=seed,
        max_error_rate=max_error_rate,
    )
    searches = {each.name: each for each in list_all(place.catalog, "Search")}
    name = search or free_name(searches, model or dataset)
    check_name(name)
    refuse_other_search(searches.get(name), spec)
    place.catalog.apply_resource("Search", name, to_document(spec))
    return _search_here(place, name, progress, stop_requested)


def wanted_search(
    dataset: DatasetRef,
    *,
    budget: str,
    trials: int | None,
    preset: Effort,
    model: str | None,
    backbones: Sequence[str],
    parallelism: int,
    seed: int,
    max_error_rate: float,
) -> SearchSpec:
    """Return the spec that the options of `train` mean.

    Raises:
        InvalidSpecError: one of them breaks a rule.
    """
    return checked(
        SearchSpec,
        dataset=dataset,
        space=checked(Space, effort=preset, backbones=list(backbones) or None),
        budget=checked(Budget, time=budget, trials=trials),
        parallelism=parallelism,
        seed=seed,
        model=checked(ModelTarget, name=model or dataset.name, max_error_rate=max_error_rate),
    )


def raised_budget(spec: SearchSpec, budget: str | None, trials: int | None) -> SearchSpec:
    """Return `spec` with new limits, those that are None as they were, and not suspended.

    Raises:
        InvalidSpecError: a limit breaks a rule.
    """
    changes = {"time": budget, "trials": trials}
    limits = spec.budget.model_dump() | {k: v for k, v in changes.items() if v is not None}
    return spec.model_copy(update={"budget": checked(Budget, **limits), "suspend": False})


def resume_search(
    name: str,
    *,
    budget: str | None = None,
    trials: int | None = None,
    progress: Callable[[SearchProgress], None] | None = None,
    stop_requested: StopRequested | None = None,
    platform: Platform | None = None,
) -> TrainReport:
    """Go on with a search from whatever end it had; what it used of its budget counts.

    Args:
        budget: new time in all, e.g. `20m`; as it was if None.
        trials: new number of trials in all; as it was if None.

    Raises:
        NotFoundError: there is no such search.
        as `train`.
    """
    place = platform or compose.local()
    resource = place.catalog.get_resource("Search", name)
    raised = raised_budget(SearchSpec.model_validate(resource.spec), budget, trials)
    place.catalog.apply_resource(
        "Search", name, to_document(raised), resource.labels, resource.annotations
    )
    return _search_here(place, name, progress, stop_requested)


def found_cell(
    search: str, *, trial: int | None = None, platform: Platform | None = None
) -> FoundCell:
    """Return the cell that a search found: of its best trial, or of the one named.

    Raises:
        NotFoundError: there is no such search or trial.
        InvalidSpecError: the search's candidates are no cells.
    """
    from strandline.jobs.found_cells import cell_of_search

    place = platform or compose.local()
    return cell_of_search(place.catalog, search, trial)


def search_progress(
    search: str, *, report: str | Path | None = None, platform: Platform | None = None
) -> ProgressReport:
    """Return how a search stands: its best value and where that will get to, what each choice
    decided, the trials that no other one betters, and why trials died.

    Args:
        report: where to write it as a page with plots.

    Raises:
        NotFoundError: there is no such search.
    """
    from strandline.jobs.progress import search_progress as gather

    place = platform or compose.local()
    found = gather(place.catalog, place.store, search)
    if report is not None:
        from strandline.learn.progress_report import render_progress

        target = Path(report)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(render_progress(found), encoding="utf-8")
    return found


def list_searches(*, platform: Platform | None = None) -> list[dict[str, Any]]:
    """Return name, dataset, state, trials, best and model of each search, by name."""
    place = platform or compose.local()
    return [search_line(resource) for resource in list_all(place.catalog, "Search")]


def _search_here(
    place: Platform,
    name: str,
    progress: Callable[[SearchProgress], None] | None,
    stop_requested: StopRequested | None,
) -> TrainReport:
    reports: list[TrainReport] = []

    def body(resource: Resource) -> Finished:
        reports.append(work_on_search(place, resource, progress, stop_requested))
        return finished_search(place, resource, reports[0])

    run_foreground(place, "Search", name, body)
    return reports[0]


def work_on_search(
    place: Platform,
    resource: Resource,
    progress: Callable[[SearchProgress], None] | None,
    stop_requested: StopRequested | None,
) -> TrainReport:
    """Do what the job of a Search does."""
    from strandline.jobs.search_status import SearchReporter
    from strandline.jobs.train import train as run_training

    return run_training(
        resource,
        train_place(place, resource),
        progress=SearchReporter(
            place.catalog, place.clock, resource, progress, place.settings.lanes
        ),
        stop_requested=stop_requested,
    )


def finished_search(place: Platform, resource: Resource, report: TrainReport) -> Finished:
    """Return what such a job says of its Search."""
    from strandline.jobs.search_status import search_status

    trials = place.catalog.list_trials(resource.uid, limit=1_000_000)
    made = f"; {report.model} version {report.version} came of it" if report.model else ""
    return Finished(
        reason="SearchEnded",
        message=f"{report.trials} trials, {report.best.metric} {report.best.value:.4f}{made}.",
        fields=search_status(
            SearchSpec.model_validate(resource.spec), report, trials, place.settings.lanes
        ),
    )


def search_line(resource: Resource) -> dict[str, Any]:
    """Return a search as lists show it."""
    status = resource.status
    held = {c["type"] for c in status.get("conditions", ()) if c["status"] == "True"}
    states = ("Complete", "Failed", "Suspended", "Reconciling")
    counts = status.get("trials") or {}
    return {
        "name": resource.name,
        "dataset": resource.spec["dataset"]["name"],
        "state": next((state for state in states if state in held), "Pending"),
        "trials": counts.get("completed", 0) + counts.get("pruned", 0),
        "best": status.get("best"),
        "model": status.get("model"),
    }


def refuse_other_search(there: Resource | None, spec: SearchSpec) -> None:
    """Keep a name that is taken from silently becoming another search.

    Raises:
        AlreadyExistsError: something else was asked of the search that is there.
    """
    if there is None:
        return
    asked = SearchSpec.model_validate(there.spec)
    if asked.model_copy(update={"budget": spec.budget, "suspend": spec.suspend}) != spec:
        raise AlreadyExistsError(
            f"search {there.name!r} exists and is another one: choose another --search, or go on "
            f"with `strandline search resume {there.name}`"
        )


def free_name(taken: Iterable[str], base: str) -> str:
    """Return a name for a search that makes model `base`, not among those taken.

    Raises:
        AlreadyExistsError: there are too many of them.
    """
    names = set(taken)
    for number in range(1, _NAMES_TRIED):
        name = f"{base[:56]}-{number}"
        if name not in names:
            return name
    raise AlreadyExistsError(f"too many searches are called {base}-N: name one with --search")
