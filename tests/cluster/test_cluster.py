"""Pods run, find each other and may be looked into, on a node as strict as ours must be."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.cluster.cluster import Cluster
from tests.cluster.kubectl import KubectlError
from tests.cluster.simulated import gpu_pool, tpu_pool

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

_RESTRICTED: dict[str, Any] = {
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
}
_CONTAINED: dict[str, Any] = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def pod(name: str, image: str, *command: str, **spec: Any) -> dict[str, Any]:
    """Return a pod that Pod Security "restricted" admits."""
    container: dict[str, Any] = {"name": "main", "image": image, "command": list(command)}
    container |= {"imagePullPolicy": "IfNotPresent", "securityContext": _CONTAINED}
    container |= spec.pop("container", {})
    spec = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, **spec}
    spec |= {"securityContext": _RESTRICTED, "containers": [container]}
    metadata = {"name": name, "labels": {"app": name}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


@pytest.fixture(scope="module")
def image(cluster: Cluster) -> str:
    return cluster.images.base()


def _succeeded(cluster: Cluster, namespace: str, name: str) -> str:
    phase = "jsonpath={.status.phase}"
    cluster.kubectl(
        *("wait", f"pod/{name}", "-n", namespace),
        *(f"--for={phase}=Succeeded", "--timeout=120s"),
    )
    return cluster.kubectl("logs", name, "-n", namespace)


def _run(cluster: Cluster, namespace: str, document: dict[str, Any]) -> str:
    cluster.kubectl.apply(document, arguments=("-n", namespace))
    return _succeeded(cluster, namespace, document["metadata"]["name"])


def test_a_pod_runs_and_its_log_is_read(cluster: Cluster, namespace: str, image: str) -> None:
    said = _run(cluster, namespace, pod("hello", image, "python3", "-c", "print(6 * 7)"))
    assert said == "42\n"


def test_pods_find_each_other_by_the_name_of_a_service(
    cluster: Cluster, namespace: str, image: str
) -> None:
    server = pod("server", image, "python3", "-m", "http.server", "8000", "-d", "/usr/share")
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "files"},
        "spec": {"selector": {"app": "server"}, "ports": [{"port": 80, "targetPort": 8000}]},
    }
    url = f"http://files.{namespace}.svc.cluster.local/doc/"
    retried = ("--retry", "60", "--retry-delay", "1", "--retry-all-errors")
    client = pod("client", image, "curl", "-sf", *retried, url)
    cluster.kubectl.apply(server, service, arguments=("-n", namespace))
    assert "Directory listing" in _run(cluster, namespace, client)


def test_a_command_runs_inside_a_pod_as_an_ordinary_user(
    cluster: Cluster, namespace: str, image: str
) -> None:
    cluster.kubectl.apply(pod("idle", image, "sleep", "600"), arguments=("-n", namespace))
    cluster.kubectl("wait", "--for=condition=Ready", "pod/idle", "-n", namespace, "--timeout=120s")
    assert cluster.kubectl("exec", "idle", "-n", namespace, "--", "id", "-u") == "65532\n"


def test_restricted_pod_security_refuses_root(cluster: Cluster, namespace: str, image: str) -> None:
    rooted = pod("root", image, "id")
    rooted["spec"]["securityContext"] = {"runAsUser": 0}
    with pytest.raises(KubectlError, match="violates PodSecurity"):
        cluster.kubectl.apply(rooted, arguments=("-n", namespace))


def test_pods_reach_the_object_store_and_the_database(
    own_cluster: Cluster, namespace: str, image: str
) -> None:
    endpoint, bucket = own_cluster.s3.endpoint, own_cluster.s3.make_bucket()
    url = f"http://{endpoint}/minio/health/live"
    look = f"import urllib.request as u, socket; print(u.urlopen('{url}').status);"
    database = own_cluster.postgres
    look += f"socket.create_connection(('{database.host}', {database.port}), 10); print('rows')"
    assert _run(own_cluster, namespace, pod("look", image, "python3", "-c", look)) == "200\nrows\n"
    assert own_cluster.s3.client.bucket_exists(bucket)
    address = database.make_database().replace("postgresql+psycopg", "postgresql")
    with psycopg.connect(address) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_volume_of_the_machine_is_mounted_by_a_restricted_pod(
    own_cluster: Cluster, namespace: str, image: str, tmp_path: Path
) -> None:
    (tmp_path / "greeting").write_text("from the machine\n")
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    claim = own_cluster.mount(namespace, "environment", tmp_path)
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": claim}}
    mount = {"volumeMounts": [{"name": "data", "mountPath": "/data", "readOnly": True}]}
    reader = pod("reader", image, "cat", "/data/greeting", volumes=[volume], container=mount)
    try:
        assert _run(own_cluster, namespace, reader) == "from the machine\n"
    finally:  # it belongs to no namespace, and names a folder of this run
        own_cluster.kubectl("delete", f"pv/{namespace}-environment", "--wait=false")


def test_simulated_accelerators_take_the_pods_that_ask_for_them(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    pools = [gpu_pool("l4", 3), tpu_pool("v5e", 4)]
    wanted = {"resources": {"limits": {"google.com/tpu": "4"}}}
    tolerations = [{"key": "google.com/tpu", "operator": "Exists"}]
    worker = pod("worker", "no.such/image:1", tolerations=tolerations, container=wanted)
    with cluster.simulated_nodes(tmp_path, pools):
        cluster.kubectl.apply(worker, arguments=("-n", namespace))
        cluster.kubectl(
            *("wait", "--for=condition=Ready", "pod/worker", "-n", namespace, "--timeout=120s")
        )
        node = cluster.kubectl.json("get", "pod", "worker", "-n", namespace)["spec"]["nodeName"]
        assert node.startswith("v5e-")
        cluster.kubectl("delete", "pod", "worker", "-n", namespace)


def test_helm_talks_to_the_cluster(cluster: Cluster) -> None:
    command = [str(cluster.helm), "list", "--kubeconfig", str(cluster.kubeconfig), "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
