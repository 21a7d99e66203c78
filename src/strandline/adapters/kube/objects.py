"""Objects of one namespace as commands see them: read, applied and deleted on the API.

What comes back are the same `Resource`s that a catalog returns, so whatever prints, selects
or waits works on both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from strandline.adapters.kube.api import KubeApi
from strandline.adapters.kube.kinds import TYPES, keep_object, parse_time, resource_of
from strandline.adapters.kube.refusals import explained
from strandline.adapters.kube.resources import PODS, Document, ObjectKey, ResourceType
from strandline.ports import Resource
from strandline.spec.attempts import LABEL_UID
from strandline.spec.errors import NotFoundError
from strandline.spec.records import Event

# Those of events.k8s.io are the same ones; the built-in role `view` reads these.
_EVENTS = ResourceType("", "v1", "events", "Event")
_APPLY = "application/apply-patch+yaml"
_NEVER = datetime.min.replace(tzinfo=UTC)


class KubeObjects:
    """The objects of one namespace, and those of the cluster."""

    def __init__(self, api: KubeApi, host: str, namespace: str) -> None:
        """Talk over `api` to the cluster that messages call `host`."""
        self.api = api
        self.host = host
        self.namespace = namespace

    def of(self, namespace: str) -> KubeObjects:
        """Return the objects of another namespace."""
        return KubeObjects(self.api, self.host, namespace)

    def get(self, kind: str, name: str) -> Resource:
        """Return the object.

        Raises:
            NotFoundError: there is none.
        """
        with explained(self.host, self.namespace):
            return listed(self.api.get(TYPES[kind], self.key(kind, name)))

    def list_objects(self, kind: str, after: str | None = None) -> Iterator[Resource]:
        """Iterate over the objects of a kind by name, those after name `after`."""
        with explained(self.host, self.namespace):
            found = self.api.list_all(TYPES[kind], self.scope(kind), keep=listed).items
        for resource in sorted(found, key=lambda each: each.name):
            if after is None or resource.name > after:
                yield resource

    def apply(
        self, kind: str, name: str, document: Mapping[str, Any], *, dry_run: bool = False
    ) -> tuple[Resource, str]:
        """Make an object have the fields of `document`: its spec, labels and annotations.

        The second value is `created`, `configured` or `unchanged`. Fields that were applied
        before and are left out now go back to their defaults.

        Raises:
            InvalidSpecError: admission refuses it.
        """
        before = self._find(kind, name)
        metadata = {**(document.get("metadata") or {}), "name": name}
        metadata.pop("namespace", None)
        rt = TYPES[kind]
        body = {**document, "apiVersion": rt.api_version, "kind": rt.kind, "metadata": metadata}
        query = {
            "fieldManager": self.api.field_manager,
            "force": "true",
            "fieldValidation": "Strict",
            "dryRun": "All" if dry_run else None,
        }
        path = rt.path(*self.key(kind, name))
        with explained(self.host, self.namespace):
            answer = self.api.call("PATCH", path, body, content_type=_APPLY, query=query)
        after = listed(answer)
        if before is None:
            return after, "created"
        return after, "unchanged" if _is_same(before, after) else "configured"

    def change_spec(self, resource: Resource, changes: Mapping[str, Any]) -> Resource:
        """Change these fields of an object's spec and no other.

        Raises:
            ConflictError: it changed since it was read.
        """
        metadata = {"resourceVersion": str(resource.resource_version), "uid": resource.uid}
        patch = {"metadata": metadata, "spec": dict(changes)}
        key = self.key(resource.kind, resource.name)
        with explained(self.host, self.namespace):
            return listed(self.api.patch_merge(TYPES[resource.kind], key, patch))

    def delete(self, resource: Resource) -> None:
        """Ask for this object, and no other of its name, to be deleted."""
        key = self.key(resource.kind, resource.name)
        with explained(self.host, self.namespace):
            self.api.delete(TYPES[resource.kind], key, uid=resource.uid)

    def is_there(self, resource: Resource) -> bool:
        """Return whether this object, or a pod that works for it, is still there."""
        found = self._find(resource.kind, resource.name)
        if found is not None and found.uid == resource.uid:
            return True
        return bool(self.pods(resource))

    def pods(self, resource: Resource) -> list[Document]:
        """Return the pods that worked for an object or do so."""
        selector = f"{LABEL_UID}={resource.uid}"
        with explained(self.host, self.namespace):
            return list(self.api.list_all(PODS, self.namespace, selector).items)

    def events(self, resource: Resource, limit: int) -> list[Event]:
        """Return the newest events about an object, oldest first."""
        namespace = self.scope(resource.kind) or "default"
        with explained(self.host, self.namespace):
            found = self.api.list_all(
                _EVENTS, namespace, fields=f"involvedObject.uid={resource.uid}"
            ).items
        events = [_event_of(each, resource) for each in found]
        return sorted(events, key=lambda each: each.at)[-limit:]

    def key(self, kind: str, name: str) -> ObjectKey:
        """Return the key of an object."""
        return ObjectKey(self.scope(kind) or "", name)

    def scope(self, kind: str) -> str | None:
        """Return the namespace of a kind's objects, None when they belong to the cluster."""
        return self.namespace if TYPES[kind].namespaced else None

    def _find(self, kind: str, name: str) -> Resource | None:
        try:
            return self.get(kind, name)
        except NotFoundError:
            return None


def listed(document: Document) -> Resource:
    """Return a document of the API as commands see it."""
    resource = resource_of(keep_object(document))
    metadata = document["metadata"]
    return replace(
        resource,
        namespace=metadata.get("namespace", ""),
        resource_version=int(metadata.get("resourceVersion") or 0),
    )


def _is_same(before: Resource, after: Resource) -> bool:
    """Return whether applying changed nothing that a person wrote."""
    told = [(each.spec, each.labels, each.annotations) for each in (before, after)]
    return told[0] == told[1]


def _event_of(document: Document, resource: Resource) -> Event:
    series = document.get("series") or {}
    at = (
        series.get("lastObservedTime")
        or document.get("lastTimestamp")
        or document.get("eventTime")
        or document["metadata"].get("creationTimestamp")
    )
    return Event(
        kind=resource.kind,
        name=resource.name,
        type=document.get("type") or "Normal",
        reason=document.get("reason") or "",
        message=document.get("message") or "",
        at=parse_time(at) if at else _NEVER,
    )
