"""Between Katib's messages and our records of them."""

from __future__ import annotations

from collections.abc import Sequence

from strandline.jobs.katib.declared import Declared
from strandline.jobs.katib.requests import (
    Assignments,
    Condition,
    Experiment,
    NasConfig,
    Operation,
    Request,
)
from strandline.wire.katib import suggestion_pb2 as wire

_TYPES = {
    wire.DOUBLE: "double",
    wire.INT: "int",
    wire.DISCRETE: "discrete",
    wire.CATEGORICAL: "categorical",
}
_DISTRIBUTIONS = {
    wire.DISTRIBUTION_UNSPECIFIED: "",
    wire.UNIFORM: "uniform",
    wire.LOG_UNIFORM: "logUniform",
    wire.NORMAL: "normal",
    wire.LOG_NORMAL: "logNormal",
}
_GOALS = {wire.MINIMIZE: "minimize", wire.MAXIMIZE: "maximize"}
# All others are pending: whatever becomes of them, they must not be suggested again.
_CONDITIONS = {
    wire.TrialStatus.SUCCEEDED: Condition.SUCCEEDED,
    wire.TrialStatus.EARLYSTOPPED: Condition.STOPPED_EARLY,
    wire.TrialStatus.KILLED: Condition.FAILED,
    wire.TrialStatus.FAILED: Condition.FAILED,
    wire.TrialStatus.METRICSUNAVAILABLE: Condition.FAILED,
}


def read_request(message: wire.GetSuggestionsRequest) -> Request:
    """Return what is asked for."""
    experiment = read_experiment(message.experiment)
    trials = [_Trial(trial, experiment.metric) for trial in message.trials]
    given = message.total_request_number - message.current_request_number
    return Request(experiment, trials, message.current_request_number, max(0, given))


def read_experiment(message: wire.Experiment) -> Experiment:
    """Return the Experiment; nothing of it is checked yet."""
    spec = message.spec
    return Experiment(
        name=message.name,
        parameters=_read_parameters(spec.parameter_specs.parameters),
        goal=_GOALS.get(spec.objective.type, ""),
        metric=spec.objective.objective_metric_name,
        algorithm=spec.algorithm.algorithm_name,
        settings=tuple((each.name, each.value) for each in spec.algorithm.algorithm_settings),
        most_trials=spec.max_trial_count,
        nas=_read_nas(spec.nas_config) if spec.HasField("nas_config") else None,
    )


def write_reply(suggestions: Sequence[Assignments]) -> wire.GetSuggestionsReply:
    """Return the reply that carries `suggestions`."""
    reply = wire.GetSuggestionsReply()
    for assignments in suggestions:
        entry = reply.parameter_assignments.add()
        for name, value in assignments:
            entry.assignments.add(name=name, value=value)
    return reply


def _read_parameters(messages: Sequence[wire.ParameterSpec]) -> tuple[Declared, ...]:
    return tuple(
        Declared(
            name=each.name,
            type=_TYPES.get(each.parameter_type, "unknown"),
            min=each.feasible_space.min,
            max=each.feasible_space.max,
            step=each.feasible_space.step,
            values=tuple(each.feasible_space.list),
            distribution=_DISTRIBUTIONS.get(each.feasible_space.distribution, "unknown"),
        )
        for each in messages
    )


def _read_nas(message: wire.NasConfig) -> NasConfig:
    graph = message.graph_config
    operations = tuple(
        Operation(each.operation_type, _read_parameters(each.parameter_specs.parameters))
        for each in message.operations.operation
    )
    return NasConfig(
        graph.num_layers, tuple(graph.input_sizes), tuple(graph.output_sizes), operations
    )


class _Trial:
    """`requests.Trial` over a message."""

    __slots__ = ("_message", "_metric", "condition", "ended", "key")

    def __init__(self, message: wire.Trial, metric: str) -> None:
        status = message.status
        self._message = message
        self._metric = metric
        self.condition = _CONDITIONS.get(status.condition, Condition.PENDING)
        self.key = message.spec.parameter_assignments.SerializeToString()
        self.ended = ""
        if self.condition is not Condition.PENDING:
            self.ended = status.completion_time
            self.key += b"=" + status.SerializeToString()

    @property
    def assignments(self) -> Assignments:
        given = self._message.spec.parameter_assignments.assignments
        return tuple((each.name, each.value) for each in given)

    @property
    def value(self) -> str | None:
        found = None
        for metric in self._message.status.observation.metrics:
            if metric.name == self._metric:
                found = metric.value
        return found
