"""Who may do what by the Roles of a rendering, and who did what by an apiserver's audit log."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.deploy.chart import Document, Rendering

_REFUSED = (401, 403)


@dataclass(frozen=True, slots=True)
class Right:
    """One verb on one resource.

    Attributes:
        namespace: where; None for everywhere.
        resource: with its group and subresource, as in `strandline.dev/datasets/status`.
        names: of the only objects that are meant, all if empty.
    """

    namespace: str | None
    resource: str
    verb: str
    names: frozenset[str] = frozenset()

    def __str__(self) -> str:
        where = self.namespace or "everywhere"
        return f"{self.verb} {self.resource} {' '.join(sorted(self.names))} in {where}"

    def allows(self, request: Request) -> bool:
        """Return whether this right is enough for that request."""
        return (
            self.namespace in (None, request.namespace)
            and (self.resource, self.verb) == (request.resource, request.verb)
            and (not self.names or request.name in self.names)
        )


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked of the apiserver; `namespace` and `name` are empty where there is none."""

    namespace: str
    resource: str
    verb: str
    name: str
    refused: bool

    def __str__(self) -> str:
        return f"{self.verb} {self.resource} {self.name} in {self.namespace or 'the cluster'}"


def rights_of(rendering: Rendering, account: str, namespace: str) -> set[Right]:
    """Return what is granted to a service account; every verb and resource by itself."""
    subject = {"kind": "ServiceAccount", "name": account, "namespace": namespace}
    found: set[Right] = set()
    for binding in rendering.of_kind("RoleBinding", "ClusterRoleBinding"):
        if subject not in binding["subjects"]:
            continue
        where = binding["metadata"].get("namespace")
        kind, name = binding["roleRef"]["kind"], binding["roleRef"]["name"]
        role = rendering.one(kind, name, where if kind == "Role" else None)
        for rule in role["rules"]:
            found.update(_rights(rule, where))
    return found


def _rights(rule: Document, namespace: str | None) -> Iterator[Right]:
    names = frozenset(rule.get("resourceNames", ()))
    for group in rule["apiGroups"]:
        for resource in rule["resources"]:
            for verb in rule["verbs"]:
                yield Right(namespace, f"{group}/{resource}".lstrip("/"), verb, names)


def requests_of(audit_log: Path, user: str, begin: int = 0) -> set[Request]:
    """Return the different requests of a user that follow the log's first `begin` lines."""
    lines = audit_log.read_text("utf-8").splitlines()[begin:]
    entries = map(json.loads, lines)
    return {_request(each) for each in entries if each["user"]["username"] == user}


def _request(entry: Mapping[str, Any]) -> Request:
    place = entry.get("objectRef") or {"resource": entry["requestURI"]}
    parts = [place.get(each) for each in ("apiGroup", "resource", "subresource")]
    return Request(
        place.get("namespace", ""),
        "/".join(part for part in parts if part),
        entry["verb"],
        place.get("name", ""),
        entry.get("responseStatus", {}).get("code") in _REFUSED,
    )


def unused(granted: Iterable[Right], requests: Iterable[Request]) -> set[Right]:
    """Return the rights that no request needed; what two allow, the narrower one allowed."""
    by_width = sorted(granted, key=lambda right: (right.namespace is None, not right.names))
    used = set()
    for request in requests:
        allowing = (right for right in by_width if right.allows(request))
        if (first := next(allowing, None)) is not None:
            used.add(first)
    return set(by_width) - used
