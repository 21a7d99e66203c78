"""The contract of trial runners over the one in this process and the one on Ray Tune."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from pathlib import Path

import pytest
from tests.servers.processes import newest_called

from strandline.adapters.ray_session import ray_session
from strandline.adapters.ray_tune import RayTuneRunner
from strandline.ports import Assignment, Resources, StepReport, TrialRunner
from strandline.testing.fake_clock import FakeClock
from strandline.testing.inline_runner import InlineRunner
from strandline.testing.scripted_trials import ScriptedSource, ScriptedTrials
from strandline.testing.searches import CurveTrials
from strandline.testing.simulated_runner import SimulatedRunner
from strandline.testing.trial_runner_contract import TrialRunnerContract, WorkerRunnerContract


class TestInlineRunner(TrialRunnerContract):
    @pytest.fixture(scope="class")
    @classmethod
    def runner(cls) -> TrialRunner:
        return InlineRunner()

    def test_a_step_that_was_late_fails_when_it_is_over(self, runner: TrialRunner) -> None:
        source = ScriptedSource([{}])
        runner.run(source, ScriptedTrials, Resources(), 1, step_timeout_seconds=0.0)
        assert source.failures[0][0].kind == "timeout"


@pytest.mark.slow
class TestRayTuneRunner(WorkerRunnerContract):
    """All runs share one Ray, as all searches of one process may."""

    @pytest.fixture(scope="class")
    @classmethod
    def runner(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrialRunner]:
        folder: Path = tmp_path_factory.mktemp("runs")
        with ray_session(None, Resources(), parallelism=2):
            yield RayTuneRunner(folder)

    def test_the_run_survives_the_process_that_carries_orders(self, runner: TrialRunner) -> None:
        def kill_mailbox(report: StepReport) -> None:
            if report.step == 2:
                os.kill(newest_called("ray::Mailbox"), signal.SIGKILL)

        source = ScriptedSource([{"steps": 5}, {}], on_report=kill_mailbox)
        runner.run(source, ScriptedTrials, Resources(), 1)
        assert source.steps(0) == [1, 2, 3, 4, 5]
        assert sorted(source.ended) == [0, 1]


class TestSimulatedRunner(TrialRunnerContract):
    @pytest.fixture(scope="class")
    @classmethod
    def runner(cls) -> TrialRunner:
        return SimulatedRunner(FakeClock())

    def test_a_step_is_timed_by_the_runner(self, mixed: object) -> None:
        """Here a step takes what its report says, on the simulated clock."""
        clock = FakeClock()
        trials = CurveTrials(FakeClock(), steps=3)
        source = ScriptedSource([{"x": 0.5}] * 4)
        SimulatedRunner(clock).run(source, lambda: _Timed(trials), Resources(), 2)
        assert clock.monotonic() == 2 * 3 * 10.0
        assert {report.seconds for report in source.reports} == {10.0}


class _Timed:
    """A trainable that says each of its steps took ten seconds."""

    def __init__(self, trials: CurveTrials) -> None:
        self._trials = copy(trials)

    def reset(self, assignment: Assignment) -> None:
        self._trials.reset(assignment)

    def step(self) -> StepReport:
        return replace(self._trials.step(), seconds=10.0)
