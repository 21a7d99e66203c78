"""The pod of a job, and the batch/v1 Job around it: documents, made from the object alone.

The pod is what Pod Security calls restricted. It gets no token and no rights on the API: all
it knows of a cluster is where store and catalog are. It is never started again by
Kubernetes: whether and when that helps is decided by its exit code (`control.backoff`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from strandline.control.lanes import lane_groups
from strandline.ports import Resource
from strandline.spec.actions import Placement, PoolShare
from strandline.spec.attempts import (
    ANNOTATION_FAILURES,
    ANNOTATION_GENERATION,
    LABEL_ATTEMPT,
    LABEL_KIND,
    LABEL_NAME,
    LABEL_UID,
    job_name,
)
from strandline.spec.fields import parse_duration
from strandline.spec.kinds.base import API_VERSION
from strandline.spec.kinds.compute_pool import ComputePoolSpec
from strandline.spec.lanes import write_lanes
from strandline.spec.namespaces import catalog_schema, store_prefix
from strandline.spec.operator_config import Execution, ExecutionMode, JobSettings

Document = dict[str, Any]

CONTAINER = "job"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
HOME = "/scratch"

SHORTEST_TTL_SECONDS = 900
"""An ended Job tells how often its object failed, so it stays longer than any delay."""

_SOURCE_KEYS = (
    ("ACCESS_KEY", "accessKey", False),
    ("SECRET_KEY", "secretKey", False),
    ("ENDPOINT", "endpoint", True),
    ("REGION", "region", True),
)
_RAY_TOKEN = "RAY_AUTH_TOKEN"  # noqa: S105 – the name of a variable
# A pod that had to go for another's sake is told from one that failed, and the exit code
# stands in the Job, also when the pod is gone.
_FAILURE_RULES: Sequence[Document] = (
    {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
    {"action": "FailJob", "onExitCodes": {"operator": "NotIn", "values": [0]}},
)


def make_job(
    resource: Resource,
    namespace: str,
    attempt: int,
    failures: int,
    placement: Placement,
    settings: JobSettings,
    execution: Execution,
) -> Document:
    """Return the Job that is this attempt to run the job of `resource`."""
    queue = _queue(placement, execution)
    labels = job_labels(resource, attempt)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(resource.kind, resource.name, resource.uid, attempt),
            "namespace": namespace,
            "labels": {**labels, **({QUEUE_LABEL: queue} if queue else {})},
            "annotations": job_annotations(resource.generation, failures),
            "ownerReferences": [owner_reference(resource)],
        },
        "spec": {
            "backoffLimit": 0,
            "completions": 1,
            "parallelism": 1,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": list(_FAILURE_RULES)},
            "ttlSecondsAfterFinished": ttl_seconds(resource, settings),
            "suspend": queue is not None,
            "template": {
                "metadata": {"labels": labels},
                "spec": _pod_spec(resource, namespace, placement, settings, execution),
            },
        },
    }


def job_labels(resource: Resource, attempt: int) -> dict[str, str]:
    """Return the labels of all that one attempt is made of."""
    return {
        "app.kubernetes.io/name": "strandline",
        "app.kubernetes.io/component": "job",
        "app.kubernetes.io/managed-by": "strandline-operator",
        LABEL_KIND: resource.kind,
        LABEL_NAME: resource.name,
        LABEL_UID: resource.uid,
        LABEL_ATTEMPT: str(attempt),
    }


def job_annotations(generation: int, failures: int) -> dict[str, str]:
    """Return what a later look must know about the attempt."""
    return {ANNOTATION_GENERATION: str(generation), ANNOTATION_FAILURES: str(failures)}


def owner_reference(resource: Resource) -> Document:
    """Return the reference that makes Kubernetes delete what belongs to a deleted object."""
    return {
        "apiVersion": API_VERSION,
        "kind": resource.kind,
        "name": resource.name,
        "uid": resource.uid,
        "controller": True,
        # True would need rights on the finalizers of the owner where those are checked.
        "blockOwnerDeletion": False,
    }


def ttl_seconds(resource: Resource, settings: JobSettings) -> int:
    """Return how long ended pods are kept."""
    wanted = parse_duration(str(resource.spec.get("ttl") or settings.ttl))
    return max(SHORTEST_TTL_SECONDS, int(wanted.total_seconds()))


def job_environment(
    namespace: str, placement: Placement, settings: JobSettings, execution: Execution
) -> list[Document]:
    """Return the variables of a job besides those of the storage Secret.

    That Secret comes with `envFrom`; so what is set here wins over it.
    """
    plain = {
        "HOME": HOME,
        "STRANDLINE_HOME": f"{HOME}/strandline",
        "STRANDLINE_CATALOG_SCHEMA": catalog_schema(namespace),
        "STRANDLINE_STORE_PREFIX": store_prefix(namespace),
        "PYTHONUNBUFFERED": "1",
    }
    if execution.ray_address is not None:
        plain["STRANDLINE_RAY_ADDRESS"] = execution.ray_address
        plain["STRANDLINE_POOLS"] = write_lanes(lane_groups(placement.pools))
    made: list[Document] = [
        {"name": name, "value": value}
        for name, value in {**plain, **settings.env}.items()
        if value != ""
    ]
    if execution.token_secret is not None and execution.mode is not ExecutionMode.KUBERAY:
        secret = execution.token_secret
        reference = {"secretKeyRef": {"name": secret.name, "key": secret.key}}
        made.append({"name": "RAY_AUTH_MODE", "value": "token"})
        made.append({"name": _RAY_TOKEN, "valueFrom": reference})
    return made


def _source_keys(resource: Resource) -> list[Document]:
    """Return the variables by which an import reads a bucket that is not the platform's."""
    secret = (resource.spec.get("source") or {}).get("secret")
    if secret is None:
        return []
    return [
        {
            "name": f"STRANDLINE_SOURCE_S3_{name}",
            "valueFrom": {"secretKeyRef": {"name": secret, "key": key, "optional": optional}},
        }
        for name, key, optional in _SOURCE_KEYS
    ]


def job_volumes(scratch: str, settings: JobSettings) -> tuple[list[Document], list[Document]]:
    """Return volumes and their mounts: the only places a job can write to."""
    volumes: list[Document] = [
        {"name": "scratch", "emptyDir": {"sizeLimit": scratch}},
        {"name": "tmp", "emptyDir": {"sizeLimit": scratch}},
        # Ray's objects and the tensors of loaders; counts against the memory limit.
        {"name": "shm", "emptyDir": {"medium": "Memory"}},
    ]
    mounts: list[Document] = [
        {"name": "scratch", "mountPath": HOME},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 – a volume of the pod's own
        {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108
    ]
    return (
        volumes + [dict(each) for each in settings.volumes],
        mounts + [dict(each) for each in settings.volume_mounts],
    )


def pod_security(settings: JobSettings) -> Document:
    """Return the securityContext of a pod: restricted, and files are its user's."""
    user = settings.run_as_user
    return {
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": user,
        "fsGroup": user,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> Document:
    """Return the securityContext of a container: restricted, its image read-only."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def _pod_spec(
    resource: Resource,
    namespace: str,
    placement: Placement,
    settings: JobSettings,
    execution: Execution,
) -> Document:
    own = _own_pool(placement, execution)
    pool = ComputePoolSpec.model_validate(own.spec) if own else None
    volumes, mounts = job_volumes(settings.resources_of(resource.kind).scratch, settings)
    container: Document = {
        "name": CONTAINER,
        "image": (pool.image if pool else None) or settings.image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": ["strandline", "run-job", f"{resource.kind.lower()}/{resource.name}"],
        "env": [
            *job_environment(namespace, placement, settings, execution),
            *_source_keys(resource),
        ],
        "envFrom": [{"secretRef": {"name": settings.storage_secret}}],
        "resources": _resources(resource.kind, pool, settings),
        "securityContext": container_security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts,
    }
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": settings.grace_seconds,
        "automountServiceAccountToken": False,
        "serviceAccountName": settings.service_account,
        "enableServiceLinks": False,
        "securityContext": pod_security(settings),
        "containers": [container],
        "volumes": volumes,
        **_image_pull_secrets(settings),
        **node_choice(own or placement.driver, settings),
        **_optional("runtimeClassName", pool.runtime_class_name if pool else None),
        **_optional(
            "priorityClassName",
            (pool.priority_class_name if pool else None) or settings.priority_class,
        ),
    }


def node_choice(pool: PoolShare | None, settings: JobSettings) -> Document:
    """Return nodeSelector and tolerations: of the pool, where one is given, and of all jobs."""
    selector: dict[str, str] = dict(settings.node_selector)
    tolerations: list[Any] = [dict(each) for each in settings.tolerations]
    if pool is not None:
        spec = ComputePoolSpec.model_validate(pool.spec)
        selector |= spec.selector
        dumped = spec.model_dump(mode="json", by_alias=True, exclude_none=True)
        tolerations += dumped["tolerations"]
    return {**_optional("nodeSelector", selector), **_optional("tolerations", tolerations)}


def _own_pool(placement: Placement, execution: Execution) -> PoolShare | None:
    """Return the pool whose worker the pod itself is: only where no Ray has workers."""
    if execution.mode is not ExecutionMode.POD or not placement.pools:
        return None
    return placement.pools[0]


def _queue(placement: Placement, execution: Execution) -> str | None:
    own = _own_pool(placement, execution)
    return None if own is None else own.spec.get("queue")


def _resources(kind: str, pool: ComputePoolSpec | None, settings: JobSettings) -> Document:
    wanted = settings.resources_of(kind)
    cpu, memory = (pool.cpu, pool.memory) if pool else (wanted.cpu, wanted.memory)
    limits: Document = {"memory": memory, "ephemeral-storage": wanted.scratch}
    if pool is not None and pool.resource is not None:
        limits[pool.resource] = pool.devices_per_host
    # No limit of CPU: what nobody else asks for is used.
    return {"requests": {"cpu": cpu, **limits}, "limits": limits}


def _image_pull_secrets(settings: JobSettings) -> Document:
    return _optional("imagePullSecrets", [{"name": name} for name in settings.image_pull_secrets])


def _optional(field: str, value: Mapping[str, Any] | Sequence[Any] | str | None) -> Document:
    return {field: value} if value else {}
