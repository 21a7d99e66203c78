"""Who reaches whom: every pair of pods of the chart, decided from the policies themselves."""

from __future__ import annotations

import pytest
from tests.deploy.chart import NAMESPACE, Document, Rendering, render
from tests.deploy.policies import End, allowed

_NAMES = 53
_INTERNET = End(address="93.184.216.34")


def _pod(component: str, namespace: str = NAMESPACE, release: str = "strandline") -> End:
    labels = {
        "app.kubernetes.io/name": "strandline",
        "app.kubernetes.io/component": component,
    }
    if component != "job":
        labels["app.kubernetes.io/instance"] = release
    return End(namespace, labels)


_OPERATOR, _MINIO, _POSTGRESQL = _pod("operator"), _pod("minio"), _pod("postgresql")
_HEAD, _WORKER = _pod("ray-head"), _pod("ray-worker")
_JOB = _pod("job", "team-a")
_STRANGER = End("team-a", {"app": "shop"})
_APISERVER = End(address="10.96.0.1")

_POD = {"namespaces": ["team-a"]}
_STATIC = {"namespaces": ["team-a"], "ray": {"enabled": True}}
_KUBERAY = {"namespaces": ["team-a"], "execution": {"mode": "kuberay"}}


def _passes(values: Document, source: End, target: End, port: int) -> bool:
    return allowed(_policies(render(values)), source, target, port)


def _policies(rendering: Rendering) -> list[Document]:
    return rendering.of_kind("NetworkPolicy")


@pytest.mark.parametrize(
    ("values", "source", "target", "port"),
    [
        (_POD, _OPERATOR, _APISERVER, 443),
        (_POD, _OPERATOR, _APISERVER, 6443),
        (_POD, _OPERATOR, _POSTGRESQL, 5432),
        (_POD, _JOB, _MINIO, 9000),
        (_POD, _JOB, _POSTGRESQL, 5432),
        (_POD, _pod("minio-bucket"), _MINIO, 9000),
        (_POD, _pod("test"), _OPERATOR, 8080),
        (_POD, _pod("test"), _MINIO, 9000),
        (_POD, _pod("test"), _POSTGRESQL, 5432),
        (_STATIC, _WORKER, _HEAD, 6379),
        (_STATIC, _HEAD, _WORKER, 34567),
        (_STATIC, _WORKER, _pod("ray-worker"), 34567),
        (_STATIC, _WORKER, _MINIO, 9000),
        (_STATIC, _JOB, _HEAD, 6379),
        (_STATIC, _JOB, _WORKER, 34567),
        (_STATIC, _WORKER, _JOB, 34567),
        (_STATIC, _HEAD, _JOB, 34567),
        (_KUBERAY, _JOB, _pod("job", "team-a"), 34567),
        (_KUBERAY, End("kuberay", {"app.kubernetes.io/name": "kuberay-operator"}), _JOB, 8265),
    ],
)
def test_what_is_needed_passes(values: Document, source: End, target: End, port: int) -> None:
    assert _passes(values, source, target, port)


@pytest.mark.parametrize(
    ("values", "source", "target", "port"),
    [
        # Nobody else gets at what is kept.
        (_POD, _STRANGER, _MINIO, 9000),
        (_POD, _STRANGER, _POSTGRESQL, 5432),
        (_POD, _STRANGER, _OPERATOR, 8080),
        (_POD, _STRANGER, _JOB, 8265),
        (_STATIC, _STRANGER, _HEAD, 6379),
        (_POD, _pod("job", "not-looked-after"), _MINIO, 9000),
        (_POD, _pod("ray-worker", release="other"), _MINIO, 9000),
        # Code of jobs cannot reach out, least of all to the API or the cloud's metadata.
        (_POD, _JOB, _INTERNET, 443),
        (_POD, _JOB, _APISERVER, 443),
        (_POD, _JOB, End(address="169.254.169.254"), 80),
        (_POD, _JOB, _OPERATOR, 8080),
        (_STATIC, _WORKER, _INTERNET, 443),
        (_STATIC, _WORKER, _POSTGRESQL, 5432),
        (_STATIC, _HEAD, _MINIO, 9000),
        # Servers start no connections.
        (_POD, _MINIO, _INTERNET, 443),
        (_POD, _POSTGRESQL, _INTERNET, 443),
        (_POD, _MINIO, _POSTGRESQL, 5432),
        (_POD, _OPERATOR, _MINIO, 9000),
        # Jobs of one search know nothing of others', unless Ray makes them one.
        (_POD, _JOB, _pod("job", "team-a"), 34567),
        (_STATIC, _JOB, _pod("job", "team-a"), 34567),
        (_KUBERAY, _JOB, _pod("job", "team-b"), 34567),
    ],
)
def test_what_is_not_needed_does_not(values: Document, source: End, target: End, port: int) -> None:
    assert not _passes(values, source, target, port)


@pytest.mark.parametrize("pod", [_OPERATOR, _MINIO, _POSTGRESQL, _JOB])
def test_everyone_may_ask_for_addresses(pod: End) -> None:
    found = _policies(render(_POD))
    name_server = End("kube-system", {"k8s-app": "kube-dns"})
    for protocol in ("UDP", "TCP"):
        assert allowed(found, pod, name_server, _NAMES, protocol)


def test_peers_that_are_named_are_the_only_ones() -> None:
    prometheus = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "obs"}}}]
    values = {
        **_POD,
        "networkPolicy": {
            "apiServer": [{"ipBlock": {"cidr": "10.96.0.1/32"}}],
            "metricsFrom": prometheus,
            "jobsTo": [{"ipBlock": {"cidr": "93.184.216.0/24"}}],
        },
    }
    assert _passes(values, _OPERATOR, _APISERVER, 443)
    assert not _passes(values, _OPERATOR, _INTERNET, 443)
    assert _passes(values, End("obs"), _OPERATOR, 8080)
    assert _passes(values, _JOB, _INTERNET, 443)
    assert not _passes(values, _JOB, End(address="1.1.1.1"), 443)


def test_storage_elsewhere_is_reached_where_it_is_said_to_be() -> None:
    values = {
        **_POD,
        "storage": {"existingSecret": "mine"},
        "minio": {"enabled": False},
        "postgresql": {"enabled": False},
        "networkPolicy": {
            "store": [{"ipBlock": {"cidr": "192.0.2.1/32"}}],
            "catalog": [{"ipBlock": {"cidr": "192.0.2.2/32"}}],
        },
    }
    assert _passes(values, _JOB, End(address="192.0.2.1"), 443)
    assert _passes(values, _JOB, End(address="192.0.2.2"), 5432)
    assert _passes(values, _OPERATOR, End(address="192.0.2.2"), 5432)
    assert not _passes(values, _JOB, End(address="192.0.2.3"), 443)


def test_the_solver_needs_the_consent_of_both_ends() -> None:
    deny = {
        "metadata": {"namespace": "b"},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": []},
    }
    assert not allowed([deny], End("a"), End("b"), 80)
    assert allowed([deny], End("b"), End("a"), 80)
    assert allowed([], End("a"), End("b"), 80)
