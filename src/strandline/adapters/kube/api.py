"""Kubernetes' API with plain documents, over the official client's transport.

The generated models of that client would cost most of an operator's memory and lose fields
they do not know. So only its connection is used: TLS, credentials, rotated tokens, proxies.
Every call has a timeout, is counted, and fails with an error of `spec.errors`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from urllib3.exceptions import HTTPError

from strandline.adapters.kube.answers import ExpiredError, error_of, status_of
from strandline.adapters.kube.connection import load_configuration
from strandline.adapters.kube.metrics import OperatorMetrics
from strandline.adapters.kube.resources import Document, ObjectKey, ResourceType, key_of
from strandline.adapters.kube.transport import JSON, Call, Transport, read_whole
from strandline.adapters.kube.watch import Watch
from strandline.spec.errors import UnavailableError

PAGE_SIZE = 500
_WATCH_GRACE_SECONDS = 30.0
_LOG_SILENCE_SECONDS = 120.0
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_JSON_PATCH = "application/json-patch+json"


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list.

    Attributes:
        items: its documents, with `apiVersion` and `kind` as a GET has them.
        resource_version: moment of the whole list, the same on all pages; watch from here.
    """

    items: list[Document]
    resource_version: str


@dataclass(frozen=True, slots=True)
class Listing:
    """A complete list as of one moment.

    Attributes:
        items: what `keep` made of each document.
        resource_version: that moment; watch from here.
    """

    items: list[Any]
    resource_version: str


class KubeApi:
    """One apiserver; all methods may be called from any thread."""

    def __init__(
        self,
        configuration: Any,
        namespace: str = "default",
        *,
        metrics: OperatorMetrics | None = None,
        field_manager: str = "strandline",
        timeout_seconds: float = 30.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Use a `kubernetes.client.Configuration`; `namespace` is the one of this process."""
        self.namespace = namespace
        self.field_manager = field_manager
        self._transport = Transport(configuration, field_manager, timeout_seconds, metrics, sleep)

    @classmethod
    def connect(
        cls, kubeconfig: Path | None = None, context: str | None = None, **options: Any
    ) -> KubeApi:
        """Connect as `kubeconfig`, `KUBECONFIG`, the pod or the home folder says.

        Raises:
            InvalidSpecError: none of them is there, or it cannot be read.
        """
        configuration, namespace = load_configuration(kubeconfig, context)
        return cls(configuration, namespace, **options)

    def close(self) -> None:
        """Close all idle connections."""
        self._transport.close()

    # Reading

    def get(self, rt: ResourceType, key: ObjectKey) -> Document:
        """Read one object.

        Raises:
            NotFoundError: there is none.
        """
        return self._transport.document(Call("GET", rt.path(*key)))

    def list_pages(
        self,
        rt: ResourceType,
        namespace: str | None = None,
        selector: str | None = None,
        *,
        fields: str | None = None,
        limit: int = PAGE_SIZE,
    ) -> Iterator[Page]:
        """Iterate over a list's pages, all as of one moment; `limit` 0 is one page.

        Raises:
            ExpiredError: reading took so long that this moment is forgotten; begin anew.
        """
        query = {"labelSelector": selector, "fieldSelector": fields, "limit": limit or None}
        token: str | None = None
        while True:
            call = Call("GET", rt.path(namespace), query={**query, "continue": token})
            answer = self._transport.document(call)
            metadata = answer["metadata"]
            items = answer.get("items") or []
            for item in items:  # a list leaves them out: they are the same for all
                item.setdefault("apiVersion", rt.api_version)
                item.setdefault("kind", rt.kind)
            yield Page(items, metadata["resourceVersion"])
            token = metadata.get("continue")
            if not token:
                return

    def list_all(
        self,
        rt: ResourceType,
        namespace: str | None = None,
        selector: str | None = None,
        *,
        fields: str | None = None,
        limit: int = PAGE_SIZE,
        keep: Callable[[Document], Any] = lambda document: document,
    ) -> Listing:
        """Read a whole list as of one moment, keeping of each document what `keep` returns.

        The continuation that the server offers with a 410 mixes moments, so it is not used:
        the list begins anew, and at the third time comes as one page, which cannot expire.
        """
        for size in (limit, limit, 0):
            kept: list[Any] = []
            version = ""
            try:
                pages = self.list_pages(rt, namespace, selector, fields=fields, limit=size)
                for page in pages:
                    kept += map(keep, page.items)
                    version = page.resource_version
            except ExpiredError:
                continue
            return Listing(kept, version)
        raise UnavailableError(f"the list of {rt.plural} expired while it was read")

    def watch(
        self,
        rt: ResourceType,
        resource_version: str,
        namespace: str | None = None,
        selector: str | None = None,
        *,
        fields: str | None = None,
        timeout_seconds: float = 300.0,
    ) -> Watch:
        """Open a stream of all changes after `resource_version`; it ends by itself.

        Raises:
            ExpiredError: that moment is forgotten: list anew. Also while it is read.
        """
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "labelSelector": selector,
            "fieldSelector": fields,
            "timeoutSeconds": max(1, int(timeout_seconds)),
        }
        what = f"watch {rt.plural}"
        call = Call("GET", rt.path(namespace), query=query)
        answer = self._transport.open(call, timeout_seconds + _WATCH_GRACE_SECONDS)
        if answer.status != 200:
            raise error_of(answer.status, status_of(read_whole(answer, call)), what)
        return Watch(answer, what)

    # Writing

    def create(self, rt: ResourceType, document: Document) -> Document:
        """Make an object that is not there yet.

        Raises:
            AlreadyExistsError: one with its name is there.
        """
        namespace = key_of(document).namespace or None
        return self._write("POST", rt.path(namespace), document)

    def apply(
        self, rt: ResourceType, document: Document, *, subresource: str | None = None
    ) -> Document:
        """Make an object have these fields, whoever wrote them before (server-side apply).

        Fields that we applied before and leave out now are removed. A `resourceVersion` or
        `uid` in the metadata makes it conditional.

        Raises:
            ConflictError: the condition does not hold.
        """
        body = {"apiVersion": rt.api_version, "kind": rt.kind, **document}
        path = rt.path(*key_of(document), subresource)
        return self._write("PATCH", path, body, _APPLY, force="true")

    def apply_status(self, rt: ResourceType, document: Document) -> Document:
        """Make an object's status have these fields (server-side apply)."""
        return self.apply(rt, document, subresource="status")

    def replace(self, rt: ResourceType, document: Document) -> Document:
        """Write a whole object as it was read and changed.

        Raises:
            ConflictError: somebody else wrote it meanwhile.
        """
        return self._write("PUT", rt.path(*key_of(document)), document)

    def replace_status(self, rt: ResourceType, document: Document) -> Document:
        """Write the whole status of an object as it was read and changed.

        Raises:
            ConflictError: somebody else wrote the object meanwhile.
        """
        path = rt.path(*key_of(document), "status")
        return self._write("PUT", path, document)

    def patch_merge(
        self,
        rt: ResourceType,
        key: ObjectKey,
        patch: Mapping[str, Any],
        *,
        subresource: str | None = None,
    ) -> Document:
        """Merge `patch` into an object; None removes a field, a list replaces a list."""
        path = rt.path(*key, subresource)
        return self._write("PATCH", path, dict(patch), _MERGE)

    def patch_json(
        self,
        rt: ResourceType,
        key: ObjectKey,
        operations: list[dict[str, Any]],
        *,
        subresource: str | None = None,
    ) -> Document:
        """Do JSON-patch operations on an object, all or none.

        Raises:
            InvalidSpecError: one does not apply, as a `test` that does not hold.
        """
        path = rt.path(*key, subresource)
        return self._write("PATCH", path, operations, _JSON_PATCH)

    def delete(
        self,
        rt: ResourceType,
        key: ObjectKey,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        propagation: str = "Background",
        grace_seconds: int | None = None,
    ) -> None:
        """Delete an object; with `uid` only this one, not another of its name.

        Raises:
            NotFoundError: there is none.
            ConflictError: the one that is there has another uid or version.
        """
        wanted = {"uid": uid, "resourceVersion": resource_version}
        conditions = {name: value for name, value in wanted.items() if value is not None}
        body: Document = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": propagation,
        }
        if conditions:
            body["preconditions"] = conditions
        if grace_seconds is not None:
            body["gracePeriodSeconds"] = grace_seconds
        self._transport.document(Call("DELETE", rt.path(*key), body))

    # Calling

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = JSON,
        query: Mapping[str, Any] | None = None,
        timeout_seconds: float | None = None,
    ) -> Document:
        """Call any path of the API, as `/version` or a review of access."""
        return self._transport.document(
            Call(
                method,
                path,
                body,
                content_type=content_type,
                query=query or {},
                timeout_seconds=timeout_seconds,
            )
        )

    def read_log(
        self, key: ObjectKey, container: str | None = None, *, tail_lines: int | None = None
    ) -> str:
        """Return what a pod's container printed."""
        call = _log_call(key, container, tailLines=tail_lines)
        return self._transport.data(call).decode("utf-8", "replace")

    def follow_log(
        self,
        key: ObjectKey,
        container: str,
        *,
        since: str | None = None,
        tail_lines: int | None = None,
        silence_seconds: float = _LOG_SILENCE_SECONDS,
    ) -> Iterator[bytes]:
        """Yield what a pod's container prints, each line after its time, until it ends.

        Args:
            since: yield lines of this second or later only.

        Raises:
            InvalidSpecError: the container has not started yet.
            UnavailableError: the connection broke, or was silent for so long.
        """
        call = _log_call(
            key, container, follow="true", timestamps="true", sinceTime=since, tailLines=tail_lines
        )
        answer = self._transport.open(call, silence_seconds)
        if answer.status != 200:
            raise error_of(answer.status, status_of(read_whole(answer, call)), str(call))
        try:
            yield from answer.stream(1 << 16, decode_content=True)
        except (HTTPError, OSError) as error:
            raise UnavailableError(f"{call}: the stream broke: {error}") from error
        finally:
            answer.close()

    def _write(
        self, method: str, path: str, body: Any, content_type: str = JSON, **query: str
    ) -> Document:
        query["fieldManager"] = self.field_manager
        return self._transport.document(Call(method, path, body, content_type, query))


def _log_call(key: ObjectKey, container: str | None, **query: Any) -> Call:
    path = f"/api/v1/namespaces/{key.namespace}/pods/{key.name}/log"
    return Call("GET", path, query={"container": container, **query}, accept="*/*")
