"""Jobs of a cluster as documents: compared whole, so that no field changes unseen.

`UPDATE_GOLDEN=1` writes what is made now; read the diff before it is committed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from strandline.control.pods import SHORTEST_TTL_SECONDS, make_job
from strandline.ports import Resource
from strandline.spec.actions import ANYWHERE, Placement, PoolShare
from strandline.spec.operator_config import Execution, JobSettings

FOLDER = Path(__file__).parent / "pods"
UID = "3f2a9c1b-77aa-4c1e-9d43-5c0f6d1c2b11"
SETTINGS = JobSettings.model_validate(
    {
        "image": "example.com/strandline-jobs:0.1.0",
        "imagePullSecrets": ["registry"],
        "resources": {"Search": {"cpu": 4, "memory": "16Gi", "scratch": "50Gi"}},
        "env": {"TQDM_DISABLE": "1"},
        "tolerations": [{"key": "batch", "operator": "Exists"}],
        "priorityClass": "batch",
    }
)
L4 = {
    "accelerator": {"kind": "gpu"},
    "nodeSelector": {"cloud.google.com/gke-accelerator": "nvidia-l4"},
    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "cpu": "8",
    "memory": "32Gi",
    "queue": "team-a",
    "runtimeClassName": "nvidia",
}
SAFE = {"nodeSelector": {"node-role": "safe"}}


def make_resource(kind: str = "Search", **spec: Any) -> Resource:
    return Resource(
        kind=kind,
        name="coast",
        uid=UID,
        generation=3,
        resource_version=1,
        labels={},
        annotations={},
        spec=spec if kind == "Dataset" else {"dataset": {"name": "coast"}, **spec},
        status={},
        created_at=datetime(2026, 1, 31, tzinfo=UTC),
    )


def job(
    resource: Resource | None = None,
    placement: Placement = ANYWHERE,
    settings: JobSettings = SETTINGS,
    **execution: Any,
) -> dict[str, Any]:
    where = Execution.model_validate(execution)
    return make_job(resource or make_resource(), "team-a", 2, 1, placement, settings, where)


TOKEN = {"name": "ray-token", "key": "token"}
STATIC: Any = {"mode": "static", "rayAddress": "strandline-ray-head:6379", "tokenSecret": TOKEN}
CASES: dict[str, Callable[[], dict[str, Any]]] = {
    "dataset": lambda: job(
        make_resource("Dataset", source={"uri": "s3://pictures/coast", "secret": "pictures"})
    ),
    "search-in-a-pod": job,
    "search-on-a-gpu-pool": lambda: job(
        placement=Placement((PoolShare("l4", L4, 1),), PoolShare("safe", SAFE, 1))
    ),
    "search-on-a-static-ray": lambda: job(
        placement=Placement((PoolShare("l4", L4, 2),), PoolShare("safe", SAFE, 1)), **STATIC
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_job_is_this_document(name: str) -> None:
    made = CASES[name]()
    path = FOLDER / f"{name}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(yaml.safe_dump(made, sort_keys=False), "utf-8")
    assert made == yaml.safe_load(path.read_text("utf-8"))


@pytest.mark.parametrize("name", CASES)
def test_a_job_is_restricted_and_keeps_no_token(name: str) -> None:
    pod = CASES[name]()["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert all("hostPath" not in volume for volume in pod["volumes"])
    for container in pod["containers"]:
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["readOnlyRootFilesystem"] is True
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]


def test_kubernetes_never_starts_a_job_again() -> None:
    made = job()
    assert made["spec"]["backoffLimit"] == 0
    assert made["spec"]["template"]["spec"]["restartPolicy"] == "Never"


def test_an_ended_job_outlives_every_delay() -> None:
    soon = job(make_resource(ttl="10s"))
    assert soon["spec"]["ttlSecondsAfterFinished"] == SHORTEST_TTL_SECONDS
    late = job(make_resource(ttl="48h"))
    assert late["spec"]["ttlSecondsAfterFinished"] == 48 * 3600


def test_the_same_attempt_is_the_same_document() -> None:
    assert job() == job()
