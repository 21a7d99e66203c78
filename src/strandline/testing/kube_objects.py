"""Builders of plain Kubernetes objects for tests of the operator's runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from strandline.adapters.kube.api import KubeApi
from strandline.adapters.kube.resources import CONFIG_MAPS, NAMESPACES, Document


def a_config_map(namespace: str, name: str, **data: str) -> Document:
    """Return a ConfigMap."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"namespace": namespace, "name": name},
        "data": data,
    }


def a_job(namespace: str, name: str, **metadata: Any) -> Document:
    """Return a suspended Job, so that no controller makes pods of it."""
    container = {"name": "main", "image": "none"}
    pod = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"namespace": namespace, "name": name, **metadata},
        "spec": {"suspend": True, "template": pod},
    }


def make_namespace(api: KubeApi, name: str) -> str:
    """Make a namespace; return its name."""
    api.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return name


def make_config_maps(
    api: KubeApi, namespace: str, count: int, name: Callable[[int], str] = "cm-{:05d}".format
) -> list[str]:
    """Make that many ConfigMaps; return their names."""
    names = [name(number) for number in range(count)]
    for each in names:
        api.create(CONFIG_MAPS, a_config_map(namespace, each))
    return names
