"""What every `ports.TrialRunner` keeps, as tests: subclass and say how to make yours.

class TestMyRunner(TrialRunnerContract):
    @pytest.fixture(scope="class")
    @classmethod
    def runner(cls) -> TrialRunner: ...

Starting workers may take seconds, so one run goes through all that happens to trials
(`mixed`), and each test looks at one side of it. A runner with processes of its own
subclasses `WorkerRunnerContract`, which asks for more: it survives what kills them.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from strandline.ports import Resources, StepReport, TrialRunner
from strandline.spec.errors import FailedRunError
from strandline.spec.records import Failure, FailureKind, Scalar
from strandline.testing.scripted_trials import (
    ScriptedSource,
    ScriptedTrials,
    die_at_start,
    fail_to_start,
)

Script = Mapping[str, Mapping[str, Scalar]]

CALM: Script = {
    "one step": {},
    "raises": {"do": "raise"},
    "after an error": {"steps": 1},
    "no memory": {"do": "run_out_of_memory"},
    "not a number": {"do": "diverge"},
    "four steps": {"steps": 4},
    "pruned": {"steps": 9},
    "resumed": {"steps": 5},
    "process": {"do": "tell_process"},
    "process again": {"do": "tell_process"},
}
VIOLENT: Script = {
    "exits": {"do": "exit"},
    "killed": {"do": "kill"},
    "holds": {"do": "hold"},
    "after the crashes": {"steps": 2},
}
TIMEOUT_SECONDS = 3.0


class Mixed:
    """What a run of a script came to, by the names of its trials."""

    def __init__(self, script: Script) -> None:
        self.names = list(script)
        self.source = ScriptedSource(
            list(script.values()),
            prune=frozenset({(self.names.index("pruned"), 2)}),
            checkpoints={self.names.index("resumed"): b"3"},
        )

    def steps(self, name: str) -> list[int]:
        """Return the steps the trial reported."""
        return self.source.steps(self.names.index(name))

    def metrics(self, name: str) -> Mapping[str, float]:
        """Return the metrics the trial reported last."""
        return self.source.metrics(self.names.index(name))

    def failure(self, name: str) -> Failure:
        """Return the trial's one failure."""
        (failure,) = self.source.failures[self.names.index(name)]
        return failure


class TrialRunnerContract:
    """The suite; `runner` may be one object for all tests."""

    script: Script = CALM
    parallelism = 1
    timeout: float | None = None

    @pytest.fixture(scope="class")
    @classmethod
    def runner(cls) -> TrialRunner:
        """Return the runner under test."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def mixed(cls, runner: TrialRunner) -> Mixed:
        """Return what came of one run of the whole script."""
        mixed = Mixed(cls.script)
        runner.run(mixed.source, ScriptedTrials, Resources(), cls.parallelism, cls.timeout)
        return mixed

    def test_every_trial_ends_exactly_once(self, mixed: Mixed) -> None:
        assert sorted(mixed.source.ended) == list(range(len(mixed.names)))

    def test_the_source_is_called_from_the_thread_that_runs(self, mixed: Mixed) -> None:
        assert mixed.source.threads == {threading.get_ident()}

    def test_a_trial_reports_what_it_measured(self, mixed: Mixed) -> None:
        assert mixed.metrics("one step") == {"value": 1.0}

    def test_a_trial_of_several_steps_goes_through_them_in_order(self, mixed: Mixed) -> None:
        assert mixed.steps("four steps") == [1, 2, 3, 4]

    def test_a_trial_goes_on_from_its_checkpoint(self, mixed: Mixed) -> None:
        assert mixed.steps("resumed") == [4, 5]

    def test_a_trial_ends_when_the_source_says_so(self, mixed: Mixed) -> None:
        assert mixed.steps("pruned") == [1, 2]

    def test_an_exception_fails_its_trial_alone_and_says_why(self, mixed: Mixed) -> None:
        expected = Failure(kind=FailureKind.ERROR, message="ValueError: no such colour")
        assert mixed.failure("raises") == expected
        assert mixed.steps("after an error") == [1]

    def test_running_out_of_memory_is_told_from_other_errors(self, mixed: Mixed) -> None:
        assert mixed.failure("no memory").kind is FailureKind.OUT_OF_MEMORY

    def test_runs_that_are_held_go_like_others(self, runner: TrialRunner) -> None:
        with runner.held(1):
            for _ in range(2):
                source = ScriptedSource([{"steps": 2}])
                runner.run(source, ScriptedTrials, Resources(), 1)
                assert source.steps(0) == [1, 2]

    def test_a_value_that_is_not_a_number_is_the_sources_to_judge(self, mixed: Mixed) -> None:
        assert math.isnan(mixed.metrics("not a number")["value"])

    def test_a_step_is_timed_by_the_runner(self, mixed: Mixed) -> None:
        assert all(report.seconds > 0 for report in mixed.source.reports)

    def test_workers_stay_warm_from_trial_to_trial(self, mixed: Mixed) -> None:
        processes = {mixed.metrics(name)["process"] for name in ("process", "process again")}
        assert len(processes) <= self.parallelism

    def test_a_source_that_is_finished_starts_nothing(self, runner: TrialRunner) -> None:
        source = ScriptedSource([])
        runner.run(source, fail_to_start, Resources(), self.parallelism)
        assert (source.ended, source.assigned) == ([], 0)

    def test_a_trainable_that_cannot_be_made_fails_each_trial_with_the_reason(
        self, runner: TrialRunner
    ) -> None:
        source = ScriptedSource([{}, {}, {}])
        runner.run(source, fail_to_start, Resources(), self.parallelism)
        assert sorted(source.ended) == [0, 1, 2]
        told = {failure.message for each in source.failures.values() for failure in each}
        assert told == {"RuntimeError: no weights here"}

    def test_an_error_of_the_source_ends_the_run_and_is_raised(self, runner: TrialRunner) -> None:
        def refuse(report: StepReport) -> None:
            raise OSError("the disk is full")

        source = ScriptedSource([{}] * 20, on_report=refuse)
        with pytest.raises(OSError, match="the disk is full"):
            runner.run(source, ScriptedTrials, Resources(), self.parallelism)
        assert source.assigned <= self.parallelism

    def test_nothing_is_assigned_once_the_source_says_stop(self, runner: TrialRunner) -> None:
        source = ScriptedSource([{"steps": 50}] * 20)
        source.stop_when = lambda: len(source.reports) >= 3
        runner.run(source, ScriptedTrials, Resources(), self.parallelism)
        assert source.ended == []
        assert source.assigned <= self.parallelism


class WorkerRunnerContract(TrialRunnerContract):
    """What a runner keeps besides whose workers are processes of their own."""

    script = MappingProxyType({**CALM, **VIOLENT})
    parallelism = 2
    timeout: float | None = TIMEOUT_SECONDS

    @pytest.mark.parametrize("name", ["exits", "killed"])
    def test_a_worker_that_dies_is_a_crash_of_its_trial(self, mixed: Mixed, name: str) -> None:
        assert mixed.failure(name).kind is FailureKind.CRASH

    def test_a_step_that_never_lets_python_run_ends_at_its_limit(self, mixed: Mixed) -> None:
        expected = Failure(kind=FailureKind.TIMEOUT, message="the step took longer than 3 s")
        assert mixed.failure("holds") == expected

    def test_the_rest_goes_on_after_the_crashes(self, mixed: Mixed) -> None:
        assert mixed.steps("after the crashes") == [1, 2]

    def test_workers_that_die_before_any_trial_end_the_run_with_the_reason(
        self, runner: TrialRunner
    ) -> None:
        source = ScriptedSource([{}] * 3)
        with pytest.raises(FailedRunError, match="workers die before they get a trial"):
            runner.run(source, die_at_start, Resources(), self.parallelism)

    def test_a_step_is_dropped_once_the_source_says_stop(
        self, runner: TrialRunner, tmp_path: Path
    ) -> None:
        source = ScriptedSource([{"do": "sleep", "folder": str(tmp_path)}] * 2)
        source.stop_when = lambda: any(tmp_path.iterdir())
        runner.run(source, ScriptedTrials, Resources(), self.parallelism)
        assert source.ended == []

    def test_as_many_trials_run_at_once_as_were_asked_for(
        self, runner: TrialRunner, tmp_path: Path
    ) -> None:
        source = ScriptedSource([{"do": "meet", "folder": str(tmp_path)}] * 2)
        runner.run(source, ScriptedTrials, Resources(), 2)
        assert sorted(source.ended) == [0, 1]
        assert source.failures == {}
