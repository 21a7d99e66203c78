"""Endpoint: models that answer requests, with a split of the traffic among versions."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr

from strandline.spec.fields import Count, Duration, Name, Number, Subdomain, is_some_time
from strandline.spec.kinds.base import KindModel
from strandline.spec.naming import AGE, Column, KindNames, ready_columns
from strandline.spec.quantities import Cpu, Memory
from strandline.spec.rules import Rule, SpecModel, keyed_by
from strandline.spec.status import Status

_MOST_MODELS = 8
Percent = Annotated[StrictInt, Field(ge=1, le=99)]


class ServedModel(SpecModel):
    """One model version behind an endpoint."""

    name: Name = Field(description="Name of the Model.")
    version: Number | None = Field(
        default=None,
        description="Version of it; the one that the Model says predicts, as that changes, if "
        "absent.",
    )
    traffic: StrictInt = Field(
        default=100,
        ge=0,
        le=100,
        description="Percent of the requests it answers; of a shadow, percent it gets a copy of.",
    )
    shadow: StrictBool = Field(
        default=False,
        description="Gets copies of requests and is measured, but its answers go nowhere.",
    )


class Replicas(SpecModel):
    """How many servers run."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="self.min <= self.max",
            holds=lambda r: r.min <= r.max,
            message="replicas.min must not be above replicas.max: lower min, or raise max",
        ),
        Rule(
            cel="self.idle.matches('[1-9]')",
            holds=lambda r: is_some_time(r.idle),
            message="replicas.idle must be above 0s, e.g. 5m",
        ),
    )
    min: StrictInt = Field(
        default=1, ge=0, le=1000, description="Fewest servers; 0 stops all while nobody asks."
    )
    max: StrictInt = Field(default=1, ge=1, le=1000, description="Most servers.")
    idle: Duration = Field(
        default="5m", description="With min 0: stop the last one after so long without a request."
    )


class ScaleTarget(SpecModel):
    """What the number of servers is chosen by; the one that asks for more decides."""

    concurrency: StrictInt = Field(
        default=4, ge=1, le=1000, description="Requests that one server works on at once."
    )
    latency_ms: StrictFloat | None = Field(
        default=None,
        gt=0,
        le=600_000,
        description="Add servers when the 95th percentile of answer times is above this, in "
        "milliseconds; not looked at if absent.",
    )


class Batching(SpecModel):
    """Requests that are answered together."""

    max_size: StrictInt = Field(
        default=16, ge=1, le=1024, description="Most images in one pass; 1 batches nothing."
    )
    max_delay_ms: StrictFloat = Field(
        default=2.0,
        ge=0,
        le=10_000,
        description="Longest that an image waits for others, in milliseconds.",
    )


class Rollout(SpecModel):
    """How a changed split of the traffic is reached."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="self.steps.isSorted()",
            holds=lambda r: r.steps == sorted(r.steps),
            message="the steps of a rollout grow: put them in ascending order, e.g. [5, 25, 50]",
        ),
        Rule(
            cel="self.interval.matches('[1-9]')",
            holds=lambda r: is_some_time(r.interval),
            message="rollout.interval must be above 0s, e.g. 10m",
        ),
    )
    steps: list[Percent] = Field(
        default_factory=list,
        max_length=10,
        description="Percents of the way to the new split, e.g. `[5, 25, 50]`; at once if empty.",
    )
    interval: Duration = Field(default="10m", description="Time between two steps.")
    max_failure_rate: StrictFloat = Field(
        default=0.05,
        ge=0,
        le=1,
        description="Go back to the old split when more of the new one's requests fail.",
    )


class EndpointAuth(SpecModel):
    """Who may ask."""

    secret: Subdomain = Field(
        description="Secret in the same namespace with the token that requests carry as "
        "`Authorization: Bearer`."
    )
    key: StrictStr = Field(
        default="token",
        min_length=1,
        max_length=253,
        pattern=r"^[-._a-zA-Z0-9]+$",
        description="Key of the token in that Secret.",
    )


class EndpointSpec(SpecModel):
    """Models that answer requests."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="self.models.filter(m, !m.shadow).map(m, m.traffic).sum() == 100",
            holds=lambda s: sum(m.traffic for m in s.models if not m.shadow) == 100,
            message="the traffic of all models that are no shadows must sum up to 100 percent",
        ),
        Rule(
            cel="self.models.all(m, self.models.exists_one(n, n.name == m.name"
            " && (has(n.version) ? n.version : 0) == (has(m.version) ? m.version : 0)))",
            holds=lambda s: len({(m.name, m.version) for m in s.models}) == len(s.models),
            message="the same version of a model stands in models twice: add their traffic up",
        ),
        Rule(
            cel="!has(self.tlsSecret) || has(self.host)",
            holds=lambda s: s.tls_secret is None or s.host is not None,
            message="tlsSecret is the certificate of a host: set host too",
        ),
    )
    models: list[ServedModel] = Field(
        min_length=1,
        max_length=_MOST_MODELS,
        description="Model versions and their shares of the traffic; all of the same labels.",
    )
    replicas: Replicas = Field(default_factory=Replicas, description="How many servers run.")
    target: ScaleTarget = Field(
        default_factory=ScaleTarget, description="What the number of servers is chosen by."
    )
    batching: Batching = Field(
        default_factory=Batching, description="Requests that are answered together."
    )
    threshold: StrictFloat | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Least confidence of an answer; as the model was calibrated if absent.",
    )
    abstain: StrictBool = Field(
        default=True,
        description="Below the threshold the answer is `I don't know`; otherwise the best guess.",
    )
    cpu: Cpu = Field(default=1, description="CPU cores of one server, e.g. `2` or `500m`.")
    memory: Memory = Field(default="2Gi", description="Memory of one server, e.g. `2Gi`.")
    pool: Name | None = Field(
        default=None,
        description="ComputePool whose nodes and devices the servers use; the CPUs of any node "
        "if absent.",
    )
    auth: EndpointAuth | None = Field(
        default=None, description="Who may ask; everybody who reaches it if absent."
    )
    host: Subdomain | None = Field(
        default=None,
        description="Host name under which it is reached from outside, e.g. "
        "`gulls.example.com`; from inside the cluster only if absent.",
    )
    tls_secret: Subdomain | None = Field(
        default=None, description="Secret with the certificate of the host; plain HTTP if absent."
    )
    rollout: Rollout = Field(
        default_factory=Rollout, description="How a changed split of the traffic is reached."
    )
    suspend: StrictBool = Field(
        default=False, description="Stop all servers; requests are answered as unavailable."
    )


class ModelTraffic(SpecModel):
    """What one model version gets now."""

    name: Name = Field(description="Name of the Model.")
    version: Number = Field(description="Version of it.")
    traffic: StrictInt = Field(ge=0, le=100, description="Percent of the requests it gets now.")
    shadow: StrictBool = Field(default=False, description="Whether its answers go nowhere.")


class EndpointStatus(Status):
    """What answers now, and where."""

    url: StrictStr | None = Field(
        default=None, max_length=2048, description="Address of the REST interface."
    )
    grpc: StrictStr | None = Field(
        default=None, max_length=2048, description="Address of the gRPC interface, as host:port."
    )
    replicas: Count | None = Field(default=None, description="Servers that are wanted now.")
    ready_replicas: Count | None = Field(default=None, description="Servers that answer.")
    traffic: StrictStr | None = Field(
        default=None,
        max_length=1024,
        description="The split in one line, e.g. `gulls:3=90 gulls:4=10`.",
    )
    models: list[ModelTraffic] = Field(
        default_factory=list,
        max_length=_MOST_MODELS * 2,
        json_schema_extra=keyed_by("name", "version"),
        description="Model versions that answer, and what they get.",
    )


class Endpoint(KindModel):
    """Model versions that answer requests over REST and gRPC."""

    names: ClassVar[KindNames] = KindNames(
        plural="endpoints",
        singular="endpoint",
        short=("sep",),
        columns=(
            *ready_columns(),
            Column("URL", "string", ".status.url", "Where it answers."),
            Column("Traffic", "string", ".status.traffic", "Model versions and percents."),
            Column("Replicas", "integer", ".status.readyReplicas", "Servers that answer."),
            Column("Wanted", "integer", ".status.replicas", "Servers wanted now.", wide=True),
            Column("Pool", "string", ".spec.pool", "ComputePool it runs on.", wide=True),
            AGE,
        ),
    )
    status_model: ClassVar[type[Status]] = EndpointStatus

    kind: Literal["Endpoint"] = Field(description="Kind of this object.")
    spec: EndpointSpec = Field(description="What is wanted.")
