"""What a training that runs says in its status: epochs, workers, and what it waits for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from strandline.jobs.status import change_status, with_fields
from strandline.ports import Catalog, Clock, Resource
from strandline.spec.conditions import (
    RECONCILING,
    WAITING_FOR_WORKERS,
    Why,
    get_condition,
    mark_working,
)
from strandline.spec.records import Trial


class TrainingReporter:
    """Writes the status of one training.

    Args:
        resource: as it was when this run began: hours that earlier runs spent are in its status.
    """

    def __init__(self, catalog: Catalog, clock: Clock, resource: Resource, metric: str) -> None:
        self._catalog, self._clock, self._resource = catalog, clock, resource
        self._metric = metric
        self._hours_before = float(resource.status.get("deviceHours") or 0.0)

    def epoch_over(self, trial: Trial, device_seconds: float) -> None:
        """Tell of an epoch, and of the time that this run spent on all devices."""
        hours = self._hours_before + device_seconds / 3600
        fields: dict[str, Any] = {
            "epoch": trial.step,
            "metric": self._metric,
            "value": trial.metrics[self._metric],
            "deviceHours": round(hours, 6),
        }
        if trial.cost is not None:
            fields["cost"] = round(trial.cost, 6)
        self._change(fields)

    def workers_changed(self, workers: int, waiting: str) -> None:
        """Tell how many workers learn now, or why none do."""
        self._change({"workers": workers}, waiting)

    def workers_left(self) -> None:
        """Tell that nobody learns any more."""
        self._change({"workers": None})

    def _change(self, fields: Mapping[str, Any], waiting: str = "") -> None:
        def changed(now: Resource) -> Mapping[str, Any]:
            status = with_fields(now.status, fields)
            said = get_condition(status, RECONCILING)
            waited = said is not None and said["reason"] == WAITING_FOR_WORKERS
            if waiting:
                return mark_working(status, self._why(WAITING_FOR_WORKERS, waiting))
            if waited:
                return mark_working(status, self._why("Training", "The job runs."))
            return status

        change_status(self._catalog, "Training", self._resource.name, changed)

    def _why(self, reason: str, message: str) -> Why:
        return Why(reason, message, self._resource.generation, self._clock.now())
