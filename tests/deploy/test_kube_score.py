"""What kube-score finds in the chart; each finding that stays has its reason here.

kubeconform would find nothing that `test_chart_on_apiserver` does not: there a real apiserver
takes every rendered combination, and its strict decoding knows the same schemas (and those of
Prometheus' and the Gateway API's kinds), and CEL rules, defaults and admission besides.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from tests.cluster import binaries
from tests.deploy.chart import Document, render
from tests.servers.absent import skip_or_fail

_GOOD = 10
_WITHOUT_CPU_LIMITS = "--ignore-container-cpu-limit"  # they only slow down, on idle nodes too
_WORKERS: Document = {"workers": 2, "cpu": 4, "memory": "16Gi"}
_ALL_ON: Document = {
    "namespaces": ["team-a"],
    "operator": {"replicas": 2},
    "ray": {
        "enabled": True,
        "pools": [
            {"name": "cpu", **_WORKERS},
            {"name": "l4", **_WORKERS, "accelerator": {"resource": "nvidia.com/gpu", "count": 1}},
        ],
    },
    "minio": {
        "ingress": {
            "enabled": True,
            "host": "s3.example",
            "tlsSecret": "s3-tls",
            "className": "nginx",
        }
    },
    "metrics": {
        each: {"enabled": True} for each in ("serviceMonitor", "prometheusRule", "dashboard")
    },
}


class Finding(NamedTuple):
    """A check that an object does not pass; in `_ACCEPTED` the name may be a pattern."""

    check: str
    kind: str
    name: str


_ACCEPTED = {
    Finding(
        "container-image-pull-policy", "*", "*"
    ): "versions are pinned; with Always nothing starts while the registry is away",
    Finding(
        "deployment-replicas", "Deployment", "strandline-operator"
    ): "one that is lost is made anew and finds everything; a second one is a choice",
    Finding("deployment-replicas", "Deployment", "strandline-ray-*"): "a Ray has one head",
    Finding(
        "deployment-strategy", "Deployment", "strandline-ray-*"
    ): "two heads would be two Rays, and devices are not there twice",
    Finding(
        "deployment-has-host-podantiaffinity", "Deployment", "strandline-ray-*"
    ): "two workers on a node with two devices are as they should be; trials outlive them",
    Finding(
        "pod-probes-identical", "Deployment", "strandline-ray-*"
    ): "a port that is open is all there is to ask; one is given up after a minute",
    Finding(
        "networkpolicy-targets-pod", "NetworkPolicy", "strandline-jobs"
    ): "its pods are made by the operator",
    Finding(
        "networkpolicy-targets-pod", "NetworkPolicy", "strandline-deny"
    ): "all pods of a namespace in which the chart makes none",
    Finding(
        "statefulset-has-servicename", "StatefulSet", "*"
    ): "the Service is there, with an address: of one pod nobody asks the name",
    Finding(
        "container-security-context-user-group-id", "StatefulSet", "strandline-postgresql"
    ): "the user of PostgreSQL's official image",
}


@pytest.fixture(scope="module")
def kube_score() -> Path:
    """The program, built when it is first needed: that takes a minute."""
    program = binaries.path("kube-score") if shutil.which("go") else None
    if program is None:
        skip_or_fail("kube-score is built with Go, which is not there")
    try:
        binaries.build(["kube-score"])
    except subprocess.CalledProcessError:
        skip_or_fail("kube-score cannot be built: are Go modules in reach?")
    return program


def test_only_what_has_a_reason_is_found(kube_score: Path) -> None:
    used: set[Finding] = set()
    for values in ({}, _ALL_ON):
        for finding, comment in _findings(kube_score, render(values).documents):
            reasons = [each for each in _ACCEPTED if all(map(fnmatch, finding, each))]
            assert reasons, (finding, comment)
            used.update(reasons)
    assert used == set(_ACCEPTED)


def test_what_is_wrong_would_be_found(kube_score: Path) -> None:
    wrong = render({}).one("Deployment", "strandline-operator")
    (container,) = wrong["spec"]["template"]["spec"]["containers"]
    del container["resources"]["limits"]
    found = {finding.check for finding, _ in _findings(kube_score, [wrong])}
    assert "container-resources" in found


def _findings(program: Path, documents: Iterable[Document]) -> Iterator[tuple[Finding, str]]:
    # Kinds of ours: it knows none of them.
    known = [each for each in documents if each["kind"] != "CustomResourceDefinition"]
    command = [str(program), "score", "-", "--output-format", "json"]
    command += ["--kubernetes-version", "v1.37", _WITHOUT_CPU_LIMITS]
    done = subprocess.run(command, input=yaml.safe_dump_all(known), capture_output=True, text=True)
    for each in json.loads(done.stdout):
        for check in each["checks"]:
            if not check["skipped"] and check["grade"] < _GOOD:
                about = (each["type_meta"]["kind"], each["object_meta"]["name"])
                yield Finding(check["check"]["id"], *about), str(check["comments"])
