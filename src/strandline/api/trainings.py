"""Train networks fully."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from strandline import compose
from strandline.api.running import StopRequested, run_foreground, train_place
from strandline.compose import Platform
from strandline.jobs.object_job import Finished
from strandline.ports import Resource
from strandline.spec.records import TrainingReport
from strandline.spec.v1alpha1 import TrainingSpec, to_document

if TYPE_CHECKING:
    from strandline.jobs.training import TrainingProgress


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
        reports.append(work_on_training(place, resource, progress, stop_requested))
        return finished_training(reports[0])

    run_foreground(place, "Training", name, body)
    return reports[0]


def work_on_training(
    place: Platform,
    resource: Resource,
    progress: Callable[[TrainingProgress], None] | None,
    stop_requested: StopRequested | None,
) -> TrainingReport:
    """Do what the job of a Training does."""
    from strandline.jobs.training import train_network

    return train_network(
        resource,
        train_place(place, resource),
        progress=progress,
        stop_requested=stop_requested,
    )


def finished_training(report: TrainingReport) -> Finished:
    """Return what such a job says of its Training."""
    made = f"; {report.model} version {report.version} came of it" if report.model else ""
    fields: dict[str, Any] = {
        "epoch": report.epochs,
        "metric": report.metric,
        "value": report.value,
        "workers": None,
    }
    if report.model:
        fields |= {"model": report.model, "modelVersion": report.version}
    return Finished(
        reason="Trained",
        message=f"{report.epochs} epochs, {report.metric} {report.value:.4f}{made}.",
        fields=fields,
    )
