"""An apiserver as these tests ask it: one kept connection, no client library in between."""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from tests.cluster.control_plane import ControlPlane

from strandline.spec.naming import Scope
from strandline.spec.schema import crd
from strandline.spec.v1alpha1 import API_VERSION, KINDS

Document = dict[str, Any]

_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_ESTABLISHED_SECONDS = 60.0
_STRICT = {"fieldValidation": "Strict", "fieldManager": "strandline-tests"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What an apiserver answered.

    Attributes:
        code: HTTP status.
        body: the object, or a Status that says what is wrong.
    """

    code: int
    body: Document

    @property
    def accepted(self) -> bool:
        """Return whether the document was taken; anything unexpected is an error."""
        assert self.code in (200, 201, 400, 422), self.body
        return self.code < 300

    @property
    def message(self) -> str:
        """Return what a person is told."""
        return str(self.body.get("message", ""))


class AskedApiserver:
    """Calls an apiserver as its administrator."""

    def __init__(self, plane: ControlPlane) -> None:
        address = urlsplit(plane.url)
        pair = plane.authority.issue("kinds", common_name="kinds", groups=("system:masters",))
        context = plane.authority.trust(pair)
        assert address.hostname is not None
        self._connection = http.client.HTTPSConnection(
            address.hostname, address.port, context=context, timeout=60
        )

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def call(self, method: str, path: str, body: Document | None = None, **query: str) -> Answer:
        """Send one request; `query` as an apiserver names its parameters."""
        target = f"{path}?{urlencode(query)}" if query else path
        mime = "application/apply-patch+yaml" if method == "PATCH" else "application/json"
        text = None if body is None else json.dumps(body)
        self._connection.request(method, target, text, {"Content-Type": mime})
        reply = self._connection.getresponse()
        return Answer(reply.status, json.loads(reply.read()))

    def install(self, kind: str) -> Document:
        """Create the CRD of a kind; return it once it serves.

        Raises:
            AssertionError: it is refused, or never served.
        """
        made = self.call("POST", _CRDS, crd(kind), **_STRICT)
        assert made.code == 201, made.message
        name, deadline = made.body["metadata"]["name"], time.monotonic() + _ESTABLISHED_SECONDS
        while True:
            found = self.call("GET", f"{_CRDS}/{name}").body
            conditions = found.get("status", {}).get("conditions") or ()
            states = {each["type"]: each["status"] for each in conditions}
            if states.get("Established") == "True" and self.call("GET", path_of(kind)).code == 200:
                return found
            assert time.monotonic() < deadline, conditions
            time.sleep(0.05)

    def try_create(self, document: Document) -> Answer:
        """Create the object, were it not a dry run."""
        return self.call("POST", path_of(document["kind"]), document, dryRun="All", **_STRICT)

    def create(self, document: Document) -> Document:
        """Create the object for real."""
        made = self.call("POST", path_of(document["kind"]), document, **_STRICT)
        assert made.code == 201, made.message
        return made.body

    def put_status(self, document: Document, dry_run: bool = True) -> Answer:
        """Replace the status of an object."""
        path = f"{path_of(document['kind'])}/{document['metadata']['name']}/status"
        query = {"dryRun": "All"} if dry_run else {}
        return self.call("PUT", path, document, **query, **_STRICT)


def path_of(kind: str) -> str:
    """Return where the objects of a kind are, in the namespace `default` if it has any."""
    names = KINDS[kind].names
    space = "" if names.scope is Scope.CLUSTER else "/namespaces/default"
    return f"/apis/{API_VERSION}{space}/{names.plural}"
