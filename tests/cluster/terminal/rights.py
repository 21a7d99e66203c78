"""Rights in one namespace, as an administrator of a cluster gives them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from tests.cluster.kubectl import Kubectl

from strandline.spec.naming import Scope
from strandline.spec.v1alpha1 import KINDS

_GROUP = "rbac.authorization.k8s.io"
_LOOK = ["get", "list", "watch"]
_OURS = sorted(
    model.names.plural for model in KINDS.values() if model.names.scope is Scope.NAMESPACED
)
VIEW_KINDS: list[dict[str, Any]] = [
    {"apiGroups": ["strandline.dev"], "resources": _OURS, "verbs": _LOOK}
]
"""What the chart adds to the built-in role `view`."""

EDIT_KINDS: list[dict[str, Any]] = [
    {
        "apiGroups": ["strandline.dev"],
        "resources": _OURS,
        "verbs": [*_LOOK, "create", "delete", "deletecollection", "patch", "update"],
    }
]
"""… and to the role `edit`."""

LOOK_AT_PODS = {"apiGroups": [""], "resources": ["events", "pods", "pods/log"], "verbs": _LOOK}
"""What of the built-in roles our commands use, where no controller fills these."""


def let(
    kubectl: Kubectl,
    namespace: str,
    name: str,
    rules: list[dict[str, Any]],
    built_in: str | None = None,
) -> None:
    """Let a user do so much in a namespace, and what a built-in role allows."""
    user = {"apiGroup": _GROUP, "kind": "User", "name": name}
    version = {"apiVersion": f"{_GROUP}/v1"}
    own = {"name": f"{name}-own", "namespace": namespace}
    role = {"apiGroup": _GROUP, "kind": "Role", "name": own["name"]}
    documents: list[dict[str, Any]] = [
        {**version, "kind": "Role", "metadata": own, "rules": rules},
        {
            **version,
            "kind": "RoleBinding",
            "metadata": own,
            "roleRef": role,
            "subjects": [user],
        },
    ]
    if built_in is not None:
        binding = {"name": f"{name}-{built_in}", "namespace": namespace}
        role = {"apiGroup": _GROUP, "kind": "ClusterRole", "name": built_in}
        documents.append(
            {
                **version,
                "kind": "RoleBinding",
                "metadata": binding,
                "roleRef": role,
                "subjects": [user],
            }
        )
    kubectl.apply(*documents)


EDIT = [*EDIT_KINDS, LOOK_AT_PODS]
VIEW = [*VIEW_KINDS, LOOK_AT_PODS]
"""Whole roles, for a control plane whose built-in ones nobody fills."""


def at_home(kubeconfig: Path, namespace: str) -> Path:
    """Make a namespace that of the kubeconfig's context, and return the kubeconfig."""
    document = yaml.safe_load(kubeconfig.read_text())
    document["contexts"][0]["context"]["namespace"] = namespace
    kubeconfig.write_text(yaml.safe_dump(document))
    return kubeconfig
