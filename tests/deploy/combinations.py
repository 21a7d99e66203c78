"""Combinations of the chart's switches, few enough to render and enough to trust.

Most faults of a template need one switch or two. So every pair of settings of two switches
is in at least one combination (pairwise covering), chosen greedily, the same in every run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from tests.deploy.chart import Document, set_value

Setting = Mapping[str, object]
"""Dotted path of a value: the value. Empty: as in values.yaml."""

_GPU_POOL = {
    "name": "l4",
    "workers": 2,
    "cpu": 4,
    "memory": "16Gi",
    "accelerator": {"resource": "nvidia.com/gpu", "count": 1},
    "nodeSelector": {"cloud.google.com/gke-accelerator": "nvidia-l4"},
    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
    "priorityClassName": "batch",
    "runtimeClassName": "nvidia",
    "podDisruptionBudget": {"enabled": False},
}
_TPU_POOL = {
    "name": "v5e",
    "workers": 1,
    "cpu": 8,
    "memory": "32Gi",
    "accelerator": {"resource": "google.com/tpu", "count": 4},
    "image": "registry.example/train-tpu:1",
    "podLabels": {"team": "vision"},
}
_PLACEMENT = {
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "dedicated", "operator": "Exists"}],
    "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
    ],
    "priorityClassName": "platform",
    "podAnnotations": {"example.com/scrape": "no"},
    "podLabels": {"team": "vision"},
}
_PROXY = {
    "extraVolumes": [{"name": "env", "persistentVolumeClaim": {"claimName": "env"}}],
    "extraVolumeMounts": [{"name": "env", "mountPath": "/env", "readOnly": True}],
    "env": {"PATH": "/env/bin:/usr/bin"},
}
_PEER = [{"ipBlock": {"cidr": "192.0.2.0/24"}}]


def _all(parts: Sequence[str], values: Mapping[str, object]) -> Setting:
    return {f"{part}.{name}": value for part in parts for name, value in values.items()}


SWITCHES: Mapping[str, Sequence[Setting]] = {
    "scope": ({}, {"namespaces": ["team-a", "team-b"]}, {"scope": "namespace"}),
    "crds": ({}, {"crds.install": False}, {"crds.keep": False}),
    "rbac": ({}, {"rbac.create": False}, {"rbac.aggregate": False}),
    "operator": ({}, {"operator.replicas": 2}, {"operator.enabled": False}),
    "account": (
        {},
        {"operator.serviceAccount.create": False, "operator.serviceAccount.name": "mine"},
        {"operator.serviceAccount.annotations": {"iam.example/role": "x"}},
    ),
    "execution": (
        {},
        {"ray.enabled": True},
        {
            "ray.enabled": True,
            "ray.pools": [_GPU_POOL, _TPU_POOL],
            "ray.token.existingSecret": "token",
            "ray.image.repository": "registry.example/ray",
            "ray.head.podDisruptionBudget.enabled": False,
        },
        {"execution.mode": "kuberay", "execution.nodesAppear": True},
        {
            "execution.mode": "attach",
            "execution.rayAddress": "ray.example:6379",
            "execution.tokenSecret.name": "token",
        },
    ),
    "storage": (
        {},
        {"storage.existingSecret": "mine", "minio.enabled": False, "postgresql.enabled": False},
        {"storage.existingSecret": "mine", "postgresql.existingSecret": "mine-too"},
        {"minio.existingSecret": "root"},
    ),
    "persistence": (
        {},
        _all(["minio", "postgresql"], {"persistence.enabled": False}),
        _all(
            ["minio", "postgresql"],
            {"persistence.storageClass": "ssd", "persistence.annotations": {"a": "b"}},
        ),
    ),
    "placement": (
        {},
        _all(["operator", "minio", "postgresql", "ray.head"], _PLACEMENT),
    ),
    "volumes": ({}, _all(["operator", "jobs", "ray"], _PROXY)),
    "budgets": (
        {},
        _all(["operator", "minio", "postgresql"], {"podDisruptionBudget.enabled": False}),
    ),
    "metrics": (
        {},
        _all(["serviceMonitor", "prometheusRule", "dashboard"], {"enabled": True}),
    ),
    "exposure": (
        {},
        {
            "minio.ingress.enabled": True,
            "minio.ingress.host": "s3.example",
            "minio.ingress.tlsSecret": "s3-tls",
            "minio.ingress.className": "nginx",
        },
        {
            "minio.httpRoute.enabled": True,
            "minio.httpRoute.parentRefs": [{"name": "gateway"}],
            "minio.httpRoute.hostnames": ["s3.example"],
        },
    ),
    "network": (
        {},
        {"networkPolicy.enabled": False},
        {
            f"networkPolicy.{name}": _PEER
            for name in (
                *("dns", "apiServer", "metricsFrom", "store", "catalog"),
                *("jobsTo", "minioFrom", "attach"),
            )
        },
    ),
    "names": (
        {},
        {"fullnameOverride": "automl", "commonLabels": {"cost-centre": "42"}},
        {"imagePullSecrets": ["registry"], "operator.image.digest": f"sha256:{'0' * 64}"},
    ),
}
# "metrics" sits below that key in the values.
_PREFIX = {"metrics": "metrics."}


def pairwise() -> Iterator[Document]:
    """Iterate over values that hold every pair of settings of two switches."""
    for row in _rows():
        values: Document = {}
        for switch, choice in row.items():
            for path, value in SWITCHES[switch][choice].items():
                values = set_value(values, _PREFIX.get(switch, "") + path, value)
        yield values


Pair = tuple[tuple[str, int], tuple[str, int]]


def _rows() -> Iterator[dict[str, int]]:
    missing = dict.fromkeys(_all_pairs())
    yield dict.fromkeys(SWITCHES, 0)
    for pair in _pairs_of(dict.fromkeys(SWITCHES, 0)):
        missing.pop(pair, None)
    while missing:
        row = dict(next(iter(missing)))
        for switch, settings in SWITCHES.items():
            if switch not in row:
                row[switch] = max(
                    range(len(settings)),
                    key=lambda choice, s=switch: _gain(row, s, choice, missing),  # type: ignore[misc]
                )
        yield row
        for pair in _pairs_of(row):
            missing.pop(pair, None)


def _gain(row: Mapping[str, int], switch: str, choice: int, missing: Mapping[Pair, None]) -> int:
    return sum(_pair((other, taken), (switch, choice)) in missing for other, taken in row.items())


def _all_pairs() -> Iterator[Pair]:
    for first, second in combinations(SWITCHES, 2):
        for a in range(len(SWITCHES[first])):
            for b in range(len(SWITCHES[second])):
                yield _pair((first, a), (second, b))


def _pairs_of(row: Mapping[str, int]) -> Iterator[Pair]:
    yield from (_pair(a, b) for a, b in combinations(row.items(), 2))


def _pair(a: tuple[str, int], b: tuple[str, int]) -> Pair:
    order: dict[str, Any] = {name: index for index, name in enumerate(SWITCHES)}
    return (a, b) if order[a[0]] < order[b[0]] else (b, a)
