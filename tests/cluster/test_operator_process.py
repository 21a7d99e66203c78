"""The operator as a process: two of them, killed while they lead, and told to stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from tests.cluster.control_plane import ControlPlane
from tests.cluster.operator_place import DATASET, DEFAULT_JOBS, SEARCH, World, bare_plane
from tests.servers.loopback import free_port
from tests.servers.postgres import PostgresServer

from strandline.adapters.kube.resources import EVENTS, LEASES, ObjectKey
from strandline.adapters.sql import Database

pytestmark = [pytest.mark.apiserver, pytest.mark.postgres, pytest.mark.slow]

MAIN = Path(__file__).parents[2] / "operators" / "strandline" / "main.py"
LEASE = ObjectKey("default", "strandline-operator")
SECONDS = 180.0


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with bare_plane(tmp_path_factory.mktemp("operator")) as made:
        yield made


class Processes:
    """Operators that watch one world."""

    def __init__(self, world: World, url: str, folder: Path) -> None:
        self.world = world
        self._url = url
        self._folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        """Start the operator `name`; its log is that of all of that name."""
        config = {
            "namespaces": [self.world.namespace],
            "jobs": {"image": "example.com/jobs:test"},
            "projectionSeconds": 0.2,
            "lease": {"durationSeconds": 3},
            "metricsAddress": f"127.0.0.1:{free_port()}",
        }
        path = self._folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(config), "utf-8")
        with (self._folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [sys.executable, str(MAIN), str(path)],
                stdout=log,
                stderr=log,
                env={
                    **os.environ,
                    "KUBECONFIG": str(self.world.plane.kubeconfig),
                    "STRANDLINE_CATALOG": self._url,
                    "POD_NAME": name,
                    "POD_NAMESPACE": LEASE.namespace,
                },
            )

    def leader(self) -> str:
        """Return who leads; nobody's name if none does."""
        for lease in self.world.api.list_all(LEASES, LEASE.namespace).items:
            if lease["metadata"]["name"] == LEASE.name:
                return str(lease["spec"].get("holderIdentity") or "").partition("_")[0]
        return ""

    def end(self, name: str, number: signal.Signals) -> int:
        """Signal an operator and return its exit code."""
        process = self._running.pop(name)
        process.send_signal(number)
        return process.wait(60)

    def end_all(self) -> None:
        for name in list(self._running):
            self.end(name, signal.SIGKILL)

    def wait(self, until: Callable[[], bool]) -> None:
        """Move the world on until `until` holds."""
        end = time.monotonic() + SECONDS
        while not until():
            logs = [path.read_text()[-3000:] for path in self._folder.glob("*.log")]
            assert time.monotonic() < end, "\n".join(logs)
            self.world.step()
            time.sleep(0.2)


@pytest.fixture
def processes(
    plane: ControlPlane, postgres_server: PostgresServer, tmp_path: Path
) -> Iterator[Processes]:
    url = postgres_server.make_database()
    database = Database(url)
    made = Processes(World(plane, "process", database, DEFAULT_JOBS), url, tmp_path)
    yield made
    made.end_all()
    database.close()


def test_leaders_are_killed_and_the_search_ends_as_if_they_were_not(processes: Processes) -> None:
    world = processes.world
    processes.start("a")
    processes.start("b")
    processes.wait(lambda: processes.leader() in ("a", "b"))
    world.apply("Dataset", "coast", DATASET)
    world.apply("Search", "quick", SEARCH)
    for attempt in (("Dataset", "coast", 1), ("Search", "quick", 1)):
        processes.wait(lambda each=attempt: each in world.started)  # type: ignore[misc]
        killed = processes.leader()
        assert processes.end(killed, signal.SIGKILL) == -signal.SIGKILL
        processes.wait(lambda name=killed: processes.leader() not in ("", name))  # type: ignore[misc]
        processes.start(killed)
    processes.wait(lambda: world.condition("Model", "coast")[0] == "True")
    processes.wait(lambda: world.condition("Search", "quick")[0] == "True")
    assert world.started == [
        ("Dataset", "coast", 1),
        ("Search", "quick", 1),
        ("Search", "quick", 2),
    ]
    events = world.api.list_all(EVENTS, world.namespace).items
    told = [(each["regarding"]["kind"], each["reason"]) for each in events]
    assert ("Search", "JobEnded") in told
    assert sum(each == ("Dataset", "JobStarted") for each in told) <= 1
    leader = processes.leader()
    assert processes.end(leader, signal.SIGTERM) == 0
    processes.wait(lambda: processes.leader() not in ("", leader))


def test_a_wrong_file_ends_it_with_the_fields_name(tmp_path: Path) -> None:
    path = tmp_path / "operator.yaml"
    path.write_text("jobs: {imag: x}", "utf-8")
    done = subprocess.run([sys.executable, str(MAIN), str(path)], capture_output=True, text=True)
    assert done.returncode == 3
    assert "jobs.imag" in done.stderr
