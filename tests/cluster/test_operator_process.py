"""The operator as a process: two of them, killed while they lead, and told to stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

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
_numbers = count()


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with bare_plane(tmp_path_factory.mktemp("operator")) as made:
        yield made


OURS = ["datasets", "labelingjobs", "searches", "trainings", "models", "endpoints"]
OURS += ["batchpredictions", "computepools"]
READ = ["get", "list", "watch"]
RULES = [
    {"apiGroups": ["strandline.dev"], "resources": OURS, "verbs": READ},
    {
        "apiGroups": ["strandline.dev"],
        "resources": [f"{each}/status" for each in OURS],
        "verbs": ["patch"],
    },
    {"apiGroups": ["strandline.dev"], "resources": ["datasets"], "verbs": ["patch"]},
    {"apiGroups": ["strandline.dev"], "resources": ["models"], "verbs": ["create"]},
    {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": [*READ, "create", "delete"]},
    {"apiGroups": [""], "resources": ["pods", "nodes"], "verbs": ["list", "watch"]},
    {
        "apiGroups": ["events.k8s.io"],
        "resources": ["events"],
        "verbs": ["create", "list"],
    },
    {
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        "verbs": ["get", "create", "update"],
    },
]
"""All that an operator may do here: what the chart grants."""


def grant(plane: ControlPlane) -> Path:
    """Make a user who may do that and no more; return the user's kubeconfig."""
    group = "rbac.authorization.k8s.io"
    name = {"metadata": {"name": "operator"}}
    plane.kubectl.apply(
        {"apiVersion": f"{group}/v1", "kind": "ClusterRole", **name, "rules": RULES},
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRoleBinding",
            **name,
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "operator"},
            "subjects": [{"apiGroup": group, "kind": "User", "name": "operator"}],
        },
    )
    return plane.user("operator")


class Processes:
    """Operators that watch one world."""

    def __init__(self, world: World, url: str, folder: Path) -> None:
        self.world = world
        self._kubeconfig = grant(world.plane)
        self._url = url
        self._folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, **fields: Any) -> None:
        """Start the operator `name`; its log is that of all of that name."""
        config = {
            "namespaces": [self.world.namespace],
            "jobs": {"image": "example.com/jobs:test"},
            "projectionSeconds": 0.2,
            "lease": {"durationSeconds": 3},
            "metricsAddress": f"127.0.0.1:{free_port()}",
            **fields,
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
                    "KUBECONFIG": str(self._kubeconfig),
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

    def wait_for_end(self, name: str) -> int:
        """Return the exit code with which an operator ends by itself."""
        return self._running.pop(name).wait(60)

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
    world = World(plane, f"process-{next(_numbers)}", database, DEFAULT_JOBS)
    made = Processes(world, url, tmp_path)
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
    assert refused(world.plane) == []
    leader = processes.leader()
    assert processes.end(leader, signal.SIGTERM) == 0
    processes.wait(lambda: processes.leader() not in ("", leader))


def refused(plane: ControlPlane) -> list[tuple[str, str]]:
    """Return what an operator asked for and may not do."""
    entries = map(json.loads, plane.audit_log.read_text("utf-8").splitlines())
    return [
        (entry["verb"], entry["requestURI"])
        for entry in entries
        if entry["user"]["username"] == "operator"
        and entry.get("responseStatus", {}).get("code") == 403
    ]


def test_a_leader_that_cannot_renew_ends_itself_and_goes_on_when_it_is_started_again(
    processes: Processes,
) -> None:
    world = processes.world
    processes.start("a")
    world.apply("Dataset", "coast", DATASET)
    processes.wait(lambda: world.condition("Dataset", "coast")[0] == "True")
    processes.wait(lambda: processes.leader() == "a")
    world.plane.apiserver.kill()
    assert processes.wait_for_end("a") == 1
    world.plane.apiserver.start()
    world.apply("Search", "quick", SEARCH)
    processes.start("a")
    processes.wait(lambda: world.condition("Model", "coast")[0] == "True")
    assert world.started.count(("Search", "quick", 1)) == 1


def test_what_was_deleted_while_no_operator_ran_leaves_nothing(processes: Processes) -> None:
    world = processes.world
    processes.start("a")
    world.apply("Dataset", "coast", DATASET)
    processes.wait(lambda: world.condition("Dataset", "coast")[0] == "True")
    processes.end("a", signal.SIGKILL)
    world.delete("Dataset", "coast")
    processes.start("b", namespaces=[])
    processes.wait(lambda: not world.catalog.resource_versions())
    assert world.catalog.list_dataset_versions("coast") == []


def test_a_wrong_file_ends_it_with_the_fields_name(tmp_path: Path) -> None:
    path = tmp_path / "operator.yaml"
    path.write_text("jobs: {imag: x}", "utf-8")
    done = subprocess.run([sys.executable, str(MAIN), str(path)], capture_output=True, text=True)
    assert done.returncode == 3
    assert "jobs.imag" in done.stderr
