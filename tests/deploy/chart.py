"""The chart as Helm renders it, and Helm itself."""

from __future__ import annotations

import functools
import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from tests.cluster import binaries
from tests.servers.absent import skip_or_fail

Document = dict[str, Any]
Values = Mapping[str, Any]

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "strandline"
RELEASE = "strandline"
NAMESPACE = "strandline-system"
# Nine times as fast on the CRDs, where libyaml is there.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class HelmError(Exception):
    """Helm refused; the message is what it said."""


def helm_program() -> Path:
    """Return Helm, or skip the test."""
    named = os.environ.get("STRANDLINE_TEST_HELM")
    path = Path(named) if named else binaries.path("helm")
    if not path.exists():
        skip_or_fail("no Helm: build it with `python -m tests.cluster.binaries helm`")
    return path


@dataclass(frozen=True, slots=True)
class Helm:
    """Helm as one user of one cluster, or of none: call it with its arguments.

    Attributes:
        home: folder for what Helm keeps on the disk, so that nothing of the user's is used.
    """

    home: Path
    kubeconfig: Path | None = None

    def __call__(self, *arguments: str, values: Values | None = None) -> str:
        """Run it.

        Raises:
            HelmError: it ended with anything but 0.
        """
        command = [str(helm_program()), *arguments]
        if values is not None:
            command += ["--values", "-"]
        done = subprocess.run(
            command,
            input=json.dumps(values) if values is not None else None,
            capture_output=True,
            text=True,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.home),
                "KUBECONFIG": str(self.kubeconfig or os.devnull),
            },
            timeout=300,
        )
        if done.returncode:
            raise HelmError(done.stderr.strip())
        return done.stdout


@dataclass(frozen=True)
class Rendering:
    """All documents of one rendering, and the values that made it."""

    values: Values
    documents: Sequence[Document] = field(repr=False)

    def of_kind(self, *kinds: str) -> list[Document]:
        """Return the documents of these kinds."""
        return [each for each in self.documents if each["kind"] in kinds]

    def one(self, kind: str, name: str, namespace: str | None = NAMESPACE) -> Document:
        """Return the document of that kind and name."""
        found = [
            each
            for each in self.of_kind(kind)
            if each["metadata"]["name"] == name and each["metadata"].get("namespace") == namespace
        ]
        assert len(found) == 1, f"{kind} {namespace}/{name}: {len(found)} documents"
        return found[0]

    def names(self, kind: str) -> set[str]:
        """Return the names of the documents of that kind."""
        return {each["metadata"]["name"] for each in self.of_kind(kind)}

    def pods(self) -> Iterator[tuple[str, Document]]:
        """Iterate over (what makes it, template with metadata and spec) of all pods."""
        for each in self.documents:
            name = f"{each['kind']}/{each['metadata']['name']}"
            if each["kind"] == "Pod":
                yield name, each
            elif "template" in each.get("spec", {}):
                yield name, each["spec"]["template"]


def render(values: Values) -> Rendering:
    """Return what the chart makes of `values`, rendered at most once in a session.

    Raises:
        HelmError: the chart refuses them.
    """
    text = _render(json.dumps(values, sort_keys=True))
    return Rendering(values, [each for each in yaml.load_all(text, Loader=_LOADER) if each])


@functools.lru_cache(maxsize=256)
def _render(values: str) -> str:
    arguments = ("template", RELEASE, str(CHART), "--namespace", NAMESPACE)
    return Helm(Path("/nonexistent"))(*arguments, values=json.loads(values))


@functools.cache
def default_values() -> Document:
    """Return the chart's own values; not to be changed."""
    loaded: Document = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    return loaded


def set_value(values: Document, path: str, value: object) -> Document:
    """Return `values` with `value` at a dotted path."""
    changed = deepcopy(values)
    *parents, last = path.split(".")
    place = changed
    for parent in parents:
        place = place.setdefault(parent, {})
    place[last] = value
    return changed
