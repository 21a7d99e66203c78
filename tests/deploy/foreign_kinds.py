"""Kinds of others that objects of the chart may be of: their CRDs, out of pinned Go modules."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from tests.servers.absent import skip_or_fail

_MODULES = Path(__file__).parents[1] / "cluster" / "tools" / "kinds"
_FILES = {
    "github.com/prometheus-operator/prometheus-operator": (
        "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
    ),
    "sigs.k8s.io/gateway-api": ("config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",),
}


def foreign_kinds() -> list[Path]:
    """Return the files of the CRDs, fetched when they are first needed; or skip the test."""
    if shutil.which("go") is None:
        skip_or_fail("kinds of others are fetched with Go, which is not there")
    done = subprocess.run(
        ["go", "mod", "download", "-json", *_FILES], cwd=_MODULES, capture_output=True, text=True
    )
    if done.returncode:
        skip_or_fail(f"kinds of others cannot be fetched: {done.stderr.strip()[-300:]}")
    folders = {}
    decoder, rest = json.JSONDecoder(), done.stdout.strip()
    while rest:
        module, end = decoder.raw_decode(rest)
        folders[module["Path"]] = Path(module["Dir"])
        rest = rest[end:].lstrip()
    return [folders[module] / file for module, files in _FILES.items() for file in files]
