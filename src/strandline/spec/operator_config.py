"""How the operator of a cluster is set up: one file that the chart writes and mounts.

Addresses and keys of store and catalog are not in it: they come from a Secret, into the
environment of the operator and of each job.
"""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import yaml
from pydantic import (
    Field,
    JsonValue,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
)

from strandline.spec.errors import InvalidSpecError
from strandline.spec.fields import Duration, LabelKey, LabelValue, Name
from strandline.spec.quantities import Cpu, Memory
from strandline.spec.rules import Rule, SpecModel, distinct

AnyModel = TypeVar("AnyModel", bound=SpecModel)

RAY_VERSION = "2.60.0"
"""What the platform is tested with, and its image of jobs has."""

JOB_SETTINGS = "strandline-jobs"
"""ConfigMap in which the chart tells the people of a namespace what pods of jobs are like."""

JOB_SETTINGS_KEY = "jobs.yaml"
"""Its one entry."""

DEFAULT_PATH = Path("/etc/strandline/operator.yaml")


class ExecutionMode(StrEnum):
    """Where the trials of searches run."""

    POD = "pod"
    STATIC = "static"
    ATTACH = "attach"
    KUBERAY = "kuberay"


STANDING = (ExecutionMode.STATIC, ExecutionMode.ATTACH)
"""Modes whose Ray is there before a search and stays after it."""


class SecretKey(SpecModel):
    """An entry of a Secret in the namespace of the object."""

    name: Name = Field(description="Name of the Secret.")
    key: StrictStr = Field(
        default="token", min_length=1, max_length=253, description="Key in the Secret."
    )


class RayPool(SpecModel):
    """Workers that a standing Ray has of one ComputePool, all alike."""

    workers: StrictInt = Field(ge=0, le=10_000, description="How many.")
    cpus: StrictInt = Field(ge=1, le=10_000, description="CPUs of each, as Ray counts them.")
    devices: StrictInt = Field(default=0, ge=0, le=64, description="Accelerators of each.")


class Execution(SpecModel):
    """Where trials run."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="(self.mode in ['static', 'attach']) == has(self.rayAddress)",
            holds=lambda e: (e.mode in STANDING) == (e.ray_address is not None),
            message="modes static and attach need rayAddress, the others have none",
        ),
        Rule(
            cel="!has(self.rayPools) || size(self.rayPools) == 0 || has(self.rayAddress)",
            holds=lambda e: not e.ray_pools or e.ray_address is not None,
            message="rayPools are those of the Ray at rayAddress: say it as well",
        ),
    )
    mode: ExecutionMode = Field(
        default=ExecutionMode.POD,
        description="pod: in the pod of the search itself; static: on the Ray that the chart "
        "deployed; attach: on another Ray; kuberay: on a Ray that KubeRay makes for each search.",
    )
    ray_address: StrictStr | None = Field(
        default=None, min_length=1, max_length=253, description="HOST:PORT of the Ray."
    )
    ray_pools: dict[Name, RayPool] = Field(
        default_factory=dict,
        max_length=64,
        description="Workers that this Ray has of each pool, by the pool's name; if empty, any "
        "pool is believed to have some.",
    )
    token_secret: SecretKey | None = Field(
        default=None, description="Where the token of the Ray is kept."
    )
    ray_version: StrictStr = Field(
        default=RAY_VERSION,
        pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$",
        description="Version of Ray in the images, for KubeRay; tokens need 2.52 at least.",
    )
    nodes_appear: StrictBool = Field(
        default=False,
        description="Nodes are added when pods wait for them (an autoscaler): a pool without "
        "nodes then is no reason to wait.",
    )


class JobResources(SpecModel):
    """What the pod of a job asks for, and may use at most."""

    cpu: Cpu = Field(default=1, description="CPU cores, e.g. `2` or `500m`; more when free.")
    memory: Memory = Field(default="2Gi", description="Memory, e.g. `4Gi`; never more.")
    scratch: Memory = Field(
        default="10Gi", description="Space for files that may be made again (caches, Ray's)."
    )


JobKind = Literal["Dataset", "Search", "Training", "BatchPrediction"]


class JobSettings(SpecModel):
    """What the pods of all jobs have in common."""

    image: StrictStr = Field(min_length=1, max_length=512, description="Image of the jobs.")
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        default="IfNotPresent", description="When nodes fetch the image."
    )
    image_pull_secrets: list[Name] = Field(
        default_factory=list,
        max_length=8,
        json_schema_extra=distinct(),
        description="Secrets with the registry's credentials, in the object's namespace.",
    )
    storage_secret: Name = Field(
        default="strandline-storage",
        description="Secret in the object's namespace whose entries become the environment: "
        "STRANDLINE_STORE, STRANDLINE_CATALOG, STRANDLINE_S3_ENDPOINT and the keys.",
    )
    service_account: Name = Field(
        default="default", description="Service account of the pods; they get no token of it."
    )
    resources: dict[JobKind, JobResources] = Field(
        default_factory=dict, description="What the pods of a kind's jobs ask for."
    )
    env: dict[StrictStr, StrictStr] = Field(
        default_factory=dict, max_length=64, description="Further environment variables."
    )
    volumes: list[dict[str, JsonValue]] = Field(
        default_factory=list, max_length=16, description="Further volumes (core/v1 Volume)."
    )
    volume_mounts: list[dict[str, JsonValue]] = Field(
        default_factory=list, max_length=16, description="Where they are mounted (VolumeMount)."
    )
    node_selector: dict[LabelKey, LabelValue] = Field(
        default_factory=dict, description="Labels of the nodes that jobs run on."
    )
    tolerations: list[dict[str, JsonValue]] = Field(
        default_factory=list, max_length=16, description="Taints that jobs put up with."
    )
    priority_class: Name | None = Field(default=None, description="PriorityClass of the pods.")
    grace_seconds: StrictInt = Field(
        default=60, ge=1, le=3600, description="Time to save the running step when stopped."
    )
    ttl: Duration = Field(
        default="24h", description="How long ended pods, with their logs, are kept."
    )
    run_as_user: StrictInt = Field(
        default=65532, ge=1, le=2**31 - 1, description="User that jobs run as; never root."
    )

    def resources_of(self, kind: str) -> JobResources:
        """Return what the pod of a kind's job asks for."""
        return {str(key): each for key, each in self.resources.items()}.get(kind, JobResources())


class Lease(SpecModel):
    """The Lease by which the operators that run elect the one that acts."""

    name: Name = Field(default="strandline-operator", description="Name of the Lease.")
    duration_seconds: StrictInt = Field(
        default=15, ge=3, le=600, description="After this time without a word it is up again."
    )


class OperatorConfig(SpecModel):
    """The whole file."""

    namespaces: list[Name] = Field(
        default_factory=list,
        max_length=1000,
        json_schema_extra=distinct(),
        description="Namespaces that are looked after; all if empty.",
    )
    cluster_reads: StrictBool = Field(
        default=True,
        description="Whether nodes, pods of all namespaces and ComputePools may be read; if not, "
        "objects cannot name pools.",
    )
    jobs: JobSettings = Field(description="What the pods of jobs are like.")
    execution: Execution = Field(default_factory=Execution, description="Where trials run.")
    workers: StrictInt = Field(default=4, ge=1, le=64, description="Objects attended at once.")
    resync_seconds: StrictFloat = Field(
        default=600.0, ge=1, le=86_400, description="Every object is looked at this often."
    )
    projection_seconds: StrictFloat = Field(
        default=2.0,
        ge=0.1,
        le=600,
        description="How often the catalog is asked what jobs wrote; status follows at this rate.",
    )
    lease: Lease = Field(default_factory=Lease, description="The Lease of the election.")
    metrics_address: StrictStr = Field(
        default="127.0.0.1:8080",
        pattern=r"^[0-9A-Za-z.:\[\]-]*:[0-9]{1,5}$",
        description="HOST:PORT of /metrics, /healthz and /readyz.",
    )


def read_operator_config(text: str, path: str = "operator.yaml") -> OperatorConfig:
    """Parse the file.

    Raises:
        InvalidSpecError: it is no YAML, or breaks a rule; the message names each field.
    """
    return _read(OperatorConfig, text, path)


def read_job_settings(text: str, path: str = JOB_SETTINGS_KEY) -> JobSettings:
    """Parse what the chart tells of jobs.

    Raises:
        InvalidSpecError: as `read_operator_config`.
    """
    return _read(JobSettings, text, path)


def _read(model: type[AnyModel], text: str, path: str) -> AnyModel:
    try:
        document: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        first = re.sub(r"\s+", " ", str(error))
        raise InvalidSpecError(f"{path} is no YAML: {first}") from error
    try:
        return model.model_validate(document or {})
    except ValidationError as error:
        found = "; ".join(
            f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()
        )
        raise InvalidSpecError(f"{path}: {found}") from error
