"""Somebody at a terminal, and documents to apply."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from tests.cluster.control_plane import ControlPlane

from strandline.adapters.clock import SystemClock
from strandline.adapters.kube.api import KubeApi
from strandline.adapters.kube.kinds import TYPES
from strandline.adapters.kube.resources import ObjectKey
from strandline.cli.main import main
from strandline.spec.conditions import Why, mark_done

HEAD = "apiVersion: strandline.dev/v1alpha1\n"
DATASET = HEAD + "kind: Dataset\nmetadata: {name: coast, labels: {team: birds}}\n"
DATASET += "spec: {source: {uri: 's3://photos/coast'}}\n"
SEARCH = HEAD + "kind: Search\nmetadata: {name: quick, labels: {team: birds, stage: test}}\n"
SEARCH += "spec: {dataset: {name: coast}, budget: {trials: 4}}\n"
MODEL = HEAD + "kind: Model\nmetadata: {name: coast}\n"
ALL = f"{DATASET}---\n{SEARCH}---\n{MODEL}"


@dataclass
class Person:
    """Somebody at a terminal, and an administrator who plays the operator."""

    plane: ControlPlane
    namespace: str
    kubeconfig: Path

    def __post_init__(self) -> None:
        self.api = KubeApi.connect(self.plane.kubeconfig)

    def run(self, *words: str, stdin: str | None = None) -> Result:
        head = ["--cluster", "--kubeconfig", str(self.kubeconfig)]
        return CliRunner().invoke(main, [*head, *words], input=stdin)

    def ok(self, *words: str, stdin: str | None = None) -> str:
        result = self.run(*words, stdin=stdin)
        assert result.exit_code == 0, result.output + repr(result.exception)
        return result.stdout

    def refused(self, code: int, *words: str, stdin: str | None = None) -> str:
        result = self.run(*words, stdin=stdin)
        assert result.exit_code == code, result.output + repr(result.exception)
        return result.stderr

    def start(self, *words: str) -> subprocess.Popen[str]:
        head = ["--cluster", "--kubeconfig", str(self.kubeconfig)]
        return subprocess.Popen(
            [sys.executable, "-m", "strandline", *head, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def get(self, kind: str, name: str) -> Any:
        return self.api.get(TYPES[kind], ObjectKey(self.namespace, name))

    def until_there(self, kind: str, name: str) -> Any:
        end = time.monotonic() + 60
        while True:
            found = self.api.list_all(TYPES[kind], self.namespace).items
            for each in found:
                if each["metadata"]["name"] == name:
                    return each
            assert time.monotonic() < end, f"no {kind} {name}"
            time.sleep(0.1)

    def until_listed(self) -> None:
        """Wait until the person's command has listed what it is going to watch."""
        path = f"/namespaces/{self.namespace}/searches?fieldSelector="
        end = time.monotonic() + 60
        while path not in self.plane.audit_log.read_text("utf-8"):
            assert time.monotonic() < end
            time.sleep(0.1)

    def say(
        self, kind: str, name: str, mark: Callable[..., Any], reason: str, **fields: Any
    ) -> None:
        document = self.get(kind, name)
        why = Why(reason, f"{reason}.", document["metadata"]["generation"], SystemClock().now())
        status = {**mark(document.get("status") or {}, why), **fields}
        self.api.patch_merge(
            TYPES[kind],
            ObjectKey(self.namespace, name),
            {"status": status},
            subresource="status",
        )

    def import_coast(self) -> None:
        """Have a Dataset that is imported."""
        self.ok("apply", "-f", "-", stdin=DATASET)
        counts = {"items": 30, "labels": 2, "labeled": 30}
        self.say("Dataset", "coast", mark_done, "Imported", version=3, **counts)


MakePerson = Callable[[list[dict[str, Any]]], Person]
"""Makes somebody who may do so much in a namespace of their own."""
