"""Names on the API: kinds of resources, keys of objects, paths of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote

Document = dict[str, Any]


class ObjectKey(NamedTuple):
    """An object of a known kind: its namespace ("" for one of the cluster) and its name."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


@dataclass(frozen=True, slots=True)
class ResourceType:
    """A kind of object as the API serves it.

    Attributes:
        group: API group, "" for the core group.
        version: version of the group, as in `v1`.
        plural: name in paths, as in `jobs`.
        kind: name in documents, as in `Job`.
        namespaced: whether its objects live in namespaces.
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """`apiVersion` of its documents."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(
        self, namespace: str | None = None, name: str | None = None, subresource: str | None = None
    ) -> str:
        """Return the path of a collection, an object, or a subresource of one."""
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if namespace and self.namespaced:
            parts += ["namespaces", namespace]
        parts += [self.plural, *(part for part in (name, subresource) if part)]
        return "/" + "/".join(quote(part, safe="") for part in parts)


def key_of(document: Mapping[str, Any]) -> ObjectKey:
    """Return the key of a document."""
    metadata = document["metadata"]
    return ObjectKey(metadata.get("namespace", ""), metadata["name"])


def uid_of(document: Mapping[str, Any]) -> str:
    """Return the uid of a document."""
    return str(document["metadata"]["uid"])


def without_managed_fields(document: Document) -> Document:
    """Drop what only the apiserver reads; it is often half of a document."""
    document["metadata"].pop("managedFields", None)
    return document


NAMESPACES = ResourceType("", "v1", "namespaces", "Namespace", namespaced=False)
NODES = ResourceType("", "v1", "nodes", "Node", namespaced=False)
PODS = ResourceType("", "v1", "pods", "Pod")
SECRETS = ResourceType("", "v1", "secrets", "Secret")
CONFIG_MAPS = ResourceType("", "v1", "configmaps", "ConfigMap")
JOBS = ResourceType("batch", "v1", "jobs", "Job")
LEASES = ResourceType("coordination.k8s.io", "v1", "leases", "Lease")
EVENTS = ResourceType("events.k8s.io", "v1", "events", "Event")
