"""The clusters that tests share: a bare control plane, and a whole Kubernetes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster import control_plane as bare, lifecycle
from tests.cluster.binaries import missing
from tests.cluster.cluster import Cluster
from tests.cluster.control_plane import ControlPlane
from tests.cluster.installed import POOL, Installation, pool
from tests.cluster.master import Master
from tests.cluster.site import load, site_folder
from tests.servers.absent import skip_or_fail
from tools.demo_digits import main as write_digits


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A real apiserver on a real etcd, without nodes; make what you need in a namespace."""
    absent = missing(bare.programs(bare.GARBAGE))
    if absent:
        names = " ".join(absent)
        skip_or_fail(f"not built: run `python -m tests.cluster.binaries {names}`")
    with bare.control_plane(tmp_path_factory.mktemp("control-plane"), bare.GARBAGE) as plane:
        yield plane


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A whole Kubernetes: KUBECONFIG's, the one that is up, or one for this session."""
    folder = site_folder()
    named = os.environ.get("KUBECONFIG")
    if named and not Path(named).is_relative_to(folder):
        yield Cluster(Path(named), None)
        return
    was_up = lifecycle.is_up(load(folder))
    if not was_up:
        _require_means()
    site = lifecycle.up(folder, dies_with_parent=not was_up)
    try:
        yield Cluster(Master(site).kubeconfig("admin"), site)
    finally:
        if not was_up:
            lifecycle.down(folder)


@pytest.fixture
def own_cluster(cluster: Cluster) -> Cluster:
    """A whole Kubernetes whose parts the test may stop; skips with a user's own."""
    if cluster.site is None:
        pytest.skip("stops parts of the cluster, and KUBECONFIG names one that is not ours")
    return cluster


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own, with Pod Security "restricted"."""
    name = "test-" + "".join(c if c.isalnum() else "-" for c in request.node.name.lower())[:48]
    name = name.strip("-")
    label = {"pod-security.kubernetes.io/enforce": "restricted"}
    metadata = {"name": name, "labels": label}
    cluster.kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    cluster.kubectl("wait", "--for=create", "serviceaccount/default", "-n", name, "--timeout=60s")
    yield name
    cluster.kubectl("delete", "namespace", name, "--timeout=120s")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty real pictures of each digit, as class folders."""
    folder = tmp_path_factory.mktemp("pictures") / "digits"
    write_digits(folder)
    for label in folder.iterdir():
        for extra in sorted(label.iterdir())[40:]:
            extra.unlink()
    return folder


@pytest.fixture(scope="module")
def installation(
    cluster: Cluster, pictures: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """A release of the chart that runs, its ComputePool, and the pictures in a bucket."""
    if cluster.site is None:
        pytest.skip("mounts this machine's packages, and KUBECONFIG names a cluster elsewhere")
    made = Installation.prepare(cluster, tmp_path_factory.mktemp("installation"))
    try:
        made.bring(pictures)
        made.install()
        made.kubectl.apply(pool(POOL))
        yield made
    finally:
        made.remove()
        made.remove_kinds()


def _require_means() -> None:
    if os.geteuid() != 0:
        skip_or_fail("a whole cluster needs root; or name one with KUBECONFIG")
    absent = missing()
    if absent:
        skip_or_fail(f"not built ({' '.join(absent)}): run `make cluster-up` once")
