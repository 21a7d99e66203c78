"""The kustomize manifests, made from the chart: `python -m tests.deploy.manifests` writes them.

Who uses kustomize gets what who uses Helm gets. Only what kustomize is for is written by
hand: kustomization.yaml, pools, the namespace.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from tests.deploy.chart import ROOT, Document, Rendering, render

from strandline.spec.operator_config import JOB_SETTINGS

MANIFESTS = ROOT / "manifests"
_NOTICE = "# Made from the chart by `make manifests`. Do not edit: change helm/strandline.\n"
_CONFIG = "strandline-operator"
_CONFIGURATIONS = (_CONFIG, JOB_SETTINGS)

_BASE: Document = {
    "crds": {"install": False},
    "storage": {"existingSecret": "strandline-storage"},
    "minio": {"enabled": False},
    "postgresql": {"enabled": False},
}
_STORAGE: Document = {
    "crds": {"install": False},
    "storage": {"existingSecret": "strandline-storage"},
    "minio": {"existingSecret": "strandline-minio"},
    "postgresql": {"existingSecret": "strandline-postgresql"},
}
_KUBERAY: Document = {**_BASE, "execution": {"mode": "kuberay", "nodesAppear": True}}


def outputs() -> Iterator[tuple[Path, str]]:
    """Yield (path below `manifests`, text) of every file that is made."""
    base, storage, kuberay = render(_BASE), render(_STORAGE), render(_KUBERAY)
    yield Path("base/operator.yaml"), _config(base)
    yield Path("base/strandline.yaml"), _dump(_keyed(base).values())
    yield Path("components/kuberay/operator.yaml"), _config(kuberay)
    yield Path("components/kuberay/patches.yaml"), _dump(_differing(base, kuberay))
    yield Path("overlays/laptop/storage.yaml"), _dump(_added(base, storage))


def write() -> list[Path]:
    """Write what differs; return the changed files."""
    changed = []
    for path, text in outputs():
        target = MANIFESTS / path
        if not target.exists() or target.read_text("utf-8") != text:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, "utf-8")
            changed.append(path)
    return changed


Key = tuple[str, str]


def _keyed(rendering: Rendering) -> Mapping[Key, Document]:
    """Return the documents by kind and name, as kustomize is to have them.

    The configuration is left to a generator, whose names make a change restart the operator.
    The copy of it that people's commands read would not follow it, and they can do without.
    """
    return {
        (each["kind"], each["metadata"]["name"]): _without_helm(each)
        for each in rendering.documents
        if not (each["kind"] == "ConfigMap" and each["metadata"]["name"] in _CONFIGURATIONS)
        and "helm.sh/hook" not in each["metadata"].get("annotations", {})
    }


def _added(before: Rendering, after: Rendering) -> list[Document]:
    there = _keyed(before)
    return [each for key, each in _keyed(after).items() if key not in there]


def _differing(before: Rendering, after: Rendering) -> list[Document]:
    there, patched = _keyed(before), _keyed(after)
    assert there.keys() == patched.keys()
    return [
        _without_configuration(each)
        for key, each in patched.items()
        if _without_configuration(each) != _without_configuration(there[key])
    ]


def _without_configuration(document: Document) -> Document:
    """Return a document without the digest of the configuration in a pod's annotations."""
    annotations = (
        document.get("spec", {}).get("template", {}).get("metadata", {}).get("annotations", {})
    )
    annotations.pop("strandline.dev/config", None)
    return document


def _without_helm(document: Document) -> Document:
    metadata = dict(document["metadata"])
    labels = {k: v for k, v in metadata["labels"].items() if k != "helm.sh/chart"}
    labels["app.kubernetes.io/managed-by"] = "kustomize"
    return _without_configuration({**document, "metadata": {**metadata, "labels": labels}})


def _config(rendering: Rendering) -> str:
    text: str = rendering.one("ConfigMap", _CONFIG)["data"]["operator.yaml"]
    return _NOTICE + text


def _dump(documents: Any) -> str:
    return _NOTICE + yaml.safe_dump_all(list(documents), sort_keys=False, width=100)


if __name__ == "__main__":
    for each in write():
        print(f"wrote manifests/{each}", file=sys.stderr)
