"""Runs of one job share a Ray of their own, as long as it is large enough and well."""

from __future__ import annotations

from pathlib import Path

import pytest

from strandline.adapters.ray_tune import RayTuneRunner
from strandline.ports import Resources, StepReport
from strandline.testing.scripted_trials import ScriptedSource, ScriptedTrials

# isort: split
# After the adapter, which sets what Ray reads when it is imported.
import ray

pytestmark = pytest.mark.slow


class Runs:
    """One runner, run again and again; notes which Ray each run was on."""

    def __init__(self, folder: Path) -> None:
        self.runner = RayTuneRunner(folder)
        self.nodes: list[str] = []

    def run(self, parallelism: int, error: Exception | None = None) -> None:
        """Run one trial; `error` is raised where its result is taken."""

        def look(report: StepReport) -> None:
            self.nodes.append(ray.get_runtime_context().get_node_id())
            if error is not None:
                raise error

        source = ScriptedSource([{}], on_report=look)
        self.runner.run(source, ScriptedTrials, Resources(), parallelism)
        assert source.ended == [0]


def test_runs_share_a_ray_until_one_is_wider(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    with runs.runner.held(1):
        assert not ray.is_initialized(), "the first run starts it"
        for parallelism in (1, 1, 2, 1):
            runs.run(parallelism)
        assert ray.is_initialized()
    assert not ray.is_initialized()
    first, second, third, fourth = runs.nodes
    assert first == second != third == fourth


def test_the_ray_of_a_failed_run_is_not_used_again(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    with runs.runner.held(2):
        with pytest.raises(OSError, match="no room"):
            runs.run(1, OSError("no room"))
        assert not ray.is_initialized()
        runs.run(2)
    first, second = runs.nodes
    assert first != second


def test_without_being_held_each_run_has_its_own(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    for _ in range(2):
        runs.run(1)
        assert not ray.is_initialized()
    assert len(set(runs.nodes)) == 2
