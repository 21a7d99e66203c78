"""The operator as the chart sets it up: its file, its account, its rights – as a real process.

It runs on a real apiserver with the token of the account that the chart made, and lives
through all that happens to its objects. What it lacks shows as a refusal in the apiserver's
audit log; what it has and does not need, as a right that no request used.
"""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from tests.cluster.control_plane import ControlPlane
from tests.cluster.kuberay_place import RayWorld
from tests.cluster.kuberay_stand_in import CRD
from tests.cluster.operator_place import DATASET, DEFAULT_JOBS, SEARCH, World, search, train
from tests.deploy.chart import CHART, NAMESPACE, RELEASE, ROOT, Document, Helm, render
from tests.deploy.rights import requests_of, rights_of, unused
from tests.servers.loopback import free_port

from strandline.adapters.kube.kinds import COMPUTE_POOLS, NAMESPACED, TYPES
from strandline.adapters.kube.ray_job_states import RAYJOBS
from strandline.adapters.kube.resources import JOBS, NODES, ObjectKey, ResourceType, uid_of
from strandline.adapters.sql import Database
from strandline.control.rayjobs import LONGEST_NAME
from strandline.ports import Resource
from strandline.spec.attempts import job_name

pytestmark = [pytest.mark.apiserver, pytest.mark.postgres, pytest.mark.slow]

_NAME = "strandline-operator"
_ACCOUNT = f"system:serviceaccount:{NAMESPACE}:{_NAME}"
_PATIENCE_SECONDS = 120.0
_ON_KUBERAY = {"execution": {"mode": "kuberay"}}
_INSTALLS: Mapping[str, Document] = {
    "cluster": _ON_KUBERAY,
    "listed": {"namespaces": ["listed"]},
    NAMESPACE: {"scope": "namespace", **_ON_KUBERAY},
}
"""Each scope and each way to run jobs, by the namespace that objects live in."""


@pytest.fixture
def helm(apiserver: ControlPlane, tmp_path: Path) -> Iterator[Helm]:
    """Helm of an administrator; the release is gone afterwards, but for the kinds."""
    kubectl = apiserver.kubectl
    names = {NAMESPACE, *_INSTALLS}
    kubectl.apply(
        CRD,
        *({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in names),
    )
    helm = Helm(tmp_path, apiserver.kubeconfig)
    yield helm
    helm("uninstall", RELEASE, "--namespace", NAMESPACE)
    kubectl("delete", "secrets,leases", "--all", "--namespace", NAMESPACE)


@pytest.mark.parametrize("namespace", _INSTALLS)
def test_it_uses_each_right_that_it_has_and_asks_for_no_other(
    helm: Helm, apiserver: ControlPlane, postgres_url: str, tmp_path: Path, namespace: str
) -> None:
    values = _INSTALLS[namespace]
    helm("install", RELEASE, str(CHART), "--namespace", NAMESPACE, values=values)
    apiserver.kubectl("wait", "--for=condition=Established", "crd", "--all")
    begin = len(apiserver.audit_log.read_text("utf-8").splitlines())
    make = RayWorld if "execution" in values else World
    jobs = {**DEFAULT_JOBS, "Search": _search, "Training": train}
    with closing(Database(postgres_url)) as database:
        world = make(apiserver, namespace, database, jobs, podless={"stuck"})
        life = Life(world, sees_nodes="scope" not in values)
        life.begin()
        with _operator(apiserver, postgres_url, tmp_path) as port:
            life.wait(lambda: _answers(port, "readyz") and "status 1.0" in _leading(port))
            life.live()
            life.end()
    granted = rights_of(render(values), _NAME, NAMESPACE)
    requests = requests_of(apiserver.audit_log, _ACCOUNT, begin)
    assert [str(each) for each in requests if each.refused] == []
    assert sorted(map(str, unused(granted, requests))) == []


@dataclass
class Life:
    """All that an operator can meet, each once; its parts are called in their order.

    Attributes:
        sees_nodes: whether the operator may look at the cluster's nodes and pools.
    """

    world: World
    sees_nodes: bool

    def begin(self) -> None:
        """Make what is there before the operator, also what is in its way."""
        world = self.world
        for kind, name, spec in _OBJECTS:
            world.apply(kind, name, spec)
        self._in_the_way = [
            self._bar(JOBS, "Dataset", "barred", _SOMEBODYS_JOB),
            self._bar(RAYJOBS, "Search", "barred", {"suspend": True}, LONGEST_NAME)
            if isinstance(world, RayWorld)
            else self._bar(JOBS, "Search", "barred", _SOMEBODYS_JOB),
        ]
        pool = {"metadata": {"name": world.namespace}}
        if self.sees_nodes:
            world.api.apply(NODES, {"metadata": {**pool["metadata"], "labels": {"pool": "cpu"}}})
            world.api.apply(COMPUTE_POOLS, {**pool, "spec": {"nodeSelector": {"pool": "cpu"}}})

    def live(self) -> None:
        """Let all come to where it stays."""
        world = self.world
        self.wait(lambda: world.condition("Dataset", "coast")[0] == "True")
        self.wait(lambda: ("Search", "endless", 1) in world.started)
        for resource, key in self._in_the_way:
            world.api.delete(resource, key)
        for kind, name in (("Dataset", "barred"), ("Search", "barred"), ("Training", "net")):
            self.wait(lambda each=(kind, name): world.condition(*each)[0] == "True")  # type: ignore[misc]
        self.wait(lambda: ("Search", "quick", 2) in world.started)
        self.wait(lambda: world.condition("Search", "quick")[0] == "True")
        self.wait(lambda: world.condition("Model", "coast")[0] == "True")
        for kind in ("LabelingJob", "Endpoint", "BatchPrediction"):
            assert world.condition(kind, "later", "Stalled") == ("True", "NotYetServed")
        self.wait(lambda: world.condition("Dataset", "stuck")[1] == "NoPodYet")
        self.wait(lambda: not self.sees_nodes or "status" in self._pool())

    def end(self) -> None:
        """Delete everything; a Dataset stays until what uses it is gone."""
        world = self.world
        world.delete("Dataset", "stuck")
        # Nobody collects its Job, as when somebody deletes with `--cascade=orphan`.
        _wait_until(lambda: self._is_asked_to_go("Dataset", "stuck"))
        world.delete("Dataset", "coast")
        self.wait(lambda: "InUse" in world.plane.kubectl("get", "events", "-A"))
        for kind in NAMESPACED:
            for document in world.api.list_all(TYPES[kind], world.namespace).items:
                if "deletionTimestamp" not in document["metadata"]:
                    world.delete(kind, document["metadata"]["name"])
        self.wait(lambda: not world.catalog.resource_versions())
        if self.sees_nodes:
            world.api.delete(COMPUTE_POOLS, ObjectKey("", world.namespace))
            world.api.delete(NODES, ObjectKey("", world.namespace))

    def wait(self, until: Callable[[], bool]) -> None:
        """Move the world on until `until` holds."""

        def holds() -> bool:
            self.world.step()
            return until()

        _wait_until(holds)

    def _bar(
        self, resource: ResourceType, kind: str, name: str, spec: Document, longest: int = 63
    ) -> tuple[ResourceType, ObjectKey]:
        """Make something of the name that an object's first job will have."""
        document = self.world.get(kind, name)
        assert document is not None
        key = ObjectKey(self.world.namespace, job_name(kind, name, uid_of(document), 1, longest))
        metadata = {"name": key.name, "namespace": key.namespace}
        head = {"apiVersion": resource.api_version, "kind": resource.kind}
        self.world.api.create(resource, {**head, "metadata": metadata, "spec": spec})
        return resource, key

    def _is_asked_to_go(self, kind: str, name: str) -> bool:
        selector = f"strandline.dev/kind={kind},strandline.dev/name={name}"
        found = self.world.api.list_all(JOBS, self.world.namespace, selector).items
        return any("deletionTimestamp" in job["metadata"] for job in found)

    def _pool(self) -> Document:
        return self.world.api.get(COMPUTE_POOLS, ObjectKey("", self.world.namespace))


def _search(world: World, resource: Resource) -> int | None:
    return None if resource.name == "endless" else search(world, resource)


_MODEL: Document = {"model": {"name": "coast"}}
_OBJECTS: tuple[tuple[str, str, Document], ...] = (
    *(("Dataset", name, DATASET) for name in ("coast", "barred", "stuck")),
    *(("Search", name, SEARCH) for name in ("quick", "barred", "endless")),
    ("Training", "net", {"dataset": {"name": "coast"}, "cell": {"search": "quick"}}),
    ("LabelingJob", "later", {"dataset": {"name": "coast"}}),
    ("Endpoint", "later", {"models": [{"name": "coast", "version": 1}]}),
    (
        "BatchPrediction",
        "later",
        {**_MODEL, "source": {"uri": "s3://a/b"}, "output": {"uri": "s3://c/d"}},
    ),
)
_SOMEBODYS_JOB: Document = {
    "template": {
        "spec": {
            "restartPolicy": "Never",
            "containers": [{"name": "job", "image": "example.com/somebodys"}],
        }
    }
}


@contextmanager
def _operator(plane: ControlPlane, catalog: str, folder: Path) -> Iterator[int]:
    """Run the operator with the chart's file, on a port of this machine that is free."""
    port = free_port()
    made = plane.kubectl.json("get", "configmap/strandline-operator", "--namespace", NAMESPACE)
    config = yaml.safe_load(made["data"]["operator.yaml"])
    assert config["metricsAddress"] == "0.0.0.0:8080"
    file = folder / "operator.yaml"
    file.write_text(yaml.safe_dump({**config, "metricsAddress": f"127.0.0.1:{port}"}), "utf-8")
    with (folder / "operator.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "operators" / "strandline" / "main.py"), str(file)],
            env={
                "PYTHONPATH": str(ROOT / "src"),
                "HOME": str(folder),
                "KUBECONFIG": str(_kubeconfig(plane, folder)),
                "STRANDLINE_CATALOG": catalog,
                "POD_NAME": "operator-0",
                "POD_NAMESPACE": NAMESPACE,
            },
            stderr=log,
        )
    try:
        yield port
    finally:
        process.terminate()
        process.wait(60)
    assert process.returncode == 0, (folder / "operator.log").read_text("utf-8")


def _kubeconfig(plane: ControlPlane, folder: Path) -> Path:
    """Write a kubeconfig with a token of the chart's account."""
    where = ("--namespace", NAMESPACE)
    token = plane.kubectl("create", "token", "strandline-operator", *where).strip()
    document = yaml.safe_load(plane.kubeconfig.read_text("utf-8"))
    document["users"] = [{**document["users"][0], "user": {"token": token}}]
    target = folder / "operator.kubeconfig"
    target.write_text(yaml.safe_dump(document), "utf-8")
    return target


def _answers(port: int, page: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _leading(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text: str = answer.read().decode()
    (line,) = [each for each in text.splitlines() if each.startswith("leader_election_master")]
    return "status " + line.rpartition(" ")[2]


def _wait_until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + _PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < until, "it does not come to that"
        time.sleep(0.2)
