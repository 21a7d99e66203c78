"""The operator as the chart sets it up: its file, its account, its rights – as a real process.

It runs on a real apiserver with the token of the account that the chart made. What it lacks
would show as an answer 403 in the apiserver's audit log.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cluster.control_plane import ControlPlane
from tests.cluster.kubectl import Kubectl
from tests.deploy.chart import CHART, NAMESPACE, ROOT, Document, Helm
from tests.servers.loopback import free_port

pytestmark = [pytest.mark.apiserver, pytest.mark.postgres]

_ACCOUNT = f"system:serviceaccount:{NAMESPACE}:strandline-operator"
_PATIENCE_SECONDS = 120.0
_SCOPES: tuple[Document, ...] = ({}, {"namespaces": ["team-a"]}, {"scope": "namespace"})


@pytest.fixture
def helm(apiserver: ControlPlane, tmp_path: Path) -> Iterator[Helm]:
    """Helm of an administrator; the release is gone afterwards, but for the kinds."""
    kubectl = apiserver.kubectl
    kubectl.apply(
        *(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            for name in (NAMESPACE, "team-a")
        )
    )
    helm = Helm(tmp_path, apiserver.kubeconfig)
    yield helm
    helm("uninstall", "strandline", "--namespace", NAMESPACE)
    kubectl("delete", "secrets", "--all", "--namespace", NAMESPACE)


@pytest.mark.parametrize("values", _SCOPES, ids=["cluster", "listed", "namespace"])
def test_it_starts_leads_and_is_refused_nothing(
    helm: Helm, apiserver: ControlPlane, postgres_url: str, tmp_path: Path, values: Document
) -> None:
    helm("install", "strandline", str(CHART), "--namespace", NAMESPACE, values=values)
    begin = len(apiserver.audit_log.read_text("utf-8").splitlines())
    watched = "team-a" if "namespaces" in values else NAMESPACE
    with _operator(apiserver, postgres_url, tmp_path) as port:
        _wait_until(lambda: _answers(port, "readyz") and "status 1.0" in _leading(port))
        # It makes a Job of a Dataset, with the rights that it has.
        apiserver.kubectl.apply(_dataset(watched))
        _wait_until(lambda: _jobs(apiserver.kubectl, watched) != [])
    (job,) = _jobs(apiserver.kubectl, watched)
    environment = job["spec"]["template"]["spec"]["containers"][0]["envFrom"]
    assert environment == [{"secretRef": {"name": "strandline-storage"}}]
    assert _refusals(apiserver, begin) == []
    apiserver.kubectl("delete", "dataset/coast", "--namespace", watched, "--wait=false")
    apiserver.kubectl("delete", "jobs", "--all", "--namespace", watched)


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


def _dataset(namespace: str) -> Document:
    return {
        "apiVersion": "strandline.dev/v1alpha1",
        "kind": "Dataset",
        "metadata": {"name": "coast", "namespace": namespace},
        "spec": {"source": {"uri": "s3://photos/coast"}},
    }


def _jobs(kubectl: Kubectl, namespace: str) -> list[Any]:
    selector = ("--selector", "strandline.dev/name=coast")
    found: list[Any] = kubectl.json("get", "jobs", "--namespace", namespace, *selector)["items"]
    return found


def _refusals(plane: ControlPlane, begin: int) -> list[str]:
    lines = plane.audit_log.read_text("utf-8").splitlines()[begin:]
    return [
        f"{each['verb']} {each['requestURI']}"
        for each in map(json.loads, lines)
        if each["user"]["username"] == _ACCOUNT and each["responseStatus"]["code"] in (401, 403)
    ]


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
