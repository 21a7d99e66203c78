"""A Search as a RayJob whose head and workers are real pods: a stand-in for KubeRay makes them.

The pods use the packages of this machine's Python, mounted read-only: an image with Ray and
torch in it would be 6 GB.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.cluster import binaries
from tests.cluster.cluster import Cluster
from tests.cluster.host_packages import HostPackages
from tests.cluster.kuberay_stand_in import CRD, ExecStart, KubeRayStandIn
from tests.e2e.test_crash_safety import write_shapes

from strandline.adapters.clock import SystemClock
from strandline.adapters.kube.api import KubeApi
from strandline.adapters.kube.informer import Informer
from strandline.adapters.kube.job_states import keep_pod
from strandline.adapters.kube.jobs import BY_UID
from strandline.adapters.kube.kinds import JOB_SELECTOR, worker_uid
from strandline.adapters.kube.ray_job_states import NODE_TYPE_LABEL, RAYJOBS, keep_rayjob
from strandline.adapters.kube.ray_jobs import KubeRayJobs
from strandline.adapters.kube.resources import PODS, Document, key_of
from strandline.adapters.sql import Database, SqlCatalog
from strandline.control.rayjobs import make_rayjob
from strandline.ports import Resource
from strandline.spec.actions import JobState, Placement, PoolShare
from strandline.spec.conditions import get_condition
from strandline.spec.errors import NotFoundError
from strandline.spec.namespaces import catalog_schema
from strandline.spec.operator_config import Execution, JobSettings

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(1800)]

PATIENCE_SECONDS = 1200.0
SECRET = "strandline-storage"
POOL = PoolShare("shared", {"cpu": "500m", "memory": "3Gi"}, 1)
SPEC = {
    "dataset": {"name": "shapes"},
    "space": {"preset": "transfer", "effort": "fast"},
    "budget": {"trials": 4},
    "earlyStopping": {"name": "none"},
    "model": {"name": "shapes"},
}


@dataclass
class Place:
    """A namespace of the cluster, and the platform's parts for it."""

    cluster: Cluster
    namespace: str
    api: KubeApi
    catalog: SqlCatalog
    storage: Mapping[str, str]
    executor: KubeRayJobs
    kuberay: KubeRayStandIn

    def import_shapes(self, folder: Path) -> None:
        """Import pictures from this machine into the namespace's store and catalog."""
        own = {
            "STRANDLINE_HOME": str(folder / "home"),
            "STRANDLINE_CATALOG_SCHEMA": catalog_schema(self.namespace),
            "STRANDLINE_STORE_PREFIX": self.namespace,
        }
        subprocess.run(
            [sys.executable, "-m", "strandline", "import", "shapes", str(folder / "shapes")],
            env={**os.environ, **self.storage, **own},
            check=True,
            capture_output=True,
        )

    def until(self, resource: Resource, holds: Callable[[], bool]) -> None:
        """Let KubeRay do what it has to until it is so."""
        give_up = time.monotonic() + PATIENCE_SECONDS
        while not holds():
            view = self.executor.view(resource)
            assert view.state is not JobState.ENDED, view
            assert time.monotonic() < give_up, (view, self._told())
            self.kuberay.step()
            time.sleep(0.5)

    def clear(self) -> None:
        """Let KubeRay let go of what a failed test left, or the namespace never ends."""
        for job in self.api.list_all(RAYJOBS, self.namespace).items:
            self.api.delete(RAYJOBS, key_of(job))
        self.kuberay.step()

    def trials(self, resource: Resource) -> int:
        """Return how many trials have begun."""
        return len(self.catalog.list_trials(resource.uid))

    def pods(self, node_type: str) -> list[Document]:
        """Return the heads or the workers."""
        selector = f"{NODE_TYPE_LABEL}={node_type}"
        return list(self.api.list_all(PODS, self.namespace, selector).items)

    def _told(self) -> str:
        return self.cluster.kubectl("get", "pods", "-n", self.namespace, "-o", "wide")


@pytest.fixture
def place(own_cluster: Cluster, namespace: str, tmp_path: Path) -> Iterator[Place]:
    cluster = own_cluster
    cluster.kubectl.apply(CRD)
    cluster.kubectl("wait", "--for=create", "crd/rayjobs.ray.io", "--timeout=60s")
    database = cluster.postgres.make_database()
    storage = {
        **cluster.s3.environ,
        "STRANDLINE_STORE": f"s3://{cluster.s3.make_bucket()}",
        "STRANDLINE_CATALOG": database,
    }
    metadata = {"name": SECRET, "namespace": namespace}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata}
    cluster.kubectl.apply({**secret, "stringData": storage})
    packages = HostPackages.prepare(cluster, tmp_path / "programs")
    packages.claim(namespace)
    settings = _settings(packages)
    api, clock = KubeApi.connect(cluster.kubeconfig), SystemClock()

    def make(
        resource: Resource, namespace: str, attempt: int, failures: int, placement: Placement
    ) -> Document:
        where = Execution.model_validate({"mode": "kuberay"})
        return make_rayjob(resource, namespace, attempt, failures, placement, settings, where)

    indexes = {BY_UID: lambda document: [worker_uid(document)]}
    jobs, pods = (
        Informer(
            *(api, resource, clock),
            namespace=namespace,
            selector=JOB_SELECTOR,
            keep=keep,
            indexes=indexes,
        )
        for resource, keep in ((RAYJOBS, keep_rayjob), (PODS, keep_pod))
    )
    for informer in (jobs, pods):
        informer.start()
        assert informer.wait_synced(PATIENCE_SECONDS)
    start = ExecStart(cluster.kubectl, str(binaries.path("kubectl")), tmp_path)
    opened = Database(database)
    made = Place(
        cluster,
        namespace,
        api,
        opened.open_catalog(catalog_schema(namespace)),
        storage,
        KubeRayJobs(api, namespace, jobs, pods, make, clock),
        KubeRayStandIn(api, namespace, start, clock),
    )
    yield made
    made.clear()
    packages.release(namespace)
    start.close()
    for informer in (jobs, pods):
        informer.stop()
    opened.close()
    api.close()


def _settings(packages: HostPackages) -> JobSettings:
    """Return settings whose pods find the packages of the Python that runs this test."""
    return JobSettings.model_validate(
        {
            "image": packages.image,
            "resources": {"Search": {"cpu": "500m", "memory": "4Gi", "scratch": "3Gi"}},
            "volumes": packages.volumes,
            "volumeMounts": packages.mounts,
            "env": {**packages.env, "USER": "strandline"},
            "graceSeconds": 5,
        }
    )


def make_search(place: Place) -> Resource:
    """Adopt a Search, as the operator does."""
    search = Resource(
        kind="Search",
        name="quick",
        uid="0f6a2c1e-0000-4000-8000-000000000001",
        generation=1,
        resource_version=0,
        labels={},
        annotations={},
        spec=SPEC,
        status={},
        created_at=datetime.now(UTC),
    )
    return place.catalog.adopt_resource(search)[0]


@pytest.mark.parametrize("lost", ["worker", "head"])
def test_a_lost_pod_ends_no_search(place: Place, tmp_path: Path, lost: str) -> None:
    write_shapes(tmp_path / "shapes", each=20)
    place.import_shapes(tmp_path)
    search = make_search(place)
    assert place.executor.start(search, 1, Placement((POOL,)))
    place.until(search, lambda: place.trials(search) > 0)

    (pod,) = place.pods(lost)
    with suppress(NotFoundError):
        place.api.delete(PODS, key_of(pod), grace_seconds=0)
    place.until(search, lambda: _is_over(place, search))

    view = place.executor.view(search)
    (head,) = place.pods("head")
    log = place.api.read_log(key_of(head), "ray-head")
    assert view.exit_code == 0, (view, log)
    row = place.catalog.get_resource("Search", "quick")
    ready = get_condition(row.status, "Ready")
    assert ready is not None
    assert ready["status"] == "True", row.status
    assert {trial.state for trial in place.catalog.list_trials(search.uid)} == {"completed"}
    assert [each.version for each in place.catalog.list_model_versions("shapes")] == [1]


def _is_over(place: Place, search: Resource) -> bool:
    return place.executor.view(search).state is JobState.ENDED
