"""What objects cost an operator: memory held, time to list, time to hand keys to workers.

Run: python bench/kube_runtime/run.py (two minutes; needs the programs that
`python -m tests.cluster.binaries` builds).

A bare control plane is filled with 2,000 Searches, a Job for each, and 1,000 nodes as large
as those of a cloud. A process of its own then follows them with the operator's informers;
its resident memory is read after each kind.
"""

from __future__ import annotations

import gc
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.cluster.binaries import missing  # after the path
from tests.cluster.control_plane import control_plane, programs

from strandline.adapters.clock import SystemClock
from strandline.adapters.kube.api import KubeApi
from strandline.adapters.kube.controller import Controller
from strandline.adapters.kube.informer import Informer
from strandline.adapters.kube.resources import JOBS, NODES, Document, ObjectKey, ResourceType

ROOT = Path(__file__).parents[2]
SEARCHES = ResourceType("strandline.dev", "v1alpha1", "searches", "Search")
CRDS = ResourceType(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", False
)
COUNTS = {"searches": 2000, "jobs": 2000, "nodes": 1000}
_MIB = 1 << 20
_NAMESPACE = "default"
_MOMENT = "2026-01-01T00:00:00Z"


def make_search(api: KubeApi, number: int) -> None:
    """Make a Search that runs, with four conditions."""
    metadata = {"namespace": _NAMESPACE, "name": f"search-{number}"}
    spec = {
        "dataset": {"name": "coast"},
        "space": {"preset": "transfer"},
        "objectives": [{"metric": "val/auc_pr", "goal": "maximize"}],
        "budget": {"trials": 64, "time": "10m"},
        "parallelism": 8,
        "model": {"name": "coast"},
    }
    api.create(SEARCHES, {**_head(SEARCHES), "metadata": metadata, "spec": spec})
    said = {"reason": "JobRunning", "message": "Trial 12 of 64 trains; the best reaches 0.93"}
    state = {"status": "True", "observedGeneration": 1, "lastTransitionTime": _MOMENT}
    kinds = ("Ready", "Progressing", "Complete", "Failed")
    conditions = [{"type": kind, **said, **state} for kind in kinds]
    api.apply_status(SEARCHES, {"metadata": metadata, "status": {"conditions": conditions}})


def make_job(api: KubeApi, number: int) -> None:
    """Make the Job of a Search, suspended."""
    owner = {**_head(SEARCHES), "name": f"search-{number}", "uid": f"{number:036d}"}
    labels = {f"strandline.dev/label-{k}": f"value-{number}" for k in range(5)}
    secret = {"name": "strandline-storage", "key": "key"}
    container = {
        "name": "main",
        "image": "strandline",
        "command": ["strandline", "run-job", f"search/search-{number}"],
        "env": [{"name": f"VALUE_{k}", "valueFrom": {"secretKeyRef": secret}} for k in range(10)],
        "resources": {"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"memory": "4Gi"}},
        "volumeMounts": [{"name": "home", "mountPath": "/home/strandline"}],
    }
    pod = {
        "restartPolicy": "Never",
        "containers": [container],
        "volumes": [{"name": "home", "emptyDir": {}}],
    }
    metadata = {"namespace": _NAMESPACE, "name": f"search-{number}-1", "labels": labels}
    job = {**_head(JOBS), "metadata": metadata | {"ownerReferences": [owner]}}
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec = {"suspend": True, "backoffLimit": 0, "template": template}
    api.create(JOBS, {**job, "spec": spec})


def make_node(api: KubeApi, number: int) -> None:
    """Make a node with 15 labels and 30 images."""
    labels = {f"cloud.example.com/label-{k}": f"value-{k}" for k in range(15)}
    metadata = {"name": f"node-{number}", "labels": labels}
    node = api.create(NODES, {**_head(NODES), "metadata": metadata})
    names = [f"registry.example.com/team/image-{k}@sha256:{'a' * 64}" for k in range(30)]
    room = {"cpu": "32", "memory": "128Gi", "nvidia.com/gpu": "8", "pods": "110"}
    node["status"] = {
        "capacity": room,
        "allocatable": room,
        "images": [{"names": [name, name[:40]], "sizeBytes": 123456789} for name in names],
        "conditions": [
            {"type": kind, "status": "False", "lastHeartbeatTime": _MOMENT}
            for kind in ("MemoryPressure", "DiskPressure", "PIDPressure", "Ready")
        ],
    }
    api.replace_status(NODES, node)


def _head(rt: ResourceType) -> Document:
    return {"apiVersion": rt.api_version, "kind": rt.kind}


def fill(api: KubeApi) -> None:
    """Make all objects."""
    from yaml import safe_load

    crd = ROOT / "manifests" / "crds" / "strandline.dev_searches.yaml"
    api.apply(CRDS, safe_load(crd.read_text()))
    time.sleep(5)  # until the new kind is served
    makers: dict[str, Callable[[KubeApi, int], None]] = {
        "searches": make_search,
        "jobs": make_job,
        "nodes": make_node,
    }
    with ThreadPoolExecutor(4) as threads:
        for name, make in makers.items():
            list(threads.map(lambda number, make=make: make(api, number), range(COUNTS[name])))


def resident_mib() -> float:
    """Return this process's resident memory."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / _MIB


def owners(document: Document) -> Iterator[str]:
    """Iterate over the uids of an object's owners."""
    for owner in document["metadata"].get("ownerReferences", ()):
        yield owner["uid"]


def node_room(node: Document) -> Document:
    """Keep of a node what choosing a pool needs."""
    metadata = {name: node["metadata"].get(name) for name in ("name", "uid", "labels")}
    version = {"resourceVersion": node["metadata"]["resourceVersion"]}
    room = {"allocatable": node["status"].get("allocatable")}
    return {"metadata": metadata | version, "spec": node.get("spec"), "status": room}


def measure(kubeconfig: Path) -> None:
    """Follow all objects in this process and print the table."""
    print(f"| with nothing held | | | {resident_mib():.0f} MiB | | |")
    api = KubeApi.connect(kubeconfig)
    followed = []
    clock = SystemClock()
    rows: tuple[tuple[str, ResourceType, dict[str, Any]], ...] = (
        ("Searches", SEARCHES, {}),
        ("Jobs, indexed by owner", JOBS, {"indexes": {"owner": owners}}),
        ("nodes, whole", NODES, {}),
        ("nodes, labels and room only", NODES, {"keep": node_room}),
    )
    for title, rt, options in rows:
        before, began = resident_mib(), time.monotonic()
        informer = Informer(api, rt, clock, **options)
        informer.start()
        assert informer.wait_synced(300)
        seconds, after = time.monotonic() - began, resident_mib()
        text = sum(len(json.dumps(each, separators=(",", ":"))) for each in informer.documents())
        each = (after - before) * _MIB / len(informer)
        row = f"{text / len(informer):.0f} B | {after:.0f} MiB | {each:.0f} B | {seconds:.2f} s"
        print(f"| {title} | {len(informer)} | {row} |")
        followed.append(informer)
    print(f"\n{_keys_a_second(followed[0]):.0f} keys a second through the queue and four workers")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"resident at most {peak:.0f} MiB")
    for informer in followed:
        informer.stop()
    api.close()


def _keys_a_second(informer: Informer) -> float:
    """Return how fast workers take keys whose reconcile only reads the cache."""

    def reconcile(key: ObjectKey) -> None:
        informer.get(key)

    controller = Controller("bench", reconcile, SystemClock())
    keys = informer.keys()
    for key in keys:
        controller.queue.add(key)
    began = time.monotonic()
    controller.start()
    while len(controller.queue):
        time.sleep(0.001)
    assert controller.stop(60)
    return len(keys) / (time.monotonic() - began)


def main() -> None:
    """Fill a control plane; measure in another process."""
    if len(sys.argv) == 3:
        measure(Path(sys.argv[2]))
        return
    if missing(programs()):
        print("skipped: `python -m tests.cluster.binaries` builds the apiserver first")
        return
    with tempfile.TemporaryDirectory() as folder, control_plane(Path(folder)) as plane:
        api = KubeApi.connect(plane.kubeconfig)
        fill(api)
        api.close()
        print("| held | objects | JSON of each | resident | each adds | first list |")
        print("|---|---|---|---|---|---|", flush=True)
        subprocess.run([sys.executable, __file__, "--measure", plane.kubeconfig], check=True)


if __name__ == "__main__":
    main()
