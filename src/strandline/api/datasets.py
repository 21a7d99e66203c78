"""Import datasets, and list them."""

from __future__ import annotations

from pathlib import Path

from strandline import compose
from strandline.adapters.agent import list_all
from strandline.api.checks import check_name, checked
from strandline.api.running import Advance, StopRequested, run_foreground
from strandline.compose import Platform
from strandline.jobs.import_tally import count_refusals
from strandline.jobs.object_job import Finished
from strandline.ports import Resource
from strandline.spec.errors import NotFoundError
from strandline.spec.records import DatasetVersion, ImportReport
from strandline.spec.v1alpha1 import (
    DatasetSpec,
    ImportLimits,
    SourceFormat,
    SplitPolicy,
    TaskChoice,
    to_document,
)


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
    check_name(name)
    spec = wanted_dataset(
        _absolute(str(source)),
        _absolute(str(root)) if root is not None else None,
        _kept(place, name),
        format=format,
        task=task,
        limits=limits,
        split=split,
    )
    place.catalog.apply_resource("Dataset", name, to_document(spec))
    reports: list[ImportReport] = []

    def body(resource: Resource) -> Finished:
        reports.append(work_on_dataset(place, resource, workers, progress, stop_requested))
        return finished_dataset(place, reports[0])

    run_foreground(place, "Dataset", name, body)
    return reports[0]


def wanted_dataset(
    uri: str,
    root: str | None,
    before: DatasetSpec | None,
    *,
    format: SourceFormat | str,  # noqa: A002 – the kind's own word
    task: TaskChoice | str,
    limits: ImportLimits | None = None,
    split: SplitPolicy | None = None,
) -> DatasetSpec:
    """Return the spec that the options of `import_dataset` mean.

    Without a `split` the division stays that a person applied before.

    Raises:
        InvalidSpecError: an option breaks a rule.
    """
    return checked(
        DatasetSpec,
        source={"uri": uri, "format": format, "root": root},
        task=task,
        limits=limits or ImportLimits(),
        split=split or (before.split if before else SplitPolicy()),
    )


def list_datasets(*, platform: Platform | None = None) -> list[DatasetVersion]:
    """Return the newest version of each dataset, by name."""
    place = platform or compose.local()
    found: list[DatasetVersion] = []
    for resource in list_all(place.catalog, "Dataset"):
        versions = place.catalog.list_dataset_versions(resource.name)
        found.extend(versions[-1:])
    return found


def work_on_dataset(
    place: Platform,
    resource: Resource,
    workers: int | None,
    progress: Advance | None,
    stop_requested: StopRequested | None,
) -> ImportReport:
    """Do what the job of a Dataset does."""
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


def finished_dataset(place: Platform, report: ImportReport) -> Finished:
    """Return what such a job says of its Dataset."""
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


def _kept(place: Platform, name: str) -> DatasetSpec | None:
    try:
        return DatasetSpec.model_validate(place.catalog.get_resource("Dataset", name).spec)
    except NotFoundError:
        return None


def _absolute(source: str) -> str:
    """Make a path independent of where the agent would run the job later."""
    return source if "://" in source else str(Path(source).expanduser().absolute())
