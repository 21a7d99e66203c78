"""The contract of trial runners over the one in this process and the one on Ray Tune."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from strandline.adapters.ray_session import ray_session
from strandline.adapters.ray_tune import RayTuneRunner
from strandline.ports import Resources, TrialRunner
from strandline.testing.inline_runner import InlineRunner
from strandline.testing.scripted_trials import ScriptedSource, ScriptedTrials
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
