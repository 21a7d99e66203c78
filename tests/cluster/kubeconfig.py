"""Kubeconfig files: one cluster, one user, everything inside the file."""

from __future__ import annotations

import base64
from pathlib import Path

import yaml
from tests.cluster.certificates import Pair


def write_kubeconfig(
    target: Path,
    server: str,
    authority: Path,
    *,
    client: Pair | None = None,
    token: str | None = None,
) -> Path:
    """Write a file that reaches `server` as the holder of a certificate or of a token."""
    user = {"token": token} if token else {}
    if client is not None:
        user["client-certificate-data"] = _encoded(client.certificate)
        user["client-key-data"] = _encoded(client.key)
    cluster = {"server": server, "certificate-authority-data": _encoded(authority)}
    context = {"cluster": "strandline", "user": "strandline", "namespace": "default"}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "strandline", "cluster": cluster}],
        "users": [{"name": "strandline", "user": user}],
        "contexts": [{"name": "strandline", "context": context}],
        "current-context": "strandline",
    }
    target.touch(mode=0o600)
    target.write_text(yaml.safe_dump(document, sort_keys=False), "utf-8")
    return target


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
