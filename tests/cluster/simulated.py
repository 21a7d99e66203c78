"""Nodes that are only said to be there, by kwok: thousands of them, with any accelerator.

Pods that are scheduled to them "run" at once, without anything that runs.

    with simulated_nodes(kubectl, tmp_path, [gpu_pool("l4", 500), tpu_pool("v5e", 500)]):
        ...
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster import binaries
from tests.cluster.child import Child
from tests.cluster.commands import answers
from tests.cluster.kubectl import Kubectl
from tests.servers.loopback import free_port

POOL_LABEL = "strandline.dev/test-pool"
_ANNOTATION = "kwok.x-k8s.io/node"
_BATCH = 250  # nodes a call: some hundred kilobytes


@dataclass(frozen=True, slots=True)
class Pool:
    """Equal nodes.

    Attributes:
        taint: key of a NoSchedule taint, which keeps real pods off; its value is `present`.
        resources: extended ones, beside processors, memory and pods.
    """

    name: str
    count: int
    taint: str
    labels: Mapping[str, str] = field(default_factory=dict)
    resources: Mapping[str, str] = field(default_factory=dict)

    def nodes(self) -> list[dict[str, Any]]:
        """Return the nodes as documents."""
        return [self._node(index) for index in range(self.count)]

    def _node(self, index: int) -> dict[str, Any]:
        name = f"{self.name}-{index:04}"
        capacity = {"cpu": "32", "memory": "256Gi", "pods": "110", **self.resources}
        labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}
        labels |= {"type": "kwok", POOL_LABEL: self.name, **self.labels}
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": labels, "annotations": {_ANNOTATION: "fake"}},
            "spec": {"taints": [{"key": self.taint, "value": "present", "effect": "NoSchedule"}]},
            "status": {"capacity": capacity, "allocatable": capacity},
        }


def gpu_pool(name: str, count: int, product: str = "nvidia-l4", gpus: int = 1) -> Pool:
    """Return nodes with GPUs, labeled and tainted as on GKE."""
    labels = {"cloud.google.com/gke-accelerator": product}
    return Pool(name, count, "nvidia.com/gpu", labels, {"nvidia.com/gpu": str(gpus)})


def tpu_pool(
    name: str,
    count: int,
    accelerator: str = "tpu-v5-lite-podslice",
    topology: str = "4x4",
    chips: int = 4,
) -> Pool:
    """Return the hosts of TPU slices, labeled and tainted as on GKE; chips are a host's."""
    labels = {
        "cloud.google.com/gke-tpu-accelerator": accelerator,
        "cloud.google.com/gke-tpu-topology": topology,
    }
    return Pool(name, count, "google.com/tpu", labels, {"google.com/tpu": str(chips)})


@contextmanager
def simulated_nodes(kubectl: Kubectl, folder: Path, pools: Sequence[Pool]) -> Iterator[Child]:
    """Have nodes while the block runs; its value is kwok, which keeps them alive."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/healthz"
    command = [str(binaries.path("kwok")), f"--kubeconfig={kubectl.kubeconfig}"]
    command += [f"--manage-nodes-with-annotation-selector={_ANNOTATION}=fake"]
    command += [
        f"--config={Path(__file__).with_name('kwok.yaml')}",
        "--node-lease-duration-seconds=40",
    ]
    command += ["--manage-all-nodes=false", f"--server-address=127.0.0.1:{port}"]
    kwok = Child(command, lambda: answers(url), folder / "kwok.log")
    try:
        kwok.start()
        _make(kubectl, [node for pool in pools for node in pool.nodes()])
        for pool in pools:
            labeled = ("node", "-l", f"{POOL_LABEL}={pool.name}")
            kubectl("wait", "--for=condition=Ready", *labeled, "--timeout=300s")
        yield kwok
    finally:
        for pool in pools:
            kubectl("delete", "node", "-l", f"{POOL_LABEL}={pool.name}", "--wait=false")
        kwok.stop()


def _make(kubectl: Kubectl, nodes: list[dict[str, Any]]) -> None:
    for start in range(0, len(nodes), _BATCH):
        kubectl.apply(*nodes[start : start + _BATCH])
