"""The chart against a real apiserver: what it takes, keeps, and refuses.

There is no node, so nothing runs; that is for the tests on a whole cluster.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cluster import binaries
from tests.cluster.control_plane import ControlPlane
from tests.cluster.kubectl import Kubectl, KubectlError
from tests.deploy.chart import CHART, NAMESPACE, Document, Helm, HelmError, Values, render
from tests.deploy.combinations import pairwise
from tests.deploy.foreign_kinds import foreign_kinds

pytestmark = pytest.mark.apiserver

_TEAMS = ("team-a", "team-b")
_SEARCH: Document = {
    "apiVersion": "strandline.dev/v1alpha1",
    "kind": "Search",
    "metadata": {"name": "coast"},
    "spec": {"dataset": {"name": "coast"}, "budget": {"trials": 1}},
}
_OPERATOR = f"system:serviceaccount:{NAMESPACE}:strandline-operator"


@pytest.fixture(scope="module")
def kubectl(apiserver: ControlPlane) -> Kubectl:
    """kubectl of an administrator, in a cluster with the chart's namespaces."""
    kubectl = apiserver.kubectl
    kubectl.apply(*(_namespace(name) for name in (NAMESPACE, *_TEAMS)), *_classes())
    return kubectl


@pytest.fixture
def helm(apiserver: ControlPlane, kubectl: Kubectl, tmp_path: Path) -> Iterator[Helm]:
    """Helm of an administrator; the release is gone afterwards, but for the kinds."""
    helm = Helm(tmp_path, apiserver.kubeconfig)
    yield helm
    for release in helm("list", "--short", "--namespace", NAMESPACE).split():
        helm("uninstall", release, "--namespace", NAMESPACE)
    for kind in ("secrets", "configmaps", "jobs", "pods"):
        kubectl("delete", kind, "--all", "--namespace", NAMESPACE)


def _install(helm: Helm, values: Values, *arguments: str, namespace: str = NAMESPACE) -> str:
    where = ("strandline", str(CHART), "--namespace", namespace)
    return helm("upgrade", "--install", *where, *arguments, values=values)


def test_the_chart_passes_strict_lint(tmp_path: Path) -> None:
    for values in ({}, {"scope": "namespace"}, {"ray": {"enabled": True}}):
        assert "0 chart(s) failed" in Helm(tmp_path)("lint", "--strict", str(CHART), values=values)


def test_the_apiserver_takes_every_combination(apiserver: ControlPlane, kubectl: Kubectl) -> None:
    for file in foreign_kinds():
        kubectl("apply", "--server-side", "-f", str(file))
    kubectl("wait", "--for=condition=Established", "crd", "--all")
    for values in pairwise():
        done = _dry_run(apiserver, render(values).documents)
        assert done.returncode == 0, (values, done.stderr)
        # Of Pod Security and of deprecated versions.
        assert "Warning" not in done.stderr, (values, done.stderr)


def test_a_field_that_does_not_exist_would_be_refused(
    apiserver: ControlPlane, kubectl: Kubectl
) -> None:
    wrong = render({}).one("Deployment", "strandline-operator")
    wrong["spec"]["template"]["spec"]["tolerration"] = []
    assert "tolerration" in _dry_run(apiserver, [wrong]).stderr


def test_pod_security_admits_every_pod(apiserver: ControlPlane, kubectl: Kubectl) -> None:
    ray = {"enabled": True}
    for values in ({"ray": ray}, {"minio": {"persistence": {"enabled": False}}, "ray": ray}):
        pods = [_pod(name, template) for name, template in render(values).pods()]
        done = _dry_run(apiserver, pods)
        assert done.returncode == 0, done.stderr
    pods[0]["spec"]["hostNetwork"] = True
    assert "PodSecurity" in _dry_run(apiserver, pods[:1]).stderr


def test_a_release_is_installed_and_its_notes_tell_what_comes_next(
    helm: Helm, kubectl: Kubectl
) -> None:
    notes = _install(helm, {"ray": {"enabled": True}})
    assert "rollout status deployment/strandline-operator" in notes
    assert f"helm test strandline --namespace {NAMESPACE}" in notes
    assert "on the static Ray" in notes
    found = kubectl.json("get", "deployments,statefulsets", "--namespace", NAMESPACE)
    assert sorted(each["metadata"]["name"] for each in found["items"]) == [
        *("strandline-minio", "strandline-operator", "strandline-postgresql"),
        *("strandline-ray-cpu", "strandline-ray-head"),
    ]


def test_generated_secrets_survive_an_upgrade(helm: Helm, kubectl: Kubectl) -> None:
    values: Document = {"namespaces": list(_TEAMS), "ray": {"enabled": True}}
    _install(helm, values)
    before = _secrets(kubectl, NAMESPACE)
    assert len(before) == 4
    _install(helm, {**values, "operator": {"replicas": 2}})
    assert _secrets(kubectl, NAMESPACE) == before
    for team in _TEAMS:
        copy = _secrets(kubectl, team)
        assert copy.items() <= before.items()
        assert set(copy) == {"strandline-storage", "strandline-ray-token"}


def test_what_runs_is_not_restarted_by_an_upgrade_that_does_not_concern_it(
    helm: Helm, kubectl: Kubectl
) -> None:
    _install(helm, {})
    before = _generations(kubectl)
    _install(helm, {"jobs": {"ttl": "2h"}})
    after = _generations(kubectl)
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"Deployment/strandline-operator"}


def test_uninstalling_leaves_kinds_objects_and_secrets(helm: Helm, kubectl: Kubectl) -> None:
    _install(helm, {})
    secrets = _secrets(kubectl, NAMESPACE)
    kubectl.apply({**_SEARCH, "metadata": {"name": "coast", "namespace": "team-a"}})
    helm("uninstall", "strandline", "--namespace", NAMESPACE)
    assert kubectl("get", "search/coast", "--namespace", "team-a", "-o", "name")
    assert _secrets(kubectl, NAMESPACE) == secrets
    left = kubectl("get", "deploy,sts,svc,job,netpol,pdb", "-o", "name", "-n", NAMESPACE)
    assert left == ""
    assert "strandline" not in kubectl("get", "clusterroles", "-o", "name")
    # And coming back it finds everything again.
    _install(helm, {})
    assert _secrets(kubectl, NAMESPACE) == secrets
    kubectl("delete", "search/coast", "--namespace", "team-a")


def test_a_user_with_rights_in_one_namespace_installs_the_namespaced_mode(
    apiserver: ControlPlane, helm: Helm, kubectl: Kubectl, tmp_path: Path
) -> None:
    # Of the cluster, its administrator gave kinds and roles, and the user a namespace.
    _install(helm, {"operator": {"enabled": False}, **_NO_STORAGE})
    kubectl.apply(*_make_administrator_of("team-a", "alice"))
    alice = apiserver.user("alice")
    own = Helm(tmp_path / "alice", alice)
    values = {"scope": "namespace", "crds": {"install": False}, "ray": {"enabled": True}}
    _install(own, values, namespace="team-a")
    Kubectl(alice).apply({**_SEARCH, "metadata": {"name": "coast", "namespace": "team-a"}})
    _install(own, {**values, "operator": {"replicas": 2}}, namespace="team-a")
    own("uninstall", "strandline", "--namespace", "team-a")
    with pytest.raises(HelmError, match="forbidden"):
        _install(own, {"crds": {"install": False}}, namespace="team-a")
    kubectl("delete", "search/coast", "--namespace", "team-a")
    kubectl("delete", "secrets", "--all", "--namespace", "team-a")


@pytest.mark.parametrize(
    ("values", "may", "may_not"),
    [
        (
            {},
            [
                "list searches -A",
                "list nodes",
                "patch computepools --subresource status",
                "create jobs -n team-b",
            ],
            ["get secrets -n team-a", "delete searches -A", "patch nodes", "create pods -n team-a"],
        ),
        (
            {"namespaces": ["team-a"]},
            ["list searches -n team-a", "create jobs -n team-a", "list nodes", "list pods -A"],
            ["list searches -n team-b", "create jobs -n team-b", "list searches -A"],
        ),
        (
            {"scope": "namespace"},
            [
                f"list searches -n {NAMESPACE}",
                f"patch searches --subresource status -n {NAMESPACE}",
            ],
            ["list nodes", "list computepools", "list searches -n team-a", "list pods -A"],
        ),
    ],
)
def test_the_operator_may_do_what_it_does_and_no_more(
    helm: Helm, kubectl: Kubectl, values: Values, may: list[str], may_not: list[str]
) -> None:
    _install(helm, values)
    for question in may:
        assert _can(kubectl, question), question
    for question in [
        *may_not,
        f"get secrets -n {NAMESPACE}",
        f"get pods --subresource log -n {NAMESPACE}",
    ]:
        assert not _can(kubectl, question), question


def test_only_the_lease_of_the_election_can_be_taken(helm: Helm, kubectl: Kubectl) -> None:
    _install(helm, {})
    assert _can(kubectl, f"update leases/strandline-operator -n {NAMESPACE}")
    assert not _can(kubectl, f"update leases/other -n {NAMESPACE}")
    assert not _can(kubectl, "create leases -n kube-system")


_NO_STORAGE: Document = {"minio": {"enabled": False}, "postgresql": {"enabled": False}}


def _can(kubectl: Kubectl, question: str) -> bool:
    try:
        return kubectl("auth", "can-i", *question.split(), "--as", _OPERATOR).strip() == "yes"
    except KubectlError:
        return False


def _dry_run(
    plane: ControlPlane, documents: Iterable[Document]
) -> subprocess.CompletedProcess[str]:

    return subprocess.run(
        [str(binaries.path("kubectl")), "apply", "-f", "-", "--server-side", "--dry-run=server"],
        input=yaml.safe_dump_all(documents),
        env={"KUBECONFIG": str(plane.kubeconfig), "HOME": str(plane.folder)},
        capture_output=True,
        text=True,
        timeout=300,
    )


def _pod(name: str, template: Document) -> Document:
    spec = dict(template["spec"])
    mounts = {m["name"] for c in spec["containers"] for m in c.get("volumeMounts", [])}
    volumes = {volume["name"] for volume in spec.get("volumes", [])}
    # A StatefulSet adds what its claims make.
    claims = [
        {"name": each, "persistentVolumeClaim": {"claimName": each}} for each in mounts - volumes
    ]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name.rpartition("/")[2], "namespace": NAMESPACE},
        "spec": {**spec, "volumes": [*spec.get("volumes", []), *claims]},
    }


def _namespace(name: str) -> Document:
    levels = ("enforce", "warn")
    labels = {f"pod-security.kubernetes.io/{level}": "restricted" for level in levels}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def _classes() -> list[Document]:
    priority = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "value": 1}
    runtime = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "handler": "runc"}
    return [
        {**priority, "metadata": {"name": "platform"}},
        {**priority, "metadata": {"name": "batch"}},
        {**runtime, "metadata": {"name": "nvidia"}},
    ]


def _make_administrator_of(namespace: str, user: str) -> list[Document]:
    """Return what `kubectl create rolebinding --clusterrole=admin` amounts to.

    No controller fills the aggregated role `admin` here, so its parts are bound one by one.
    """
    own = [f"{NAMESPACE}:strandline-{part}" for part in ("view", "edit", "admin")]
    built_in = [f"system:aggregate-to-{part}" for part in ("view", "edit", "admin")]
    group = "rbac.authorization.k8s.io"
    return [
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": f"{user}-{index}", "namespace": namespace},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
        }
        for index, role in enumerate([*own, *built_in])
    ]


def _secrets(kubectl: Kubectl, namespace: str) -> dict[str, Any]:
    found = kubectl.json("get", "secrets", "--namespace", namespace)["items"]
    return {s["metadata"]["name"]: s["data"] for s in found if s["type"] == "Opaque"}


def _generations(kubectl: Kubectl) -> dict[str, int]:
    found = kubectl.json("get", "deployments,statefulsets,jobs", "--namespace", NAMESPACE)["items"]
    return {f"{d['kind']}/{d['metadata']['name']}": d["metadata"]["generation"] for d in found}
