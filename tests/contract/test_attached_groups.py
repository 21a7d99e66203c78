"""A trial on a group of workers of a Ray whose nodes are killed and come back.

Apart from the groups of this machine, for a process joins one Ray at a time.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.servers.ray import PATIENCE_SECONDS, Node, RayCluster, ray_cluster

from strandline.adapters.ray_group import RayGroupRunner
from strandline.adapters.ray_session import ray_session
from strandline.ports import GroupSize, Resources
from strandline.spec.lanes import LaneGroup
from strandline.spec.records import FailureKind
from strandline.testing.group_trials import GroupScript, Together, Training
from strandline.testing.inline_runner import InlineRunner

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
PAIR = GroupSize(2, 2)


@dataclass
class Pool:
    """Nodes with one CPU each, that come and go."""

    cluster: RayCluster
    nodes: list[Node] = field(default_factory=list)

    def add(self) -> None:
        self.nodes.append(self.cluster.start_worker(cpus=1, pool="learn"))

    def kill_last(self) -> None:
        self.nodes.pop().kill()

    def later(self, change: Callable[[], None]) -> Callable[[], None]:
        """Return what makes the change while the training goes on."""
        return lambda: threading.Thread(target=change).start()


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with ray_cluster() as cluster, pytest.MonkeyPatch.context() as patch:
        for name, value in cluster.environ.items():
            patch.setenv(name, value)
        made = Pool(cluster)
        made.add()
        made.add()
        with ray_session(cluster.address, Resources(), parallelism=2):
            yield made


def attached(patience_seconds: float = 120.0) -> RayGroupRunner:
    lanes = (LaneGroup("learn", lanes=2),)
    return RayGroupRunner(InlineRunner(), "unused: joined", lanes, patience_seconds)


def test_a_group_goes_on_without_a_lost_node_and_grows_when_one_comes(
    pool: Pool, tmp_path: Path
) -> None:
    training = Training(tmp_path / "place", steps=500)
    trainable = Together(tmp_path, seconds=0.5)
    alone = threading.Event()

    def watch(workers: int, waiting: str) -> None:
        training.workers.append((workers, waiting))
        if workers == 1 and not alone.is_set():
            alone.set()
            threading.Thread(target=pool.add).start()
        elif workers == 2 and alone.is_set():
            (tmp_path / "enough").touch()

    training.source._on_workers = watch  # the source tells whoever asked at its start
    training.after[2] = pool.later(pool.kill_last)
    attached().run_group(training.source, trainable, Resources(), GroupSize(2, 1))
    assert training.source.complete
    last = training.epochs[-1]
    assert training.epochs == list(range(1, last + 1))
    assert [count for count, _ in training.workers] == [2, 1, 2]
    assert trainable.ranks(last) == {2}


def test_below_the_fewest_workers_it_waits_says_so_and_goes_on(pool: Pool, tmp_path: Path) -> None:
    training = Training(tmp_path / "place", steps=8)
    back = threading.Event()

    def watch(workers: int, waiting: str) -> None:
        training.workers.append((workers, waiting))
        if waiting and not back.is_set():
            back.set()
            threading.Thread(target=pool.add).start()

    training.source._on_workers = watch
    training.after[2] = pool.later(pool.kill_last)
    attached().run_group(training.source, Together(tmp_path, seconds=0.5), Resources(), PAIR)
    assert training.source.complete
    assert training.epochs == list(range(1, 9))
    counts = [count for count, _ in training.workers]
    assert (counts[0], counts[-1]) == (2, 2)
    assert (0, "1 worker is there, and at least 2 must be.") in training.workers


def test_without_enough_workers_for_long_it_fails_as_lost(pool: Pool, tmp_path: Path) -> None:
    source = GroupScript([{"steps": 1}])
    attached(patience_seconds=1.0).run_group(
        source, Together(tmp_path), Resources(), GroupSize(3, 3)
    )
    (failure,) = source.failures[0]
    assert failure.kind is FailureKind.LOST
    assert failure.message == "fewer than 3 workers for 1 s"


DRIVER = """
import sys
from strandline.adapters.ray_group import RayGroupRunner
from strandline.ports import GroupSize, Resources
from strandline.spec.lanes import LaneGroup
from strandline.testing.inline_runner import InlineRunner
from strandline.testing.scripted_trials import ScriptedSource, ScriptedTrials

class Source(ScriptedSource):
    def workers_changed(self, workers, devices, waiting=""):
        pass

address, folder = sys.argv[1:]
runner = RayGroupRunner(InlineRunner(), address, (LaneGroup("learn", lanes=2),))
source = Source([{"do": "sleep", "folder": folder}])
runner.run_group(source, ScriptedTrials, Resources(), GroupSize(2, 2))
"""


def test_what_a_killed_driver_held_is_there_for_the_next_one(pool: Pool, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    begun.mkdir()
    words = [sys.executable, "-c", DRIVER, pool.cluster.address, str(begun)]
    driver = subprocess.Popen(words, env={**os.environ, **pool.cluster.environ})
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not any(begun.iterdir()):
        assert driver.poll() is None
        assert time.monotonic() < give_up, "the driver's group does not start"
        time.sleep(0.1)
    driver.kill()
    driver.wait()
    source = GroupScript([{"steps": 2}])
    attached().run_group(source, Together(tmp_path), Resources(), PAIR)
    assert source.steps(0) == [1, 2]
    assert source.failures == {}
