"""The verbs as typed functions: what `import strandline` offers and the commands call.

Each works in the place that the environment names (`STRANDLINE_HOME` and friends) unless
it is given a `Platform`. Records come back; progress goes to the callback given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from strandline import compose
from strandline.compose import Platform
from strandline.jobs.import_tally import count_refusals
from strandline.jobs.object_job import Finished, run_object_job
from strandline.ports import Resource
from strandline.spec.errors import (
    AlreadyExistsError,
    InvalidSpecError,
    NotFoundError,
)
from strandline.spec.fields import PATTERN_MEANINGS, Name
from strandline.spec.records import (
    DatasetVersion,
    ImportReport,
    ModelVersion,
    TrainingReport,
    TrainReport,
)
from strandline.spec.rules import SpecModel
from strandline.spec.v1alpha1 import (
    Budget,
    DatasetRef,
    DatasetSpec,
    ImportLimits,
    ModelTarget,
    SearchSpec,
    SourceFormat,
    Space,
    SplitPolicy,
    TaskChoice,
    TrainingSpec,
    to_document,
)

if TYPE_CHECKING:
    from strandline.bundle.answers import Prediction
    from strandline.jobs.evaluate import Evaluation
    from strandline.jobs.found_cells import FoundCell
    from strandline.jobs.search import SearchProgress
    from strandline.jobs.train import TrainPlace
    from strandline.jobs.training import TrainingProgress
    from strandline.spec.progress import ProgressReport

Advance = Callable[[int, int], None]
StopRequested = Callable[[], bool]
Effort = Literal["fast", "balanced", "best"]

AnySpec = TypeVar("AnySpec", bound=SpecModel)
_NAME: TypeAdapter[str] = TypeAdapter(Name)
_PAGE = 500
_NAMES_TRIED = 10_000


def import_dataset(
    name: str,
    source: str | Path,
    *,
    format: SourceFormat | str = SourceFormat.AUTO,  # noqa: A002 – the kind's own word
    task: TaskChoice | str = TaskChoice.AUTO,
    root: str | Path | None = None,
    limits: ImportLimits | None = None,
    split: SplitPolicy | None = None,
    workers: int | None = None,
    progress: Advance | None = None,
    stop_requested: StopRequested | None = None,
    platform: Platform | None = None,
) -> ImportReport:
    """Import images and labels as the newest version of dataset `name`.

    Args:
        source: folder, zip, CSV, JSONL or Label Studio JSON; path, `file://` or `s3://`.
        root: folder that a table's relative paths start from; looked for if None.
        workers: decoding processes; one a CPU if None.
        progress: called with (images done, images in all; 0 where that cannot be told).

    Raises:
        InvalidSpecError: a name or option breaks a rule.
        NotFoundError: there is nothing at `source`.
        EmptyImportError: not one image could be imported; its `report` says why.
        InterruptedRunError: `stop_requested`; the same call goes on from there.
    """
    place = platform or compose.local()
    _check_name(name)
    spec = _checked(
        DatasetSpec,
        source={
            "uri": _absolute(str(source)),
            "format": format,
            "root": _absolute(str(root)) if root is not None else None,
        },
        task=task,
        limits=limits or ImportLimits(),
        split=split or _kept_policy(place, name),
    )
    place.catalog.apply_resource("Dataset", name, to_document(spec))
    reports: list[ImportReport] = []

    def body(resource: Resource) -> Finished:
        reports.append(_import(place, resource, workers, progress, stop_requested))
        return _finished_import(place, reports[0])

    _run_foreground(place, "Dataset", name, body)
    return reports[0]


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
    target = model or dataset
    spec = _checked(
        SearchSpec,
        dataset=DatasetRef(name=dataset, version=version.version),
        space=_checked(Space, effort=preset, backbones=list(backbones) or None),
        budget=_checked(Budget, time=budget, trials=trials),
        parallelism=parallelism,
        seed=seed,
        model=_checked(ModelTarget, name=target, max_error_rate=max_error_rate),
    )
    name = search or _free_name(place, target)
    _check_name(name)
    _refuse_other_search(place, name, spec)
    place.catalog.apply_resource("Search", name, to_document(spec))
    return _run_search(place, name, progress, stop_requested)


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
    spec = SearchSpec.model_validate(resource.spec)
    changes = {"time": budget, "trials": trials}
    limits = spec.budget.model_dump() | {k: v for k, v in changes.items() if v is not None}
    raised = spec.model_copy(update={"budget": _checked(Budget, **limits), "suspend": False})
    place.catalog.apply_resource(
        "Search", name, to_document(raised), resource.labels, resource.annotations
    )
    return _run_search(place, name, progress, stop_requested)


def resume_training(
    name: str,
    *,
    progress: Callable[[TrainingProgress], None] | None = None,
    stop_requested: StopRequested | None = None,
    platform: Platform | None = None,
) -> TrainingReport:
    """Go on with the training of a network from its last epoch, whatever end it had.

    Raises:
        NotFoundError: there is no such training, or not what it refers to.
        FailedRunError: the network could not be trained; the message says why.
        InterruptedRunError: `stop_requested`; the same call goes on from there.
    """
    place = platform or compose.local()
    resource = place.catalog.get_resource("Training", name)
    spec = TrainingSpec.model_validate(resource.spec).model_copy(update={"suspend": False})
    place.catalog.apply_resource(
        "Training", name, to_document(spec), resource.labels, resource.annotations
    )
    reports: list[TrainingReport] = []

    def body(resource: Resource) -> Finished:
        reports.append(_train_network(place, resource, progress, stop_requested))
        return _finished_training(reports[0])

    _run_foreground(place, "Training", name, body)
    return reports[0]


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


def evaluate(
    model: str,
    *,
    dataset: str | None = None,
    report: str | Path | None = None,
    progress: Advance | None = None,
    stop_requested: StopRequested | None = None,
    platform: Platform | None = None,
) -> Evaluation:
    """Evaluate a model on the test split of its dataset, or on another dataset.

    Args:
        model: NAME, NAME@VERSION, or the path of a bundle file.
        report: where to write the self-contained HTML report.

    Raises:
        NotFoundError: there is no such model or dataset.
        UnusableDataError: no labeled image is left to evaluate on.
        CorruptArtifactError: the bundle is damaged.
    """
    from strandline.jobs.evaluate import evaluate_model, thumbnails
    from strandline.jobs.models import find_model
    from strandline.learn.report import render_report

    place = platform or compose.local()
    found = find_model(model, place.catalog, place.store)
    evaluation = evaluate_model(
        found,
        dataset,
        store=place.store,
        catalog=place.catalog,
        progress=progress,
        stop_requested=stop_requested,
    )
    if report is not None:
        receipt = found.bundle.receipt
        page = render_report(
            evaluation.scorecard,
            thumbnails(place.store),
            model=found.name,
            dataset=evaluation.dataset,
            facts={
                "Dataset digest": receipt.dataset_digest,
                "Search": receipt.search or "",
                "Candidates tried": str(len(receipt.trials)),
                **{key: str(value) for key, value in receipt.candidate.items()},
            },
        )
        target = Path(report)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(page, encoding="utf-8")
    return evaluation


def predict(
    model: str,
    paths: Sequence[str | Path] | str | Path,
    *,
    threshold: float | None = None,
    workers: int | None = None,
    platform: Platform | None = None,
) -> Iterator[Prediction]:
    """Yield a prediction for each image in `paths` (files and folders), as they come.

    Needs the `serve` extra only. An image that cannot be read has its reason in `error`.

    Args:
        model: NAME, NAME@VERSION, or the path of a bundle file.
        threshold: answer from this score on; the model's own goal if None.

    Raises:
        NotFoundError: there is no such model.
        CorruptArtifactError: the bundle is damaged, or computes something else here.
    """
    from strandline.bundle.runtime import Predictor
    from strandline.jobs.models import find_model, is_bundle_file, open_bundle_file
    from strandline.jobs.predict import predict_paths

    compose.require_extra("serve", ("onnxruntime",))
    if is_bundle_file(model):
        found = open_bundle_file(model)
    else:
        place = platform or compose.local()
        found = find_model(model, place.catalog, place.store)
    several = [paths] if isinstance(paths, str | Path) else paths
    return predict_paths(Predictor(found.bundle), several, threshold=threshold, workers=workers)


def export(
    model: str,
    *,
    out: str | Path,
    format: str = "bundle",  # noqa: A002 – the command line's own word
    force: bool = False,
    platform: Platform | None = None,
) -> Sequence[Path]:
    """Write a model to folder `out` in a form that needs no Strandline; return the files.

    Args:
        format: `bundle`, `onnx`, `torchscript` or `safetensors`.
        force: replace files that are there.

    Raises:
        NotFoundError: there is no such model.
        AlreadyExistsError: a file is there already.
        MissingExtraError: `torchscript` and `safetensors` need the `train` extra.
    """
    from strandline.jobs.export import export_model
    from strandline.jobs.models import find_model

    place = platform or compose.local()
    found = find_model(model, place.catalog, place.store)
    return export_model(found.data, Path(out), format, overwrite=force)


def list_datasets(*, platform: Platform | None = None) -> list[DatasetVersion]:
    """Return the newest version of each dataset, by name."""
    place = platform or compose.local()
    found: list[DatasetVersion] = []
    for resource in _all_resources(place, "Dataset"):
        versions = place.catalog.list_dataset_versions(resource.name)
        found.extend(versions[-1:])
    return found


def list_models(*, platform: Platform | None = None) -> list[ModelVersion]:
    """Return the newest version of each model, by name."""
    place = platform or compose.local()
    found: list[ModelVersion] = []
    for resource in _all_resources(place, "Model"):
        versions = place.catalog.list_model_versions(resource.name)
        found.extend(versions[-1:])
    return found


def list_searches(*, platform: Platform | None = None) -> list[dict[str, Any]]:
    """Return name, dataset, state, trials, best and model of each search, by name."""
    place = platform or compose.local()
    return [_search_line(resource) for resource in _all_resources(place, "Search")]


@dataclass(frozen=True, slots=True)
class JobViews:
    """Who is told how far a job is, for each sort of job."""

    importing: Advance | None = None
    searching: Callable[[SearchProgress], None] | None = None
    training: Callable[[TrainingProgress], None] | None = None


def run_job(
    kind: str,
    name: str,
    *,
    views: JobViews | None = None,
    stop_requested: StopRequested | None = None,
    platform: Platform | None = None,
) -> None:
    """Run the job of an applied object to its end; the caller holds its run lock."""
    seen = views or JobViews()
    place = platform or compose.local()

    def body(resource: Resource) -> Finished:
        if kind == "Dataset":
            imported = _import(place, resource, None, seen.importing, stop_requested)
            return _finished_import(place, imported)
        if kind == "Search":
            searched = _train(place, resource, seen.searching, stop_requested)
            return _finished_search(place, resource, searched)
        if kind == "Training":
            trained = _train_network(place, resource, seen.training, stop_requested)
            return _finished_training(trained)
        raise InvalidSpecError(f"a {kind} has no job to run")

    run_object_job(place.catalog, place.clock, kind, name, body)


def _run_foreground(
    place: Platform, kind: str, name: str, body: Callable[[Resource], Finished]
) -> None:
    """Run a job here and now, as the only one for its object."""
    resource = place.catalog.get_resource(kind, name)
    with compose.claim_run(place, resource):
        run_object_job(place.catalog, place.clock, kind, name, body, foreground=True)


def _import(
    place: Platform,
    resource: Resource,
    workers: int | None,
    progress: Advance | None,
    stop_requested: StopRequested | None,
) -> ImportReport:
    from strandline.jobs.import_dataset import ImportPlace, import_dataset as run_import

    spec = DatasetSpec.model_validate(resource.spec)
    return run_import(
        resource.name,
        spec,
        ImportPlace(
            store=place.store,
            catalog=place.catalog,
            clock=place.clock,
            journal_dir=compose.run_folder(place, resource),
            workers=workers,
        ),
        compose.read_context(place.settings, spec.source.root, spec.limits.max_bytes),
        progress=progress,
        stop_requested=stop_requested,
    )


def _finished_import(place: Platform, report: ImportReport) -> Finished:
    version = place.catalog.get_dataset_version(report.dataset, report.version)
    return Finished(
        reason="Imported",
        message=f"Version {report.version}: {report.items} images, {len(report.labels)} labels.",
        fields={
            "version": report.version,
            "digest": report.digest,
            "items": report.items,
            "labeled": version.labeled,
            "labels": len(report.labels),
            "refused": len(report.refused),
            "refusals": count_refusals(report.refused),
        },
    )


def _run_search(
    place: Platform,
    name: str,
    progress: Callable[[SearchProgress], None] | None,
    stop_requested: StopRequested | None,
) -> TrainReport:
    reports: list[TrainReport] = []

    def body(resource: Resource) -> Finished:
        reports.append(_train(place, resource, progress, stop_requested))
        return _finished_search(place, resource, reports[0])

    _run_foreground(place, "Search", name, body)
    return reports[0]


def _train(
    place: Platform,
    resource: Resource,
    progress: Callable[[SearchProgress], None] | None,
    stop_requested: StopRequested | None,
) -> TrainReport:
    from strandline.jobs.search_status import SearchReporter
    from strandline.jobs.train import train as run_training

    return run_training(
        resource,
        _train_place(place, resource),
        progress=SearchReporter(place.catalog, place.clock, resource, progress),
        stop_requested=stop_requested,
    )


def _train_network(
    place: Platform,
    resource: Resource,
    progress: Callable[[TrainingProgress], None] | None,
    stop_requested: StopRequested | None,
) -> TrainingReport:
    from strandline.jobs.training import train_network

    return train_network(
        resource,
        _train_place(place, resource),
        progress=progress,
        stop_requested=stop_requested,
    )


def _train_place(place: Platform, resource: Resource) -> TrainPlace:
    from strandline.jobs.train import TrainPlace

    return TrainPlace(
        store=place.store,
        catalog=place.catalog,
        clock=place.clock,
        runner=compose.trial_runner(place, resource.uid),
        open_store=compose.StoreOpener(place.settings.store_url),
        cache_dir=place.settings.cache_dir,
        elsewhere=compose.elsewhere(place.settings),
    )


def _finished_training(report: TrainingReport) -> Finished:
    made = f"; {report.model} version {report.version} came of it" if report.model else ""
    fields: dict[str, Any] = {
        "epoch": report.epochs,
        "metric": report.metric,
        "value": report.value,
    }
    if report.model:
        fields |= {"model": report.model, "modelVersion": report.version}
    return Finished(
        reason="Trained",
        message=f"{report.epochs} epochs, {report.metric} {report.value:.4f}{made}.",
        fields=fields,
    )


def _finished_search(place: Platform, resource: Resource, report: TrainReport) -> Finished:
    from strandline.jobs.search_status import search_status

    trials = place.catalog.list_trials(resource.uid, limit=1_000_000)
    made = f"; {report.model} version {report.version} came of it" if report.model else ""
    return Finished(
        reason="SearchEnded",
        message=f"{report.trials} trials, {report.best.metric} {report.best.value:.4f}{made}.",
        fields=search_status(SearchSpec.model_validate(resource.spec), report, trials),
    )


def _search_line(resource: Resource) -> dict[str, Any]:
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


def _all_resources(place: Platform, kind: str) -> Iterator[Resource]:
    after: str | None = None
    while page := place.catalog.list_resources(kind, limit=_PAGE, after=after):
        yield from page
        after = page[-1].name


def _refuse_other_search(place: Platform, name: str, spec: SearchSpec) -> None:
    """Keep a name that is taken from silently becoming another search."""
    try:
        there = SearchSpec.model_validate(place.catalog.get_resource("Search", name).spec)
    except NotFoundError:
        return
    if there.model_copy(update={"budget": spec.budget, "suspend": spec.suspend}) != spec:
        raise AlreadyExistsError(
            f"search {name!r} exists and is another one: choose another --search, or go on with "
            f"`strandline search resume {name}`"
        )


def _free_name(place: Platform, base: str) -> str:
    taken = {resource.name for resource in _all_resources(place, "Search")}
    for number in range(1, _NAMES_TRIED):
        name = f"{base[:56]}-{number}"
        if name not in taken:
            return name
    raise AlreadyExistsError(f"too many searches are called {base}-N: name one with --search")


def _kept_policy(place: Platform, name: str) -> SplitPolicy:
    """Keep the division that a person applied before, when the same dataset is re-imported."""
    try:
        return DatasetSpec.model_validate(place.catalog.get_resource("Dataset", name).spec).split
    except NotFoundError:
        return SplitPolicy()


def _absolute(source: str) -> str:
    """Make a path independent of where the agent would run the job later."""
    return source if "://" in source else str(Path(source).expanduser().absolute())


def _check_name(name: str) -> None:
    try:
        _NAME.validate_python(name)
    except ValidationError as error:
        raise InvalidSpecError(
            f"{name[:80]!r} cannot be a name: use lower-case letters, digits and '-', at most 63, "
            "beginning and ending with a letter or digit"
        ) from error


def _checked(cls: type[AnySpec], **fields: Any) -> AnySpec:
    """Build a part of a spec, turning what is wrong into one clear line.

    Raises:
        InvalidSpecError: a field breaks a rule.
    """
    try:
        return cls(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or cls.__name__
        text = first["msg"].removeprefix("Value error, ")
        if first["type"] == "string_pattern_mismatch":
            meaning = PATTERN_MEANINGS.get(first["ctx"]["pattern"], "of another form")
            text = f"it must be {meaning}, but it is {first['input']!r}"
        raise InvalidSpecError(f"{where}: {text}") from error
