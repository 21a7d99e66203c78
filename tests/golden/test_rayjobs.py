"""RayJobs for KubeRay as documents: compared whole, so that no field changes unseen.

`UPDATE_GOLDEN=1` writes what is made now; read the diff before it is committed.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.golden.test_pods import L4, SAFE, SETTINGS, make_resource

from strandline.control.lanes import lane_groups
from strandline.control.rayjobs import LONGEST_NAME, make_rayjob
from strandline.ports import Resource
from strandline.spec.actions import ANYWHERE, Placement, PoolShare
from strandline.spec.kinds.compute_pool import ComputePoolSpec
from strandline.spec.lanes import LaneGroup, read_lanes
from strandline.spec.operator_config import RAY_VERSION, Execution

FOLDER = Path(__file__).parent / "rayjobs"
PLAIN_L4 = {name: value for name, value in L4.items() if name != "queue"}
A100 = {
    "accelerator": {"kind": "gpu", "count": 8},
    "nodeSelector": {"cloud.google.com/gke-accelerator": "nvidia-tesla-a100"},
    "cpu": "96",
    "memory": "640Gi",
}
TPU = {
    "accelerator": {"kind": "tpu"},
    "tpu": {"accelerator": "tpu-v5-lite-podslice", "topology": "4x4"},
    "tolerations": [{"key": "google.com/tpu", "operator": "Exists", "effect": "NoSchedule"}],
    "cpu": "24",
    "memory": "48Gi",
    "image": "example.com/strandline-jobs:0.1.0-tpu",
}
SPOT = {
    **PLAIN_L4,
    "spot": True,
    "tolerations": [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
        {"key": "cloud.google.com/gke-spot", "value": "true", "effect": "NoSchedule"},
    ],
}
ELASTIC = {**PLAIN_L4, "workers": {"min": 1, "max": 6}}
DRIVER = PoolShare("safe", SAFE, 1)
# The fields that KubeRay 1.7 has; a document may have no others.
JOB_FIELDS = {
    *("entrypoint", "submissionMode", "backoffLimit", "shutdownAfterJobFinishes"),
    *("ttlSecondsAfterFinished", "suspend", "rayClusterSpec"),
}
CLUSTER_FIELDS = {
    *("rayVersion", "authOptions", "enableInTreeAutoscaling", "autoscalerOptions"),
    *("headGroupSpec", "workerGroupSpecs"),
}
GROUP_FIELDS = {
    *("groupName", "replicas", "minReplicas", "maxReplicas", "numOfHosts"),
    *("rayStartParams", "template"),
}


def rayjob(
    placement: Placement = ANYWHERE, resource: Resource | None = None, **execution: Any
) -> dict[str, Any]:
    where = Execution.model_validate({"mode": "kuberay", **execution})
    chosen = resource or make_resource(parallelism=8)
    return make_rayjob(chosen, "team-a", 2, 1, placement, SETTINGS, where)


def on(*pools: PoolShare) -> Placement:
    return Placement(pools, DRIVER)


CASES: Mapping[str, Callable[[], dict[str, Any]]] = {
    "no-pool": lambda: rayjob(resource=make_resource(parallelism=3)),
    "one-gpu-pool": lambda: rayjob(on(PoolShare("l4", PLAIN_L4, 4))),
    "two-pools-with-fallback": lambda: rayjob(
        on(PoolShare("a100", A100, 1), PoolShare("l4", PLAIN_L4, 2)),
        tokenSecret={"name": "ray-token", "key": "auth_token"},
    ),
    "tpu-v5e-4x4": lambda: rayjob(on(PoolShare("tpu-v5e", TPU, 2))),
    "spot": lambda: rayjob(on(PoolShare("l4-spot", SPOT, 4))),
    "kueue": lambda: rayjob(on(PoolShare("l4", L4, 4))),
    "training": lambda: rayjob(
        on(PoolShare("l4", PLAIN_L4, 4, fewest=2)), make_resource("Training", workers=4)
    ),
    "training-without-a-pool": lambda: rayjob(
        resource=make_resource("Training", workers=3, minWorkers=1)
    ),
    "elastic": lambda: rayjob(on(PoolShare("l4", ELASTIC, 1))),
}


@pytest.mark.parametrize("name", CASES)
def test_a_rayjob_is_this_document(name: str) -> None:
    made = CASES[name]()
    path = FOLDER / f"{name}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(made, sort_keys=False), "utf-8")
    assert made == yaml.safe_load(path.read_text("utf-8"))


@pytest.mark.parametrize("name", CASES)
def test_only_fields_of_kuberay_are_used(name: str) -> None:
    spec = CASES[name]()["spec"]
    cluster = spec["rayClusterSpec"]
    assert set(spec) == JOB_FIELDS
    assert set(cluster) <= CLUSTER_FIELDS
    assert set(cluster["headGroupSpec"]) == {"rayStartParams", "template"}
    for group in cluster["workerGroupSpecs"]:
        assert set(group) == GROUP_FIELDS
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())


@pytest.mark.parametrize("name", CASES)
def test_its_pods_are_restricted(name: str) -> None:
    for pod in pods_of(CASES[name]()):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert all("hostPath" not in volume for volume in pod["volumes"])
        for container in pod["containers"]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]


@pytest.mark.parametrize("name", sorted(set(CASES) - {"elastic"}))
def test_its_pods_have_no_token_and_its_groups_a_fixed_size(name: str) -> None:
    made = CASES[name]()
    assert all(pod["automountServiceAccountToken"] is False for pod in pods_of(made))
    for group in made["spec"]["rayClusterSpec"]["workerGroupSpecs"]:
        assert group["replicas"] == group["maxReplicas"]
        assert group["minReplicas"] == {"training": 2, "training-without-a-pool": 1}.get(
            name, group["replicas"]
        )


def test_a_training_never_has_more_workers_than_it_asks_for() -> None:
    """Its pool may grow while trials of a search wait; a training has no more trials."""
    asked = PoolShare("l4", ELASTIC, 1, fewest=1)
    made = rayjob(on(asked), make_resource("Training"))["spec"]["rayClusterSpec"]
    assert "enableInTreeAutoscaling" not in made
    assert made["workerGroupSpecs"][0]["maxReplicas"] == 1


def test_the_driver_takes_no_trial_and_stays_off_spot_nodes() -> None:
    head = CASES["spot"]()["spec"]["rayClusterSpec"]["headGroupSpec"]
    assert head["rayStartParams"]["num-cpus"] == "0"
    assert head["template"]["spec"]["nodeSelector"] == {"node-role": "safe"}
    tolerated = head["template"]["spec"]["tolerations"]
    assert all(each["key"] != "cloud.google.com/gke-spot" for each in tolerated)


def test_a_worker_of_a_tpu_slice_has_as_many_hosts_as_its_topology() -> None:
    (group,) = CASES["tpu-v5e-4x4"]()["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert (group["replicas"], group["numOfHosts"]) == (2, 4)
    spec = group["template"]["spec"]
    assert spec["containers"][0]["resources"]["limits"]["google.com/tpu"] == 4
    assert spec["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
        "cloud.google.com/gke-tpu-topology": "4x4",
    }


@pytest.mark.parametrize("name", CASES)
def test_the_lanes_fit_the_workers_that_are_asked_for(name: str) -> None:
    made = CASES[name]()["spec"]["rayClusterSpec"]
    lanes = {group.pool: group for group in lanes_of(made)}
    for group in made["workerGroupSpecs"]:
        offered = {"CPU": float(group["rayStartParams"]["num-cpus"])}
        offered["GPU"] = float(group["rayStartParams"]["num-gpus"])
        (resources,) = shlex.split(group["rayStartParams"]["resources"])
        offered |= json.loads(resources)
        lane = lanes[group["groupName"]]
        assert offered[f"pool-{lane.pool}"] >= lane.lanes
        whole = group["maxReplicas"] * group["numOfHosts"]
        for device, amount in {"CPU": lane.cpus, **lane.devices}.items():
            assert lane.lanes * lane.hosts * amount <= whole * offered[device]


def test_preferred_pools_come_first_and_each_gpu_takes_a_trial() -> None:
    lanes = lanes_of(CASES["two-pools-with-fallback"]()["spec"]["rayClusterSpec"])
    assert lanes == (
        LaneGroup("a100", 8, 12.0, {"GPU": 1.0}, per_worker=8),
        LaneGroup("l4", 2, 8.0, {"GPU": 1.0}),
    )


def test_a_lane_costs_what_its_devices_do() -> None:
    def price_of(**spec: Any) -> float | None:
        (group,) = lane_groups([PoolShare("p", {"pricePerHour": 1.5, **spec}, 1)])
        return group.hourly_price

    assert price_of() == 1.5
    assert price_of(accelerator={"kind": "gpu", "count": 8}) == 1.5
    tpu = {"accelerator": "tpu-v5-lite-podslice", "topology": "4x4"}
    assert price_of(accelerator={"kind": "tpu"}, tpu=tpu) == 24.0
    assert price_of(pricePerHour=None) is None


def test_a_queue_starts_it_suspended() -> None:
    made = CASES["kueue"]()
    assert made["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a"
    assert made["spec"]["suspend"] is True
    assert CASES["one-gpu-pool"]()["spec"]["suspend"] is False


def test_a_name_is_no_longer_than_kuberay_takes() -> None:
    long = make_resource()
    made = make_rayjob(
        Resource(**{**{f: getattr(long, f) for f in long.__slots__}, "name": "a" * 60}),
        *("team-a", 12, 0, ANYWHERE, SETTINGS, Execution.model_validate({"mode": "kuberay"})),
    )
    assert len(made["metadata"]["name"]) <= LONGEST_NAME
    assert made["metadata"]["name"].endswith("-3f2a9c1b-12")


def test_the_version_is_that_of_the_ray_it_is_tested_with() -> None:
    assert version("ray") == RAY_VERSION


def pods_of(made: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    cluster = made["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        yield group["template"]["spec"]


def lanes_of(cluster: Mapping[str, Any]) -> tuple[LaneGroup, ...]:
    environment = cluster["headGroupSpec"]["template"]["spec"]["containers"][0]["env"]
    (text,) = [each["value"] for each in environment if each["name"] == "STRANDLINE_POOLS"]
    return read_lanes(text)


def test_the_pools_here_are_valid() -> None:
    for spec in (PLAIN_L4, A100, TPU, SPOT, ELASTIC):
        ComputePoolSpec.model_validate(spec)
