"""A client of Katib's Suggestion service as Katib itself would have it, and its controller's part.

The client is what protoc makes of the published definition, unchanged. `Controller` does
what Katib's controller does around it: it keeps the trials, starts `parallel` of them,
and sends all of them with each request.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

_DEFINITION = Path(__file__).parents[2] / "protos" / "strandline" / "wire" / "katib"
_START = datetime(2026, 1, 1, tzinfo=UTC)

Assignments = dict[str, str]
Objective = Callable[[Assignments], float | None]
"""The value of a trial, None when the trial fails."""


def compile_client(folder: Path) -> tuple[ModuleType, ModuleType]:
    """Return the modules (messages, services) that protoc makes, as in Katib's own tree."""
    from grpc_tools import protoc  # type: ignore[import-untyped]  # publishes no types

    text = (_DEFINITION / "suggestion.proto").read_text("utf-8")
    (folder / "api.proto").write_text(text, "utf-8")
    outs = [f"--python_out={folder}", f"--grpc_python_out={folder}"]
    assert protoc.main(["protoc", f"-I{folder}", *outs, "api.proto"]) == 0
    with _on_path(folder):
        return importlib.import_module("api_pb2"), importlib.import_module("api_pb2_grpc")


@contextmanager
def _on_path(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


class Controller:
    """The part of Katib's controller that asks for suggestions and runs trials.

    Trials end one after the other, the oldest first, except that every seventh ends late.

    Args:
        stub: called before each request, as the server may be another one by then.
        total: trials that are started in all.
    """

    def __init__(
        self, api: Any, stub: Callable[[], Any], experiment: Any, total: int, parallel: int = 3
    ) -> None:
        self._api = api
        self._stub = stub
        self._experiment = experiment
        self._total = total
        self._parallel = parallel
        self.trials: list[Any] = []

    def run(self, objective: Objective, until: int | None = None) -> None:
        """Go on until so many trials have ended, all if None."""
        while self._ended() < (self._total if until is None else until):
            missing = min(self._parallel, self._total - self._ended()) - len(self._running())
            if missing > 0:
                self._start(missing)
            self._end_one(objective)

    def assignments(self) -> list[Assignments]:
        """Return what was suggested, in order."""
        return [_assignments(trial) for trial in self.trials]

    def values(self) -> list[float]:
        """Return the values of the trials that succeeded, in order."""
        found = [trial.status.observation.metrics for trial in self.trials]
        return [float(metrics[0].value) for metrics in found if metrics]

    def _start(self, missing: int) -> None:
        request = self._api.GetSuggestionsRequest(
            experiment=self._experiment,
            # Katib lists trials in no particular order.
            trials=sorted(self.trials, key=lambda trial: hash_of(trial.name)),
            current_request_number=missing,
            total_request_number=len(self.trials) + missing,
        )
        reply = self._stub().GetSuggestions(request, wait_for_ready=True, timeout=60)
        assert len(reply.parameter_assignments) == missing, "Katib refuses any other number"
        for entry in reply.parameter_assignments:
            trial = self._api.Trial(name=f"trial-{len(self.trials):04}")
            trial.spec.parameter_assignments.assignments.extend(entry.assignments)
            trial.spec.objective.CopyFrom(self._experiment.spec.objective)
            trial.status.condition = self._api.TrialStatus.RUNNING
            trial.status.start_time = self._now()
            self.trials.append(trial)

    def _end_one(self, objective: Objective) -> None:
        running = self._running()
        late = len(running) > 1 and int(running[0].name[-4:]) % 7 == 0
        trial = running[1] if late else running[0]
        value = objective(_assignments(trial))
        trial.status.completion_time = self._now(ended=1)
        if value is None:
            trial.status.condition = self._api.TrialStatus.FAILED
            return
        trial.status.condition = self._api.TrialStatus.SUCCEEDED
        name = self._experiment.spec.objective.objective_metric_name
        trial.status.observation.metrics.add(name=name, value=repr(value))

    def _running(self) -> list[Any]:
        return [t for t in self.trials if t.status.condition == self._api.TrialStatus.RUNNING]

    def _ended(self) -> int:
        return len(self.trials) - len(self._running())

    def _now(self, ended: int = 0) -> str:
        # Two trials a second: Katib's times are whole seconds, so some ends coincide.
        passed = timedelta(seconds=(self._ended() + ended) // 2)
        return (_START + passed).strftime("%Y-%m-%dT%H:%M:%SZ")


def _assignments(trial: Any) -> Assignments:
    return {each.name: each.value for each in trial.spec.parameter_assignments.assignments}


def hash_of(name: str) -> int:
    """Return a number that shuffles names the same way in every run."""
    return int.from_bytes(name[::-1].encode(), "big") % 7919


def make_experiment(
    api: Any, algorithm: str, parameters: Mapping[str, Mapping[str, Any]], **settings: str
) -> Any:
    """Return an Experiment message; `parameters` gives type and feasible space by name."""
    experiment = api.Experiment(name=f"{algorithm}-experiment")
    experiment.spec.objective.type = api.MINIMIZE
    experiment.spec.objective.objective_metric_name = "loss"
    experiment.spec.algorithm.algorithm_name = algorithm
    for name, value in settings.items():
        experiment.spec.algorithm.algorithm_settings.add(name=name, value=value)
    for name, space in parameters.items():
        entry = experiment.spec.parameter_specs.parameters.add(name=name)
        entry.parameter_type = api.ParameterType.Value(str(space["type"]).upper())
        for field in ("min", "max", "step"):
            setattr(entry.feasible_space, field, space.get(field, ""))
        entry.feasible_space.list.extend(space.get("list", ()))
        entry.feasible_space.distribution = api.Distribution.Value(
            space.get("distribution", "DISTRIBUTION_UNSPECIFIED")
        )
    return experiment
