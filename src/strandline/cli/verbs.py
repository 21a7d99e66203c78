"""The verbs of the place that the command line names: `strandline.api`'s, or a cluster's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from strandline.cli.output import note
from strandline.cli.where import where

if TYPE_CHECKING:
    from strandline.bundle.answers import Prediction
    from strandline.jobs.evaluate import Evaluation
    from strandline.jobs.found_cells import FoundCell
    from strandline.spec.progress import ProgressReport
    from strandline.spec.records import ImportReport, TrainingReport, TrainReport


class Verbs(Protocol):
    """What both places can be asked for, with the arguments of `strandline.api`."""

    @property
    def import_dataset(self) -> Callable[..., ImportReport]: ...
    @property
    def train(self) -> Callable[..., TrainReport]: ...
    @property
    def resume_search(self) -> Callable[..., TrainReport]: ...
    @property
    def resume_training(self) -> Callable[..., TrainingReport]: ...
    @property
    def found_cell(self) -> Callable[..., FoundCell]: ...
    @property
    def search_progress(self) -> Callable[..., ProgressReport]: ...
    @property
    def evaluate(self) -> Callable[..., Evaluation]: ...
    @property
    def predict(self) -> Callable[..., Iterator[Prediction]]: ...
    @property
    def export(self) -> Callable[..., Sequence[Path]]: ...
    @property
    def list_datasets(self) -> Callable[..., Sequence[Any]]: ...
    @property
    def list_models(self) -> Callable[..., Sequence[Any]]: ...
    @property
    def list_searches(self) -> Callable[..., list[dict[str, Any]]]: ...


def verbs() -> Verbs:
    """Return the verbs of the place that the command line names."""
    from strandline import api, compose

    chosen = where()
    if not chosen.cluster:
        return api
    platform = compose.cluster(chosen.kubeconfig, chosen.context, chosen.namespace)
    from strandline.api.on_cluster import ClusterVerbs

    return ClusterVerbs(platform, note)
