"""What a Search's status tells of its trials: while it runs, now and then, and in the end."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from strandline.jobs.progress import forecast_end
from strandline.jobs.search import SearchProgress
from strandline.jobs.status import change_status, with_fields
from strandline.ports import Catalog, Clock, Resource
from strandline.search.ledger import Ledger
from strandline.spec.errors import ConflictError, NotFoundError, UnavailableError
from strandline.spec.lanes import LaneGroup
from strandline.spec.records import TrainReport, Trial, TrialState
from strandline.spec.v1alpha1 import SearchSpec

REPORT_SECONDS = 10.0
FORECAST_SECONDS = 60.0
_ALL = 1_000_000


def search_status(
    spec: SearchSpec, report: TrainReport, trials: Sequence[Trial], groups: Sequence[LaneGroup] = ()
) -> dict[str, Any]:
    """Return the fields of the Search's status that tell how it went."""
    fields = trial_fields(spec, trials) | pool_fields(groups, trials)
    assert "best" in fields, "a search that ended well has a best trial"
    if report.model:
        fields |= {"model": report.model, "modelVersion": report.version}
    return {**fields, "forecast": None}


def trial_fields(spec: SearchSpec, trials: Sequence[Trial]) -> dict[str, Any]:
    """Return the fields that follow from the trials there are."""
    states = [trial.state for trial in trials]
    ended = sum(trial.ended_at is not None for trial in trials)
    fields: dict[str, Any] = {
        "progress": f"{ended}/{spec.budget.trials}" if spec.budget.trials else str(ended),
        "trials": {state.value: states.count(state) for state in TrialState},
        "deviceHours": round(sum(trial.seconds for trial in trials) / 3600, 6),
    }
    ledger = Ledger(spec.objectives)
    for trial in trials:
        ledger.put(trial)
    metric = spec.objectives[0].metric
    if (best := ledger.best()) is not None and metric in best.metrics:
        value = best.metrics[metric]
        fields["best"] = {"number": best.number, "metric": metric, "value": value}
    return fields


def pool_fields(groups: Sequence[LaneGroup], trials: Sequence[Trial]) -> dict[str, Any]:
    """Return the fields that tell of pools and prices; none where there are no pools.

    A worker counts as running while a trial is on one of its devices.
    """
    running = Counter(trial.pool for trial in trials if trial.state is TrialState.RUNNING)
    uses = [
        {
            "name": group.pool,
            "workers": math.ceil(running[group.pool] / group.per_worker),
            "wanted": group.lanes // group.per_worker,
        }
        for group in groups
        if group.compute_pool is not None
    ]
    fields: dict[str, Any] = {"pools": uses} if uses else {}
    if any(trial.cost is not None for trial in trials):
        fields["cost"] = round(sum(trial.cost or 0.0 for trial in trials), 6)
    return fields


@dataclass(slots=True)
class SearchReporter:
    """Writes how a running search stands into its status, at most every few seconds.

    Whoever watches the object sees it there: `kubectl get`, a pipeline, an operator. It is a
    courtesy: what cannot be written now is not worth an error.
    """

    catalog: Catalog
    clock: Clock
    resource: Resource
    then: Callable[[SearchProgress], None] | None = None
    groups: Sequence[LaneGroup] = ()
    reported_at: float = float("-inf")
    forecast_at: float = float("-inf")

    def __call__(self, progress: SearchProgress) -> None:
        """Take note that one of the trials changed, and tell `then` as well."""
        now = self.clock.monotonic()
        if now - self.reported_at >= REPORT_SECONDS:
            self.reported_at = now
            with suppress(ConflictError, NotFoundError, UnavailableError):
                self._report(now, progress.elapsed_seconds)
        if self.then is not None:
            self.then(progress)

    def _report(self, now: float, elapsed_seconds: float) -> None:
        name = self.resource.name
        spec = SearchSpec.model_validate(self.catalog.get_resource("Search", name).spec)
        trials = self.catalog.list_trials(self.resource.uid, limit=_ALL)
        fields = trial_fields(spec, trials) | pool_fields(self.groups, trials)
        if now - self.forecast_at >= FORECAST_SECONDS:
            self.forecast_at = now
            found = forecast_end(spec, trials, elapsed_seconds)
            fields["forecast"] = None if found is None else found.model_dump(mode="json")
        change_status(self.catalog, "Search", name, lambda row: with_fields(row.status, fields))
