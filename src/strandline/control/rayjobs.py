"""The Ray cluster of a search, as a ray.io/v1 RayJob for KubeRay: a document, made from the object.

The driver is the entrypoint, on the head: no devices, never on nodes that may be taken away.
Each ComputePool is a worker group. KubeRay starts nothing again by itself: whether that
helps is decided by how the driver ended (`control.backoff`), as for any job.

Fields are those of KubeRay 1.7 (`ray-operator/apis/ray/v1/rayjob_types.go`, `raycluster_types.go`).
"""

from __future__ import annotations

import json

from strandline.control.lanes import (
    lane_groups,
    most_workers,
    ray_cpus,
    ray_devices,
    training_workers,
)
from strandline.control.pods import (
    QUEUE_LABEL,
    Document,
    container_security,
    job_annotations,
    job_environment,
    job_labels,
    job_volumes,
    node_choice,
    owner_reference,
    pod_security,
)
from strandline.ports import Resource
from strandline.spec.actions import Placement, PoolShare
from strandline.spec.attempts import job_name
from strandline.spec.fields import parse_duration
from strandline.spec.kinds.compute_pool import ComputePoolSpec
from strandline.spec.lanes import NO_POOL, POOL_RESOURCE, UNLIMITED, write_lanes
from strandline.spec.operator_config import Execution, JobSettings

API_VERSION = "ray.io/v1"
LONGEST_NAME = 47
"""KubeRay refuses a longer one: it appends to it."""

RUN_TRIALS = frozenset({"Search", "Training"})
"""Kinds whose jobs run trials; the jobs of all others need no Ray."""

TTL_SECONDS = 60
"""A cluster that is done still holds its devices; its logs end with it."""

HEAD = "ray-head"
WORKER = "ray-worker"
ELASTIC_ANNOTATION = "kueue.x-k8s.io/elastic-job"

_OBJECT_STORE_BYTES = 128 * 2**20


def make_rayjob(
    resource: Resource,
    namespace: str,
    attempt: int,
    failures: int,
    placement: Placement,
    settings: JobSettings,
    execution: Execution,
) -> Document:
    """Return the RayJob that is this attempt to run the job of `resource`."""
    placement = _with_workers(resource, placement, settings)
    queue = next((pool.spec["queue"] for pool in placement.pools if pool.spec.get("queue")), None)
    elastic = any(_grows(pool) for pool in placement.pools)
    annotations = job_annotations(resource.generation, failures)
    if queue and elastic:
        annotations[ELASTIC_ANNOTATION] = "true"
    return {
        "apiVersion": API_VERSION,
        "kind": "RayJob",
        "metadata": {
            "name": job_name(resource.kind, resource.name, resource.uid, attempt, LONGEST_NAME),
            "namespace": namespace,
            "labels": {
                **job_labels(resource, attempt),
                **({QUEUE_LABEL: queue} if queue else {}),
            },
            "annotations": annotations,
            "ownerReferences": [owner_reference(resource)],
        },
        "spec": {
            "entrypoint": entrypoint(resource),
            "submissionMode": "HTTPMode",
            "backoffLimit": 0,
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": _ttl_seconds(resource),
            "suspend": queue is not None,
            "rayClusterSpec": {
                "rayVersion": execution.ray_version,
                "authOptions": _authentication(execution),
                **(_autoscaling() if elastic else {}),
                "headGroupSpec": _head(
                    resource, namespace, attempt, placement, settings, execution
                ),
                "workerGroupSpecs": [
                    _worker(resource, namespace, attempt, pool, settings, execution, elastic)
                    for pool in placement.pools
                ],
            },
        },
    }


def entrypoint(resource: Resource) -> str:
    """Return the driver's command line.

    What it says goes to the pod's log too, for `kubectl logs`; Ray keeps its own copy, whose
    last lines stand in the RayJob's status. Asked to stop, the driver may speak its last words.
    """
    command = f"strandline run-job {resource.kind.lower()}/{resource.name}"
    tee = "(trap '' TERM INT; exec tee /proc/1/fd/1)"
    return f'bash -c "set -o pipefail; {command} 2>&1 | {tee}"'


def _with_workers(resource: Resource, placement: Placement, settings: JobSettings) -> Placement:
    """Give what names no pool workers of its own, on the CPUs of any node."""
    if placement.pools:
        return placement
    wanted = settings.resources_of(resource.kind)
    spec = {"cpu": wanted.cpu, "memory": wanted.memory}
    if resource.kind == "Training":
        share = PoolShare(NO_POOL, spec, *training_workers(resource.spec))
    else:
        share = PoolShare(NO_POOL, spec, int(resource.spec.get("parallelism") or 1))
    return Placement((share,), placement.driver)


def _grows(pool: PoolShare) -> bool:
    spec = ComputePoolSpec.model_validate(pool.spec)
    return most_workers(pool, spec) > pool.workers


def _ttl_seconds(resource: Resource) -> int:
    wanted = resource.spec.get("ttl")
    return TTL_SECONDS if wanted is None else int(parse_duration(str(wanted)).total_seconds())


def _authentication(execution: Execution) -> Document:
    """Return how nodes and driver prove themselves: KubeRay makes a token, or one is given."""
    secret = execution.token_secret
    return {"mode": "token", **({"secretName": secret.name} if secret else {})}


def _autoscaling() -> Document:
    return {
        "enableInTreeAutoscaling": True,
        "autoscalerOptions": {
            "version": "v2",
            "idleTimeoutSeconds": 60,
            "upscalingMode": "Default",
            "securityContext": container_security(),
            "resources": {
                "requests": {"cpu": "200m", "memory": "512Mi"},
                "limits": {"memory": "512Mi"},
            },
        },
    }


def _head(
    resource: Resource,
    namespace: str,
    attempt: int,
    placement: Placement,
    settings: JobSettings,
    execution: Execution,
) -> Document:
    elastic = any(_grows(pool) for pool in placement.pools)
    wanted = settings.resources_of(resource.kind)
    limits = {"memory": wanted.memory, "ephemeral-storage": wanted.scratch}
    environment = [
        *job_environment(namespace, placement, settings, execution),
        {"name": "STRANDLINE_RAY_ADDRESS", "value": "auto"},
        {"name": "STRANDLINE_POOLS", "value": write_lanes(lane_groups(placement.pools, elastic))},
        # Ray kills a driver that was asked to stop after three seconds, otherwise.
        {"name": "RAY_JOB_STOP_WAIT_TIME_S", "value": str(settings.grace_seconds)},
    ]
    pod = _pod(
        HEAD,
        settings.image,
        environment,
        {"requests": {"cpu": wanted.cpu, **limits}, "limits": limits},
        resource.kind,
        settings,
        node_choice(placement.driver, settings),
    )
    if elastic:  # the autoscaler asks the API for pods, as an account that KubeRay makes
        del pod["automountServiceAccountToken"], pod["serviceAccountName"]
        pod["restartPolicy"] = "Never"
    return {
        "rayStartParams": {"num-cpus": "0", "num-gpus": "0", **_start_parameters()},
        "template": {"metadata": {"labels": job_labels(resource, attempt)}, "spec": pod},
    }


def _worker(
    resource: Resource,
    namespace: str,
    attempt: int,
    pool: PoolShare,
    settings: JobSettings,
    execution: Execution,
    elastic: bool,
) -> Document:
    spec = ComputePoolSpec.model_validate(pool.spec)
    scratch = settings.resources_of(resource.kind).scratch
    limits: Document = {"memory": spec.memory, "ephemeral-storage": scratch}
    if spec.resource is not None:
        limits[spec.resource] = spec.devices_per_host
    pod = _pod(
        WORKER,
        spec.image or settings.image,
        job_environment(namespace, Placement(), settings, execution),
        {"requests": {"cpu": spec.cpu, **limits}, "limits": limits},
        resource.kind,
        settings,
        _place(pool, spec, settings),
    )
    if elastic:
        pod["restartPolicy"] = "Never"
    return {
        "groupName": pool.name,
        "replicas": pool.workers,
        "minReplicas": pool.workers if pool.fewest is None else pool.fewest,
        "maxReplicas": most_workers(pool, spec),
        "numOfHosts": spec.hosts,
        "rayStartParams": {**_devices(pool, spec), **_start_parameters()},
        "template": {"metadata": {"labels": job_labels(resource, attempt)}, "spec": pod},
    }


def _place(pool: PoolShare, spec: ComputePoolSpec, settings: JobSettings) -> Document:
    """Return on which nodes, and how, the pool's workers run."""
    optional = {
        "runtimeClassName": spec.runtime_class_name,
        "priorityClassName": spec.priority_class_name,
    }
    chosen = {name: value for name, value in optional.items() if value}
    return {**node_choice(pool, settings), **chosen}


def _devices(pool: PoolShare, spec: ComputePoolSpec) -> dict[str, str]:
    """Return what a node of the pool offers; the single quotes are for KubeRay's shell."""
    named = ray_devices(spec)
    gpus = named.pop("GPU", 0)
    resources = json.dumps({**named, f"{POOL_RESOURCE}{pool.name}": UNLIMITED})
    return {"num-cpus": str(ray_cpus(spec)), "num-gpus": str(gpus), "resources": f"'{resources}'"}


def _start_parameters() -> dict[str, str]:
    return {
        "object-store-memory": str(_OBJECT_STORE_BYTES),
        "include-log-monitor": "false",
        "disable-usage-stats": "true",
    }


def _pod(
    container: str,
    image: str,
    environment: list[Document],
    resources: Document,
    kind: str,
    settings: JobSettings,
    place: Document,
) -> Document:
    volumes, mounts = job_volumes(settings.resources_of(kind).scratch, settings)
    optional: Document = {
        "imagePullSecrets": [{"name": name} for name in settings.image_pull_secrets],
        "priorityClassName": settings.priority_class,
    }
    return {
        "terminationGracePeriodSeconds": settings.grace_seconds,
        "automountServiceAccountToken": False,
        "serviceAccountName": settings.service_account,
        "enableServiceLinks": False,
        "securityContext": pod_security(settings),
        "containers": [
            {
                "name": container,
                "image": image,
                "imagePullPolicy": settings.image_pull_policy,
                "env": environment,
                "envFrom": [{"secretRef": {"name": settings.storage_secret}}],
                "resources": resources,
                "securityContext": container_security(),
                "volumeMounts": mounts,
            }
        ],
        "volumes": volumes,
        **{name: value for name, value in optional.items() if value},
        **place,
    }
