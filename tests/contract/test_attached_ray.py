"""The contract of trial runners over a Ray of several nodes, and what only such a Ray does.

The driver's home and folders are no worker's, the head has no CPUs, and nodes are killed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.servers.processes import processes_with
from tests.servers.ray import PATIENCE_SECONDS, Node, RayCluster, ray_cluster

from strandline.adapters.ray_session import ray_session
from strandline.adapters.ray_tune import RayTuneRunner, lane_places, lane_shapes
from strandline.ports import HERE, Assignment, Resources, StepReport, TrialRunner, Workplace
from strandline.spec.errors import UnavailableError
from strandline.spec.lanes import NO_POOL, LaneGroup, read_lanes, write_lanes
from strandline.spec.records import FailureKind
from strandline.spec.settings import load_settings
from strandline.testing.scripted_trials import ScriptedSource
from strandline.testing.trial_runner_contract import WorkerRunnerContract

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with ray_cluster() as running:
        yield running


@pytest.fixture(scope="module")
def joined(cluster: RayCluster) -> Iterator[Node]:
    """A worker of the Ray that this process is the driver of."""
    worker = cluster.start_worker()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in cluster.environ.items():
            patch.setenv(name, value)
        with ray_session(cluster.address, Resources(), parallelism=2):
            yield worker


@pytest.fixture(scope="module")
def attached(joined: Node, tmp_path_factory: pytest.TempPathFactory) -> TrialRunner:
    return RayTuneRunner(tmp_path_factory.mktemp("runs"), "unused: this process has joined it")


class TestAttachedRay(WorkerRunnerContract):
    @pytest.fixture(scope="class")
    @classmethod
    def runner(cls, attached: TrialRunner) -> TrialRunner:
        return attached


@dataclass
class _Looks:
    """A trainable that tells where it is, slowly enough to be disturbed."""

    marks: Path
    seconds: float = 0.0

    def __call__(self) -> _Looks:
        return self

    def reset(self, assignment: Assignment) -> None:
        self._number = assignment.number
        self._steps = int(str(assignment.candidate.get("steps", 1)))
        self._step = int(assignment.checkpoint or b"0")

    def step(self) -> StepReport:
        time.sleep(self.seconds)
        self._step += 1
        place = load_settings().cache_dir
        with (self.marks / f"{self._number}-{self._step}").open("a") as mark:
            mark.write(f"{place} {os.environ.get('RAY_ADDRESS', '')}\n")
        checkpoint = str(self._step).encode()
        done = self._step >= self._steps
        return StepReport(self._number, self._step, {"value": 1.0}, done, 0.0, checkpoint)


def test_trials_see_the_home_of_their_own_node(
    attached: TrialRunner, joined: Node, tmp_path: Path
) -> None:
    source = ScriptedSource([{}])
    attached.run(source, _Looks(tmp_path), Resources(), 1)
    assert str(joined.home) in (tmp_path / "0-1").read_text()


def test_lanes_go_to_the_nodes_of_their_pool(
    cluster: RayCluster, joined: Node, tmp_path: Path
) -> None:
    other = cluster.start_worker(cpus=1, pool="other")
    groups = (LaneGroup("other", lanes=1),)
    source = ScriptedSource([{}, {}])
    RayTuneRunner(tmp_path / "runs", "joined", groups).run(source, _Looks(tmp_path), Resources(), 4)
    for number in (0, 1):
        assert str(other.home) in (tmp_path / f"{number}-1").read_text()


def test_a_trial_whose_node_is_killed_is_told_as_lost_and_the_next_node_goes_on(
    cluster: RayCluster, joined: Node, tmp_path: Path
) -> None:
    doomed = cluster.start_worker(cpus=1, pool="spot")
    after: list[Node] = []

    def replace_node() -> None:
        doomed.kill()
        after.append(cluster.start_worker(cpus=1, pool="spot"))

    def kill_node(report: StepReport) -> None:
        if (report.number, report.step) == (0, 2):
            threading.Thread(target=replace_node).start()

    source = ScriptedSource([{"steps": 200}, {}], on_report=kill_node)
    groups = (LaneGroup("spot", lanes=1, hourly_price=0.5),)
    runner = RayTuneRunner(tmp_path / "runs", "joined", groups)
    runner.run(source, _Looks(tmp_path, seconds=0.2), Resources(), 1)
    assert [failure.kind for failure in source.failures[0]] == [FailureKind.LOST]
    assert sorted(source.ended) == [0, 1]
    assert set(source.places) == {Workplace("spot", 0.5)}
    assert str(after[0].home) in (tmp_path / "1-1").read_text()


DRIVER = """
import sys
from pathlib import Path
from strandline.adapters.ray_tune import RayTuneRunner
from strandline.ports import Resources
from strandline.testing.scripted_trials import ScriptedSource, ScriptedTrials

runs, folder, address, action = sys.argv[1:]
source = ScriptedSource([{"do": action, "folder": folder}])
RayTuneRunner(Path(runs), address).run(source, ScriptedTrials, Resources(), 1)
assert source.ended == [0] and not source.failures
"""


def start_driver(
    cluster: RayCluster, tmp_path: Path, address: str, action: str, **environ: str
) -> subprocess.Popen[str]:
    folder = tmp_path / "begun"
    folder.mkdir()
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(tmp_path / "runs"), str(folder), address, action],
        env={**os.environ, **cluster.environ, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_driver_on_a_node_of_that_ray_starts_no_node_of_its_own(
    cluster: RayCluster, joined: Node, tmp_path: Path
) -> None:
    """As KubeRay starts it: on the head, with RAY_ADDRESS in its environment."""
    driver = start_driver(cluster, tmp_path, "auto", "nothing", RAY_ADDRESS=cluster.address)
    out, err = driver.communicate(timeout=PATIENCE_SECONDS)
    assert (driver.returncode, out, err) == (0, "", "")


def test_a_killed_driver_takes_its_node_along(
    cluster: RayCluster, joined: Node, tmp_path: Path
) -> None:
    # Not below tmp_path: the paths of Ray's sockets must stay under 107 bytes.
    with tempfile.TemporaryDirectory(prefix="d-") as temporary:
        environ = {"TMPDIR": temporary}
        driver = start_driver(cluster, tmp_path, cluster.address, "sleep", **environ)
        wait_until(lambda: any((tmp_path / "begun").iterdir()) or driver.poll() is not None)
        assert driver.poll() is None, driver.communicate()
        driver.kill()
        driver.communicate()
        wait_until(lambda: not processes_with(f"TMPDIR={temporary}"))


def wait_until(holds: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.1)


def test_a_wrong_token_is_refused_with_the_reason(
    cluster: RayCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from strandline.adapters.ray_driver_node import driver_node

    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    with (
        pytest.raises(UnavailableError, match="Authentication token is missing or incorrect"),
        driver_node(cluster.address, tmp_path, 100_000_000),
    ):
        pytest.fail("the node was taken")


def test_lanes_fill_the_preferred_pools_first() -> None:
    groups = (
        LaneGroup("a100", 2, 4.0, {"GPU": 1.0}, hourly_price=2.5),
        LaneGroup("tpu", 2, 8.0, {"TPU": 4.0}, hosts=4),
    )
    first = [{"CPU": 4.0, "pool-a100": 1.0, "GPU": 1.0}]
    second = [{"CPU": 8.0, "pool-tpu": 1.0, "TPU": 4.0}] * 4
    assert lane_shapes(groups, Resources(), 3) == [first, first, second]
    assert lane_shapes(groups, Resources(), 9) == [first, first, second, second]
    assert lane_shapes((), Resources(cpus=2), 2) == [[{"CPU": 2}], [{"CPU": 2}]]
    places = lane_places(groups)
    assert places == [Workplace("a100", 2.5)] * 2 + [Workplace("tpu")] * 2
    assert lane_places((LaneGroup(NO_POOL, 1),)) == [HERE]
    assert read_lanes(write_lanes(groups)) == groups
