"""A trial on a group of workers of this machine's own Ray."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from strandline.adapters.ray_group import RayGroupRunner
from strandline.adapters.ray_session import ray_session
from strandline.ports import GroupSize, Resources
from strandline.spec.errors import InvalidSpecError
from strandline.spec.records import FailureKind
from strandline.testing.group_trials import GroupScript, Together, Training
from strandline.testing.inline_runner import InlineRunner
from strandline.testing.scripted_trials import ScriptedTrials, fail_to_start

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
PAIR = GroupSize(2, 2)


@pytest.fixture(scope="module")
def here() -> Iterator[RayGroupRunner]:
    """Groups on a Ray of this process, with room for two."""
    with ray_session(None, Resources(), 2):
        yield RayGroupRunner(InlineRunner(), "unused: this process has joined it")


def test_every_step_is_one_of_all_workers(here: RayGroupRunner, tmp_path: Path) -> None:
    source = GroupScript([{"steps": 3}])
    here.run_group(source, Together(tmp_path), Resources(), PAIR)
    assert source.steps(0) == [1, 2, 3]
    assert [report.metrics["total"] for report in source.reports] == [3.0, 3.0, 3.0]
    assert len({report.metrics["process"] for report in source.reports}) == 1
    assert source.workers == [(2, 2, "")]
    assert all(report.seconds > 0 for report in source.reports)


def test_a_killed_rank_is_a_crash_and_the_group_goes_on_from_the_last_step(
    here: RayGroupRunner, tmp_path: Path
) -> None:
    training = Training(tmp_path / "place", steps=4)
    trainable = Together(tmp_path, die=(1, 3))
    here.run_group(training.source, trainable, Resources(), PAIR)
    assert training.source.complete
    assert training.epochs == [1, 2, 3, 4]
    assert (tmp_path / "died").exists()
    assert training.workers == [(2, ""), (2, "")]


def test_an_error_in_one_worker_is_the_trials_and_says_why(
    here: RayGroupRunner, tmp_path: Path
) -> None:
    source = GroupScript([{"do": "raise"}, {"do": "nothing"}])
    here.run_group(source, ScriptedTrials, Resources(), PAIR)
    assert [each.message for each in source.failures[0]] == ["ValueError: no such colour"]
    assert source.steps(1) == [1]


def test_a_trainable_that_cannot_be_made_fails_the_trial(here: RayGroupRunner) -> None:
    source = GroupScript([{}])
    here.run_group(source, fail_to_start, Resources(), PAIR)
    assert [each.message for each in source.failures[0]] == ["RuntimeError: no weights here"]


def test_a_step_that_never_lets_python_run_ends_at_its_limit(here: RayGroupRunner) -> None:
    source = GroupScript([{"do": "hold"}])
    here.run_group(source, ScriptedTrials, Resources(), PAIR, step_timeout_seconds=15.0)
    assert [each.kind for each in source.failures[0]] == [FailureKind.TIMEOUT]


def test_a_step_is_dropped_once_the_source_says_stop(here: RayGroupRunner, tmp_path: Path) -> None:
    source = GroupScript([{"do": "sleep", "folder": str(tmp_path)}])
    source.stop_when = lambda: any(tmp_path.iterdir())
    here.run_group(source, ScriptedTrials, Resources(), PAIR)
    assert source.ended == []


def test_one_worker_runs_as_any_trial_does(here: RayGroupRunner) -> None:
    source = GroupScript([{"do": "tell_process"}])
    here.run_group(source, ScriptedTrials, Resources(), GroupSize())
    assert source.metrics(0)["process"] == os.getpid()


def test_a_machine_that_is_too_small_is_told_before_anything_starts() -> None:
    runner = RayGroupRunner(InlineRunner())
    with pytest.raises(InvalidSpecError, match="4096 workers are needed and this machine has"):
        runner.run_group(GroupScript([{}]), ScriptedTrials, Resources(), GroupSize(5000, 4096))
