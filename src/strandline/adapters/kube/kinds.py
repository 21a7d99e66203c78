"""Strandline's kinds as the API serves them, and their documents as resources."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from strandline.adapters.kube.resources import Document, ObjectKey, ResourceType
from strandline.ports import Resource
from strandline.spec.attempts import LABEL_KIND, LABEL_NAME, LABEL_UID
from strandline.spec.kinds.base import API_VERSION
from strandline.spec.naming import Scope
from strandline.spec.v1alpha1 import KINDS

_GROUP, _VERSION = API_VERSION.split("/")

TYPES: Mapping[str, ResourceType] = {
    kind: ResourceType(
        _GROUP, _VERSION, model.names.plural, kind, model.names.scope is Scope.NAMESPACED
    )
    for kind, model in KINDS.items()
}
"""Every kind of ours by its name."""

NAMESPACED = tuple(kind for kind, each in TYPES.items() if each.namespaced)
COMPUTE_POOLS = TYPES["ComputePool"]

JOB_SELECTOR = "app.kubernetes.io/managed-by=strandline-operator,app.kubernetes.io/component=job"
"""What is common to all that runs jobs, and to nothing else."""


class ObjectRef(NamedTuple):
    """An object of ours, as queues name it; its uid may change."""

    kind: str
    namespace: str
    name: str

    @property
    def key(self) -> ObjectKey:
        """Its key among those of its kind."""
        return ObjectKey(self.namespace, self.name)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.kind.lower()}/{self.name}"


def ref_of(document: Mapping[str, Any]) -> ObjectRef:
    """Return what the queue calls the object of this document."""
    metadata = document["metadata"]
    return ObjectRef(document["kind"], metadata.get("namespace", ""), metadata["name"])


def owner_of(document: Mapping[str, Any]) -> ObjectRef | None:
    """Return the object that a Job, RayJob or pod works for; its labels tell."""
    metadata = document["metadata"]
    labels = metadata.get("labels") or {}
    kind, name = str(labels.get(LABEL_KIND)), labels.get(LABEL_NAME)
    if kind not in TYPES or not name:
        return None
    return ObjectRef(kind, metadata.get("namespace", ""), name)


def worker_uid(document: Mapping[str, Any]) -> str:
    """Return the uid of the object that a Job, RayJob or pod works for."""
    return str((document["metadata"].get("labels") or {}).get(LABEL_UID, ""))


def resource_of(document: Mapping[str, Any]) -> Resource:
    """Return the document as the catalog keeps it; its own resource version means nothing there."""
    metadata = document["metadata"]
    return Resource(
        kind=document["kind"],
        name=metadata["name"],
        uid=metadata["uid"],
        generation=int(metadata.get("generation") or 1),
        resource_version=0,
        labels=metadata.get("labels") or {},
        annotations=metadata.get("annotations") or {},
        spec=document.get("spec") or {},
        status=document.get("status") or {},
        created_at=parse_time(metadata["creationTimestamp"]),
    )


def parse_time(text: str) -> datetime:
    """Read a metav1.Time."""
    return datetime.fromisoformat(text)


def keep_object(document: Document) -> Document:
    """Drop who wrote which field, and the copy that kubectl leaves."""
    metadata = document["metadata"]
    metadata.pop("managedFields", None)
    annotations = metadata.get("annotations")
    if annotations:
        annotations.pop("kubectl.kubernetes.io/last-applied-configuration", None)
    return document
