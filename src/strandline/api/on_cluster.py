"""The verbs on a cluster: what a laptop's do here and now is asked for there, and followed.

Documents go to the API, the operator has the work done, and `.status` tells how far it is.
What a report says beyond that is read from the log of the job, which ends with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strandline import compose
from strandline.api import models, searches
from strandline.api.checks import check_name
from strandline.api.datasets import wanted_dataset
from strandline.api.following import Following, said_of
from strandline.api.running import Advance, StopRequested
from strandline.api.searches import (
    free_name,
    raised_budget,
    refuse_other_search,
    search_line,
    wanted_search,
)
from strandline.compose import ClusterPlatform
from strandline.jobs.models import is_bundle_file
from strandline.jobs.search import SearchProgress
from strandline.ports import Resource
from strandline.spec.conditions import (
    READY,
    STALLED,
    get_condition,
    is_true,
)
from strandline.spec.errors import (
    EmptyImportError,
    InvalidSpecError,
    NotFoundError,
    UnavailableError,
    UnusableDataError,
)
from strandline.spec.records import (
    BestValue,
    ImportReport,
    TrainingReport,
    TrainReport,
    Trial,
    TrialState,
)
from strandline.spec.v1alpha1 import DatasetRef, DatasetSpec, SearchSpec, TrainingSpec, to_document

if TYPE_CHECKING:
    from strandline.jobs.evaluate import Evaluation
    from strandline.jobs.found_cells import FoundCell
    from strandline.jobs.training import TrainingProgress
    from strandline.spec.progress import ProgressReport


class ClusterVerbs:
    """The verbs of `strandline.api`, in one namespace of a cluster."""

    def __init__(self, platform: ClusterPlatform, say: Callable[[str], None]) -> None:
        """Tell `say` what a person should know meanwhile."""
        self._platform = platform
        self._objects = platform.objects
        self._say = say
        self._following = Following(platform.objects, say)

    def import_dataset(
        self,
        name: str,
        source: str | Path,
        *,
        format: str,  # noqa: A002 – the kind's own word
        task: str,
        root: str | Path | None = None,
        workers: int | None = None,
        progress: Advance | None = None,
        stop_requested: StopRequested | None = None,
    ) -> ImportReport:
        """Apply a Dataset and follow its import.

        Raises:
            InvalidSpecError: an option breaks a rule, or means something of this machine.
            EmptyImportError: not one image could be imported; its `report` says why.
            UnavailableError: the images are imported, but the report cannot be read any more.
        """
        check_name(name)
        if workers is not None:
            raise InvalidSpecError("--workers is of this machine: the operator's jobs.resources")
        for address in filter(None, (source, root)):
            if not str(address).startswith("s3://"):
                raise InvalidSpecError(
                    f"{address} is on this machine, which pods do not see: upload it to a bucket "
                    "and name it as s3://BUCKET/PREFIX"
                )
        there = self._find("Dataset", name)
        kept = DatasetSpec.model_validate(there.spec) if there else None
        folder = None if root is None else str(root)
        wanted = wanted_dataset(str(source), folder, kept, format=format, task=task)
        applied = self._apply("Dataset", name, to_document(wanted))

        def tell(resource: Resource) -> None:
            done, _, total = str(resource.status.get("progress") or "").partition("/")
            if progress is not None and done.isdigit():
                progress(int(done), int(total) if total.isdigit() else 0)

        try:
            ended = self._following.until_done(applied, tell, stop_requested)
        except UnusableDataError as error:
            report = self._following.report(applied, ImportReport)
            if report is None:
                raise
            raise EmptyImportError(str(error), report) from error
        report = self._following.report(ended, ImportReport)
        if report is None:
            raise UnavailableError(
                f"dataset/{name} is imported ({said_of(ended)}), but its report, which names "
                "labels and refused files, ended with the log of its job"
            )
        return report

    def train(
        self,
        dataset: str,
        *,
        model: str | None = None,
        search: str | None = None,
        progress: Callable[[SearchProgress], None] | None = None,
        stop_requested: StopRequested | None = None,
        **options: Any,
    ) -> TrainReport:
        """Apply a Search and follow it; `options` are those of `wanted_search`."""
        version = self._objects.get("Dataset", dataset).status.get("version")
        if version is None:
            raise NotFoundError(f"dataset/{dataset} has no version yet: is it imported?")
        spec = wanted_search(DatasetRef(name=dataset, version=version), model=model, **options)
        taken = {each.name: each for each in self._objects.list_objects("Search")}
        name = search or free_name(taken, model or dataset)
        check_name(name)
        refuse_other_search(taken.get(name), spec)
        applied = self._apply("Search", name, to_document(spec))
        return self._follow_search(applied, progress, stop_requested)

    def resume_search(
        self,
        name: str,
        *,
        budget: str | None = None,
        trials: int | None = None,
        progress: Callable[[SearchProgress], None] | None = None,
        stop_requested: StopRequested | None = None,
    ) -> TrainReport:
        """Change a Search's budget, take it out of suspension, and follow it.

        Raises:
            InvalidSpecError: it has ended, and no more budget is given.
        """
        there = self._objects.get("Search", name)
        before = SearchSpec.model_validate(there.spec)
        wanted = raised_budget(before, budget, trials)
        changed = there
        if wanted != before:
            changes = {"budget": to_document(wanted.budget), "suspend": wanted.suspend}
            changed = self._objects.change_spec(there, changes)
        elif is_true(there.status, STALLED, there.generation):
            raise InvalidSpecError(
                f"search/{name} has failed ({said_of(there)}): the operator goes on with it "
                "when its spec changes, so give it more with --budget or --trials"
            )
        return self._follow_search(changed, progress, stop_requested)

    def resume_training(
        self,
        name: str,
        *,
        progress: Callable[[TrainingProgress], None] | None = None,
        stop_requested: StopRequested | None = None,
    ) -> TrainingReport:
        """Take a Training out of suspension, and follow it."""
        from strandline.jobs.training import TrainingProgress

        there = self._objects.get("Training", name)
        if TrainingSpec.model_validate(there.spec).suspend:
            there = self._objects.change_spec(there, {"suspend": False})

        def tell(resource: Resource) -> None:
            total = int((resource.spec.get("schedule") or {}).get("epochs") or 0)
            if progress is not None and total:
                progress(TrainingProgress("training", resource.status.get("epoch") or 0, total))

        started = self._platform.clock.monotonic()
        ended = self._following.until_done(there, tell, stop_requested)
        report = self._following.report(ended, TrainingReport)
        if report is not None:
            return report
        status = ended.status
        return TrainingReport(
            training=name,
            model=status.get("model") or "",
            version=status.get("modelVersion") or 0,
            epochs=status.get("epoch") or 0,
            metric=status["metric"],
            value=status["value"],
            seconds=round(self._platform.clock.monotonic() - started, 3),
        )

    def list_datasets(self) -> list[dict[str, Any]]:
        """Return the newest version of each dataset; what only the catalog knows is None."""
        found = self._objects.list_objects("Dataset")
        return [_dataset_line(each) for each in found if each.status.get("version")]

    def list_models(self) -> list[dict[str, Any]]:
        """Return the version of each model that predicts; what only the catalog knows is None."""
        found = self._objects.list_objects("Model")
        return [_model_line(each) for each in found if each.status.get("version")]

    def list_searches(self) -> list[dict[str, Any]]:
        """Return name, dataset, state, trials, best and model of each search, by name."""
        return [search_line(each) for each in self._objects.list_objects("Search")]

    # ------------------------------------------------------------ reading

    def search_progress(self, search: str, **options: Any) -> ProgressReport:
        """Return how a search stands, as `strandline.api.search_progress` does."""
        with compose.reading(self._platform, self._say) as platform:
            return searches.search_progress(search, platform=platform, **options)

    def found_cell(self, search: str, **options: Any) -> FoundCell:
        """Return the cell that a search found, as `strandline.api.found_cell` does."""
        with compose.reading(self._platform, self._say) as platform:
            return searches.found_cell(search, platform=platform, **options)

    def evaluate(self, model: str, **options: Any) -> Evaluation:
        """Evaluate a model here, on images that are read from there."""
        with compose.reading(self._platform, self._say) as platform:
            return models.evaluate(model, platform=platform, **options)

    def predict(self, model: str, paths: Sequence[str | Path], **options: Any) -> Iterator[Any]:
        """Predict images of this machine, here, with a model that is read from there."""
        if is_bundle_file(model):
            return models.predict(model, paths, **options)
        with compose.reading(self._platform, self._say) as platform:
            return models.predict(model, paths, platform=platform, **options)

    def export(self, model: str, **options: Any) -> Sequence[Path]:
        """Write a model that is read from there to a folder of this machine."""
        with compose.reading(self._platform, self._say) as platform:
            return models.export(model, platform=platform, **options)

    # ------------------------------------------------------------ following

    def _apply(self, kind: str, name: str, spec: dict[str, Any]) -> Resource:
        resource, outcome = self._objects.apply(kind, name, {"spec": spec})
        self._say(f"{kind.lower()}/{name} {outcome}")
        return resource

    def _follow_search(
        self,
        applied: Resource,
        progress: Callable[[SearchProgress], None] | None,
        stop_requested: StopRequested | None,
    ) -> TrainReport:
        clock = self._platform.clock
        started = clock.monotonic()

        def tell(resource: Resource) -> None:
            if progress is not None:
                progress(_progress_of(resource, clock.monotonic() - started))

        ended = self._following.until_done(applied, tell, stop_requested)
        report = self._following.report(ended, TrainReport)
        if report is not None:
            return report
        return _report_of(ended, round(clock.monotonic() - started, 3))

    def _find(self, kind: str, name: str) -> Resource | None:
        try:
            return self._objects.get(kind, name)
        except NotFoundError:
            return None


def _progress_of(resource: Resource, elapsed_seconds: float) -> SearchProgress:
    """Return what a Search's status tells of its progress."""
    status = resource.status
    done, _, total = str(status.get("progress") or "").partition("/")
    best = status.get("best")
    counts = status.get("trials") or {}
    ready = get_condition(status, READY) or {"reason": "Pending", "message": "nobody looked yet"}
    working = ready["reason"] in ("Searching", "SearchEnded")
    return SearchProgress(
        trial=None,
        best=_best_trial(resource.uid, best) if best else None,
        counts={state: counts.get(state.value, 0) for state in TrialState},
        elapsed_seconds=elapsed_seconds,
        seconds_left=None,
        value_name=resource.spec["objectives"][0]["metric"],
        stage="searching" if working else f"{ready['reason']}: {ready['message']}",
        done=int(done) if done.isdigit() else 0,
        total=int(total) if total.isdigit() else 0,
    )


def _best_trial(uid: str, best: dict[str, Any]) -> Trial:
    return Trial(
        search=uid,
        number=best["number"],
        candidate={},
        state=TrialState.COMPLETED,
        metrics={best["metric"]: best["value"]},
    )


def _report_of(ended: Resource, seconds: float) -> TrainReport:
    """Return the report of a search whose job's log is gone, as its status tells."""
    status = ended.status
    counts = status.get("trials") or {}
    best = status["best"]
    return TrainReport(
        search=ended.name,
        model=status.get("model") or "",
        version=status.get("modelVersion") or 0,
        trials=counts.get("completed", 0) + counts.get("pruned", 0),
        best=BestValue(metric=best["metric"], value=best["value"]),
        seconds=seconds,
    )


def _dataset_line(resource: Resource) -> dict[str, Any]:
    status = resource.status
    return {
        "dataset": resource.name,
        "version": status["version"],
        "digest": status.get("digest"),
        "task": None,
        "labels": None,
        "label_count": status.get("labels"),
        "items_object": None,
        "items": status.get("items"),
        "labeled": status.get("labeled"),
        "parent": None,
        "created_at": None,
    }


def _model_line(resource: Resource) -> dict[str, Any]:
    status = resource.status
    metric, _, value = str(status.get("headline") or "").partition("=")
    return {
        "model": resource.name,
        "version": status["version"],
        "bundle": status.get("bundle"),
        "task": status.get("task"),
        "labels": None,
        "label_count": status.get("labels"),
        "dataset": status.get("dataset"),
        "dataset_digest": None,
        "search": None,
        "metrics": {metric: float(value)} if value else {},
        "created_at": None,
    }
