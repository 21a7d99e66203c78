"""Each fault happens, and is over when its helper says so."""

from __future__ import annotations

import io
import json
import sys
import time

import pytest
from minio.error import S3Error
from tests.cluster.cluster import Cluster
from tests.cluster.component import Component
from tests.cluster.kubectl import KubectlError
from tests.cluster.sandbox import Sandbox
from tests.cluster.test_cluster import pod

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

# Its first thread ends, as that of a killed process does before the others.
_HEADLESS = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(600,)).start()
ctypes.CDLL(None).pthread_exit(None)
"""


def test_the_apiserver_is_gone_for_a_while(own_cluster: Cluster) -> None:
    with own_cluster.faults.without("kube-apiserver"), pytest.raises(KubectlError):
        own_cluster.kubectl("get", "nodes", timeout=60)
    assert own_cluster.kubectl("get", "nodes")


def test_the_store_is_gone_and_keeps_what_it_had(own_cluster: Cluster) -> None:
    bucket = own_cluster.s3.make_bucket()
    with own_cluster.faults.without("minio"):
        assert not own_cluster.s3.answers()
    assert own_cluster.s3.client.bucket_exists(bucket)


def test_a_full_store_refuses_writes_until_there_is_place(own_cluster: Cluster) -> None:
    client, bucket = own_cluster.s3.client, own_cluster.s3.make_bucket()
    content = bytes(4 << 20)
    with own_cluster.faults.full_store(), pytest.raises(S3Error) as refused:
        client.put_object(bucket, "large", io.BytesIO(content), len(content))
    assert refused.value.code == "XMinioStorageFull"
    client.put_object(bucket, "large", io.BytesIO(content), len(content))


def test_the_database_restarts_with_its_rows(own_cluster: Cluster) -> None:
    own_cluster.postgres.make_database()
    own_cluster.faults.restart("postgres")
    assert own_cluster.postgres.answers()


@pytest.mark.parametrize("name", ["etcd", "kubelet", "containerd", "kube-controller-manager"])
def test_a_component_that_was_killed_comes_back(own_cluster: Cluster, name: str) -> None:
    own_cluster.faults.crash(name)
    own_cluster.kubectl("wait", "--for=condition=Ready", "node", "--all", "--timeout=120s")


def test_a_component_runs_while_any_of_its_threads_does(own_cluster: Cluster) -> None:
    assert own_cluster.site is not None
    sandbox = Sandbox(own_cluster.site)
    headless = Component("headless", sandbox, [sys.executable, "-c", _HEADLESS], lambda: True)
    headless.start()
    try:
        pid = sandbox.pid("headless")
        deadline = time.monotonic() + 30
        while "Z (zombie)" not in sandbox.run("cat", f"/proc/{pid}/status"):
            assert time.monotonic() < deadline, "its first thread does not end"
            time.sleep(0.05)
        assert headless.runs
    finally:
        headless.kill()
    assert not headless.runs


def test_old_watches_are_told_gone(own_cluster: Cluster) -> None:
    own_cluster.faults.expire_watches()
    url = "/api/v1/configmaps?watch=1&resourceVersion=1&timeoutSeconds=5"
    event = json.loads(own_cluster.kubectl("get", "--raw", url).splitlines()[0])
    assert (event["type"], event["object"]["code"]) == ("ERROR", 410)


def test_a_drained_node_has_no_pods_and_takes_them_again(
    own_cluster: Cluster, namespace: str
) -> None:
    kubectl = own_cluster.kubectl
    image = own_cluster.images.base()
    kubectl.apply(pod("idle", image, "sleep", "600"), arguments=("-n", namespace))
    kubectl("wait", "--for=condition=Ready", "pod/idle", "-n", namespace, "--timeout=120s")
    with own_cluster.faults.drained():
        kubectl("wait", "--for=delete", "pod/idle", "-n", namespace, "--timeout=60s")
    kubectl.apply(pod("after", image, "sleep", "600"), arguments=("-n", namespace))
    kubectl("wait", "--for=condition=Ready", "pod/after", "-n", namespace, "--timeout=120s")
