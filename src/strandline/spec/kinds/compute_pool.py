"""ComputePool: alike nodes that trials and trainings run on, with their accelerators.

Cluster-scoped, because nodes are. A pool owns nothing and starts nothing: whoever names it
gets workers of its shape. For TPUs a worker is a whole slice, which may span several hosts;
how many follows from topology and chips per host, so nobody has to count.
"""

from __future__ import annotations

from enum import StrEnum
from math import prod
from typing import ClassVar, Literal

from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr

from strandline.spec.fields import (
    LARGEST_EXACT_INT,
    Count,
    LabelKey,
    LabelValue,
    Name,
    ResourceName,
    Subdomain,
)
from strandline.spec.kinds.base import KindModel
from strandline.spec.naming import AGE, Column, KindNames, Scope, ready_columns
from strandline.spec.quantities import Cpu, Memory
from strandline.spec.rules import Rule, SpecModel
from strandline.spec.status import Status

MOST_WORKERS = 10_000
TPU_SELECTORS = ("cloud.google.com/gke-tpu-accelerator", "cloud.google.com/gke-tpu-topology")
"""Node labels that a pool's `tpu` decides; in this order accelerator and topology."""

_FLAT = ("tpu-v5-lite-podslice", "tpu-v5-lite-device", "tpu-v6e-slice")
_CUBIC = ("tpu-v4-podslice", "tpu-v5p-slice", "tpu7x")
_CHIPS_OF_A_HOST = 4
"""In slices of several hosts."""
_CHIPS_OF_LONE_HOSTS = (1, 4, 8)
"""In slices of one host."""


class AcceleratorKind(StrEnum):
    """What does the work of a pool's workers."""

    CPU = "cpu"
    GPU = "gpu"
    TPU = "tpu"


_RESOURCES = {AcceleratorKind.GPU: "nvidia.com/gpu", AcceleratorKind.TPU: "google.com/tpu"}


class Accelerator(SpecModel):
    """The devices of one worker."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="self.kind != 'cpu' || (!has(self.resource) && !has(self.count))",
            holds=lambda a: (
                a.kind is not AcceleratorKind.CPU or (a.resource, a.count) == (None, None)
            ),
            message="kind cpu has no devices: leave resource and count out, or set kind to gpu "
            "or tpu",
        ),
    )
    kind: AcceleratorKind = Field(
        default=AcceleratorKind.CPU,
        description="cpu (none), gpu (of any vendor) or tpu (Google's, in slices).",
    )
    resource: ResourceName | None = Field(
        default=None,
        description="Extended resource of the nodes, e.g. `amd.com/gpu` or a MIG slice's; "
        "`nvidia.com/gpu` for gpu and `google.com/tpu` for tpu if absent.",
    )
    count: StrictInt | None = Field(
        default=None,
        ge=1,
        le=64,
        description="Devices of one worker; of a TPU slice, chips of one host. If absent 1 GPU, "
        "or up to 4 chips as the topology has.",
    )


class TpuSlice(SpecModel):
    """The shape of a TPU slice."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!(self.accelerator in ['tpu-v5-lite-podslice', 'tpu-v5-lite-device',"
            " 'tpu-v6e-slice']) || self.topology.matches('^[0-9]+x[0-9]+$')",
            holds=lambda t: t.accelerator not in _FLAT or len(t.sides) == 2,
            message="TPU v5e and v6e have two dimensions: write the topology like 4x4",
        ),
        Rule(
            cel="!(self.accelerator in ['tpu-v4-podslice', 'tpu-v5p-slice', 'tpu7x'])"
            " || self.topology.matches('^[0-9]+x[0-9]+x[0-9]+$')",
            holds=lambda t: t.accelerator not in _CUBIC or len(t.sides) == 3,
            message="TPU v4, v5p and 7x have three dimensions: write the topology like 2x2x4",
        ),
    )
    accelerator: LabelValue = Field(
        min_length=1,
        max_length=63,
        description="Type of the slice as its nodes are labeled, e.g. `tpu-v5-lite-podslice` "
        "(v5e), `tpu-v6e-slice`, `tpu-v5p-slice`, `tpu7x`.",
    )
    topology: StrictStr = Field(
        max_length=11,
        pattern=r"^[1-9][0-9]{0,2}x[1-9][0-9]{0,2}(x[1-9][0-9]{0,2})?$",
        description="Chips along each dimension, as AxB or AxBxC, e.g. `4x4`.",
    )
    num_of_hosts: StrictInt | None = Field(
        default=None,
        ge=1,
        le=LARGEST_EXACT_INT,
        description="Hosts of the slice; follows from topology and chips per host, and is "
        "checked against them when given.",
    )

    @property
    def sides(self) -> tuple[int, ...]:
        """Chips along each dimension."""
        return tuple(int(side) for side in self.topology.split("x"))

    @property
    def chips(self) -> int:
        """Chips of the whole slice."""
        return prod(self.sides)


class TaintEffect(StrEnum):
    """What a taint does to pods that do not tolerate it."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class Toleration(SpecModel):
    """A taint that workers put up with (core/v1 Toleration)."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.key) || self.operator == 'Exists'",
            holds=lambda t: t.key is not None or t.operator == "Exists",
            message="a toleration without key tolerates every taint: set operator to Exists "
            "if that is meant, else name the key",
        ),
        Rule(
            cel="self.operator != 'Exists' || !has(self.value)",
            holds=lambda t: t.operator != "Exists" or t.value is None,
            message="operator Exists takes any value: leave value out, or set operator to Equal",
        ),
        Rule(
            cel="!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
            holds=lambda t: t.toleration_seconds is None or t.effect is TaintEffect.NO_EXECUTE,
            message="tolerationSeconds belongs to effect NoExecute: set that effect",
        ),
    )
    key: LabelKey | None = Field(
        default=None, description="Key of the taint, e.g. `nvidia.com/gpu`; every one if absent."
    )
    operator: Literal["Equal", "Exists"] = Field(
        default="Equal", description="Equal compares the value, Exists takes any."
    )
    value: LabelValue | None = Field(
        default=None, max_length=63, description="Value of the taint; empty if absent."
    )
    effect: TaintEffect | None = Field(
        default=None,
        description="NoSchedule, PreferNoSchedule or NoExecute; every effect if absent.",
    )
    toleration_seconds: Count | None = Field(
        default=None,
        description="Seconds that a worker stays after a NoExecute taint came; for ever if absent.",
    )


class Workers(SpecModel):
    """How many workers of a pool one Search or Training may have."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!has(self.max) || self.max >= self.min",
            holds=lambda w: w.max is None or w.max >= w.min,
            message="max must not be below min: raise max, or lower min",
        ),
    )
    min: StrictInt = Field(
        default=1,
        ge=0,
        le=MOST_WORKERS,
        description="Workers to start with (TPU: slices); all of them, unless max is above.",
    )
    max: StrictInt | None = Field(
        default=None,
        ge=1,
        le=MOST_WORKERS,
        description="Grow up to so many while trials wait, and shrink again; fixed at min if "
        "absent. Kueue admits a changing number only with its elastic jobs switched on.",
    )


_SLICE_OF_CHIPS = "int(self.tpu.topology.split('x')[0]) * int(self.tpu.topology.split('x')[1])"
_CHIPS = (
    f"({_SLICE_OF_CHIPS} * (self.tpu.topology.split('x').size() == 3"
    " ? int(self.tpu.topology.split('x')[2]) : 1))"
)
_COUNT = f"(has(self.accelerator.count) ? self.accelerator.count : ({_CHIPS} < 4 ? {_CHIPS} : 4))"


def _hosts_come_out(spec: ComputePoolSpec) -> bool:
    if spec.tpu is None:
        return True
    count = spec.devices_per_host
    return (spec.tpu.chips == count and count in _CHIPS_OF_LONE_HOSTS) or (
        count == _CHIPS_OF_A_HOST and spec.tpu.chips % _CHIPS_OF_A_HOST == 0
    )


class ComputePoolSpec(SpecModel):
    """Nodes of one sort, and the shape of a worker on them."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="(self.accelerator.kind == 'tpu') == has(self.tpu)",
            holds=lambda s: (s.accelerator.kind is AcceleratorKind.TPU) == (s.tpu is not None),
            message="accelerator.kind tpu and tpu belong together: give the slice's accelerator "
            "and topology in tpu, or set another kind",
        ),
        Rule(
            cel=f"!has(self.tpu) || ({_CHIPS} == {_COUNT} && {_COUNT} in [1, 4, 8])"
            f" || ({_COUNT} == {_CHIPS_OF_A_HOST} && {_CHIPS} % {_CHIPS_OF_A_HOST} == 0)",
            holds=_hosts_come_out,
            message="a slice is one host of 1, 4 or 8 chips, or several of 4 chips each: choose "
            "such a topology, and set accelerator.count to the chips of one host or leave it out",
        ),
        Rule(
            cel="!has(self.tpu) || !has(self.tpu.numOfHosts)"
            f" || self.tpu.numOfHosts * {_COUNT} == {_CHIPS}",
            holds=lambda s: (
                s.tpu is None or s.tpu.num_of_hosts is None or s.tpu.num_of_hosts == s.hosts
            ),
            message="numOfHosts is the product of the topology by accelerator.count: leave it "
            "out, or correct one of the three",
        ),
        Rule(
            cel="!has(self.tpu) || !has(self.nodeSelector) ||"
            " (!('cloud.google.com/gke-tpu-accelerator' in self.nodeSelector) &&"
            " !('cloud.google.com/gke-tpu-topology' in self.nodeSelector))",
            holds=lambda s: s.tpu is None or not set(TPU_SELECTORS) & set(s.node_selector),
            message="tpu selects the nodes by accelerator and topology: leave "
            "cloud.google.com/gke-tpu-accelerator and gke-tpu-topology out of nodeSelector",
        ),
    )
    accelerator: Accelerator = Field(
        default_factory=Accelerator, description="The devices of one worker."
    )
    tpu: TpuSlice | None = Field(
        default=None, description="Shape of the slice that one worker is, for kind tpu."
    )
    node_selector: dict[LabelKey, LabelValue] = Field(
        default_factory=dict,
        max_length=32,
        description="Labels of the nodes, e.g. `cloud.google.com/gke-accelerator: nvidia-l4`.",
    )
    tolerations: list[Toleration] = Field(
        default_factory=list,
        max_length=32,
        description="Taints of the nodes that workers put up with.",
    )
    spot: StrictBool = Field(
        default=False,
        description="The nodes may be taken away at any time: trials run here, a driver never "
        "does. Selecting such nodes is up to nodeSelector and tolerations.",
    )
    workers: Workers = Field(
        default_factory=Workers,
        description="Workers that one Search or Training gets, unless it asks for fewer.",
    )
    cpu: Cpu = Field(
        default=1, description="CPU cores of one worker (TPU: of one host), e.g. `4` or `500m`."
    )
    memory: Memory = Field(
        default="4Gi", description="Memory of one worker (TPU: of one host), e.g. `16Gi`."
    )
    image: StrictStr | None = Field(
        default=None,
        min_length=1,
        max_length=512,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@-]*$",
        description="Container image of the workers, for devices that need libraries of their "
        "own; the platform's if absent.",
    )
    queue: Name | None = Field(
        default=None,
        description="Kueue LocalQueue that admits the workers, in the namespace of the Search "
        "or Training; started at once if absent.",
    )
    runtime_class_name: Subdomain | None = Field(
        default=None, description="RuntimeClass of the workers; the cluster's default if absent."
    )
    priority_class_name: Subdomain | None = Field(
        default=None, description="PriorityClass of the workers; the cluster's default if absent."
    )
    price_per_hour: StrictFloat | None = Field(
        default=None,
        ge=0,
        le=1e6,
        description="What one device costs an hour (kind cpu: one worker), in any currency; "
        "from it come the costs of searches.",
    )

    @property
    def resource(self) -> str | None:
        """Extended resource that workers ask for; None for CPUs alone."""
        return self.accelerator.resource or _RESOURCES.get(self.accelerator.kind)

    @property
    def devices_per_host(self) -> int:
        """Devices that one pod asks for; 0 for CPUs alone."""
        if self.accelerator.kind is AcceleratorKind.CPU:
            return 0
        if self.tpu is not None:
            return self.accelerator.count or min(self.tpu.chips, _CHIPS_OF_A_HOST)
        return self.accelerator.count or 1

    @property
    def hosts(self) -> int:
        """Pods of one worker: above 1 for a TPU slice of several hosts only."""
        return 1 if self.tpu is None else self.tpu.chips // self.devices_per_host

    @property
    def selector(self) -> dict[str, str]:
        """All labels that nodes of the pool have, those of its TPU slice among them."""
        if self.tpu is None:
            return dict(self.node_selector)
        tpu = (self.tpu.accelerator, self.tpu.topology)
        return {**self.node_selector, **dict(zip(TPU_SELECTORS, tpu, strict=True))}


class PoolCapacity(SpecModel):
    """What the cluster has for a pool, in devices (kind cpu: in workers)."""

    nodes: Count = Field(default=0, description="Nodes that selector and tolerations fit.")
    ready: Count = Field(default=0, description="Of them, those that take pods now.")
    allocatable: Count = Field(default=0, description="Devices that these nodes have.")
    in_use: Count = Field(default=0, description="Devices that running pods hold, of anybody.")
    available: Count = Field(default=0, description="Devices that are free.")
    workers: Count = Field(default=0, description="Whole workers that fit into what is free.")


class ComputePoolStatus(Status):
    """What the cluster has for this pool."""

    resource: ResourceName | None = Field(
        default=None, description="Extended resource that workers ask for."
    )
    devices_per_host: Count | None = Field(
        default=None, description="Devices that one pod of a worker asks for."
    )
    hosts: Count | None = Field(
        default=None, description="Pods of one worker: the hosts of a TPU slice."
    )
    capacity: PoolCapacity | None = Field(
        default=None, description="Nodes and devices, as counted last."
    )


class ComputePool(KindModel):
    """Alike nodes to run on: accelerators, TPU slices, spot capacity, a queue."""

    names: ClassVar[KindNames] = KindNames(
        plural="computepools",
        singular="computepool",
        short=("pool", "pools"),
        columns=(
            *ready_columns(),
            Column("Kind", "string", ".spec.accelerator.kind", "cpu, gpu or tpu."),
            Column("Resource", "string", ".status.resource", "What workers ask for.", wide=True),
            Column("Topology", "string", ".spec.tpu.topology", "Of a TPU slice.", wide=True),
            Column("Hosts", "integer", ".status.hosts", "Pods of one worker.", wide=True),
            Column("Spot", "boolean", ".spec.spot", "Whether nodes may be taken away."),
            Column("Nodes", "integer", ".status.capacity.nodes", "Nodes that fit."),
            Column("Devices", "integer", ".status.capacity.allocatable", "Devices they have."),
            Column("Used", "integer", ".status.capacity.inUse", "Devices in use."),
            Column("Free", "integer", ".status.capacity.available", "Devices that are free."),
            Column("Queue", "string", ".spec.queue", "Kueue LocalQueue.", wide=True),
            AGE,
        ),
        scope=Scope.CLUSTER,
    )
    status_model: ClassVar[type[Status]] = ComputePoolStatus

    kind: Literal["ComputePool"] = Field(description="Kind of this object.")
    spec: ComputePoolSpec = Field(default_factory=ComputePoolSpec, description="What is wanted.")
