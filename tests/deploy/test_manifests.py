"""The kustomize manifests: made from the chart, and taken by a real apiserver."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from tests.cluster.control_plane import ControlPlane
from tests.cluster.kubectl import Kubectl, KubectlError
from tests.deploy import manifests, pod_rules
from tests.deploy.chart import NAMESPACE, Document

from strandline.spec.operator_config import read_operator_config

pytestmark = pytest.mark.apiserver

_OVERLAYS = ("laptop", "gpu", "tpu")
# Whoever runs the tests may have passwords of his own.
_OWN = shutil.ignore_patterns("*.env")
_FILES = ("storage.env", "minio.env", "postgresql.env")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifests as a person has them who followed the instructions."""
    folder = tmp_path_factory.mktemp("kustomize") / "manifests"
    shutil.copytree(manifests.MANIFESTS, folder, ignore=_OWN)
    for name in _FILES:
        example = folder / "overlays" / "laptop" / f"{name}.example"
        example.with_suffix("").write_text(example.read_text("utf-8"), "utf-8")
    return folder


@pytest.fixture(scope="module")
def kubectl(apiserver: ControlPlane) -> Kubectl:
    """kubectl of an administrator, who has installed the kinds with it."""
    kubectl = apiserver.kubectl
    kubectl("apply", "--server-side", "-k", str(manifests.MANIFESTS / "crds"))
    crds = "crd/computepools.strandline.dev"
    kubectl("wait", "--for=condition=Established", crds, "--timeout=60s")
    kubectl("apply", "-f", str(manifests.MANIFESTS / "base" / "namespace.yaml"))
    return kubectl


def test_what_is_made_from_the_chart_is_up_to_date() -> None:
    for path, text in manifests.outputs():
        there = (manifests.MANIFESTS / path).read_text("utf-8")
        assert there == text, f"manifests/{path} is out of date: run `make manifests`"


def test_all_kinds_are_installed(folder: Path) -> None:
    listed = yaml.safe_load((folder / "crds" / "kustomization.yaml").read_text("utf-8"))
    there = {path.name for path in (folder / "crds").glob("strandline.dev_*.yaml")}
    assert set(listed["resources"]) == there


@pytest.mark.parametrize("overlay", _OVERLAYS)
def test_an_overlay_is_taken_by_the_apiserver(kubectl: Kubectl, folder: Path, overlay: str) -> None:
    where = str(folder / "overlays" / overlay)
    kubectl("apply", "--server-side", "--dry-run=server", "-k", where)


@pytest.mark.parametrize("overlay", _OVERLAYS)
def test_pods_of_an_overlay_obey_the_rules(kubectl: Kubectl, folder: Path, overlay: str) -> None:
    for document in _build(kubectl, folder / "overlays" / overlay):
        spec = document.get("spec", {}).get("template", {}).get("spec")
        if spec is not None:
            assert list(pod_rules.breaches_of_restricted(spec)) == []
            assert list(pod_rules.breaches_of_ours(spec)) == []


@pytest.mark.parametrize("overlay", _OVERLAYS)
def test_the_operator_of_an_overlay_mounts_a_file_that_it_reads(
    kubectl: Kubectl, folder: Path, overlay: str
) -> None:
    documents = _build(kubectl, folder / "overlays" / overlay)
    (operator,) = [d for d in documents if d["kind"] == "Deployment"]
    volumes = operator["spec"]["template"]["spec"]["volumes"]
    (name,) = [v["configMap"]["name"] for v in volumes if "configMap" in v]
    (config,) = [d for d in documents if (d["kind"], d["metadata"]["name"]) == ("ConfigMap", name)]
    read = read_operator_config(config["data"]["operator.yaml"])
    assert read.execution.mode == ("pod" if overlay == "laptop" else "kuberay")
    rules = [r for d in documents if d["kind"] == "ClusterRole" for r in d["rules"]]
    of_operator = [r for r in rules if "rayjobs" in r["resources"]]
    assert len(of_operator) == (1 if overlay == "laptop" else 2)


def test_a_laptop_gets_the_storage_that_its_secret_names(kubectl: Kubectl, folder: Path) -> None:
    documents = _build(kubectl, folder / "overlays" / "laptop")
    names = {(d["kind"], d["metadata"]["name"]) for d in documents}
    for name in ("strandline-storage", "strandline-minio", "strandline-postgresql"):
        assert ("Secret", name) in names
    values = (folder / "overlays" / "laptop" / "storage.env").read_text("utf-8")
    for kind, port in (("minio", 9000), ("postgresql", 5432)):
        assert ("Service", f"strandline-{kind}") in names
        assert f"strandline-{kind}.{NAMESPACE}.svc:{port}" in values


def test_without_passwords_of_ones_own_nothing_is_built(kubectl: Kubectl, tmp_path: Path) -> None:
    shutil.copytree(manifests.MANIFESTS, tmp_path / "manifests", ignore=_OWN)
    with pytest.raises(KubectlError, match=r"\.env"):
        _build(kubectl, tmp_path / "manifests" / "overlays" / "laptop")


def _build(kubectl: Kubectl, folder: Path) -> list[Document]:
    return [each for each in yaml.safe_load_all(kubectl("kustomize", str(folder))) if each]
