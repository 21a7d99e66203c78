"""kubectl as tests call it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tests.cluster import binaries

_TIMEOUT_SECONDS = 300.0


class KubectlError(Exception):
    """kubectl failed; the message is what it said."""


@dataclass(frozen=True, slots=True)
class Kubectl:
    """kubectl as one user of one cluster: call it with its arguments, get what it prints."""

    kubeconfig: Path

    def __call__(
        self, *arguments: str, stdin: str | None = None, timeout: float = _TIMEOUT_SECONDS
    ) -> str:
        """Run it.

        Raises:
            KubectlError: it ended with anything but 0.
        """
        done = subprocess.run(
            [_program(), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig)},
            timeout=timeout,
        )
        if done.returncode:
            raise KubectlError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """Return what a `get` and the like find, as data."""
        return json.loads(self(*arguments, "-o", "json"))

    def apply(self, *documents: Mapping[str, Any], arguments: Sequence[str] = ()) -> str:
        """Apply documents on the server's side; with further `arguments`."""
        text = yaml.safe_dump_all([dict(document) for document in documents])
        return self("apply", "--server-side", "-f", "-", *arguments, stdin=text)


def _program() -> str:
    # A user's own cluster comes with the user's own kubectl.
    if not binaries.missing(["kubectl"]):
        return str(binaries.path("kubectl"))
    return shutil.which("kubectl") or "kubectl"
