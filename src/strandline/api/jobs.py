"""Run the job of an applied object: what agents and pods start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from strandline import compose
from strandline.api.datasets import finished_dataset, work_on_dataset
from strandline.api.running import Advance, StopRequested
from strandline.api.searches import finished_search, work_on_search
from strandline.api.trainings import finished_training, work_on_training
from strandline.compose import Platform
from strandline.jobs.object_job import Finished, run_object_job
from strandline.ports import Resource
from strandline.spec.errors import InvalidSpecError
from strandline.spec.records import ImportReport, TrainingReport, TrainReport

if TYPE_CHECKING:
    from strandline.jobs.search import SearchProgress
    from strandline.jobs.training import TrainingProgress


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
) -> ImportReport | TrainReport | TrainingReport:
    """Run the job of an applied object to its end; the caller holds its run lock."""
    seen = views or JobViews()
    place = platform or compose.local()
    reports: list[ImportReport | TrainReport | TrainingReport] = []

    def body(resource: Resource) -> Finished:
        if kind == "Dataset":
            imported = work_on_dataset(place, resource, None, seen.importing, stop_requested)
            reports.append(imported)
            return finished_dataset(place, imported)
        if kind == "Search":
            searched = work_on_search(place, resource, seen.searching, stop_requested)
            reports.append(searched)
            return finished_search(place, resource, searched)
        if kind == "Training":
            trained = work_on_training(place, resource, seen.training, stop_requested)
            reports.append(trained)
            return finished_training(trained)
        raise InvalidSpecError(f"a {kind} has no job to run")

    run_object_job(place.catalog, place.clock, kind, name, body)
    return reports[-1]
