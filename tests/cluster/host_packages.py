"""The Python packages of this machine in pods: an image with Ray and torch would be 6 GB.

They are mounted read-only into pods of the base image, whose Python is of the same version.
What they are called with stays that of the real image: `strandline`, `ray`, `python`.
"""

from __future__ import annotations

import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.cluster import Cluster
from tests.servers.absent import skip_or_fail

_IMAGES_PYTHON = (3, 11)
_PYTHON = "/usr/bin/python3.11"
_SOURCE = Path(__file__).parents[2] / "src"
_FOLDERS = ("packages", "source", "programs")


@dataclass(frozen=True, slots=True)
class HostPackages:
    """What pods need to run Strandline as the train image would.

    Attributes:
        image: Debian with Python, on the nodes.
        programs: folder of commands, made by `prepare`.
        env: variables of a container, beside those it has.
        volumes: of a pod; the claims are made by `claim`, in each namespace.
        mounts: of a container.
    """

    cluster: Cluster
    image: str
    programs: Path
    env: dict[str, str]
    volumes: list[dict[str, Any]]
    mounts: list[dict[str, Any]]

    @classmethod
    def prepare(cls, cluster: Cluster, programs: Path) -> HostPackages:
        """Make the commands in a new folder, or skip: the versions of Python must be the same."""
        if sys.version_info[:2] != _IMAGES_PYTHON:
            skip_or_fail(f"the image has Python {_IMAGES_PYTHON}, whose packages must be here")
        _write_programs(programs)
        claims = {name: {"claimName": name, "readOnly": True} for name in _FOLDERS}
        return cls(
            cluster,
            cluster.images.base(),
            programs,
            {
                "PATH": "/opt/programs:/usr/local/bin:/usr/bin:/bin",
                "PYTHONPATH": "/opt/source:/opt/packages",
            },
            [{"name": name, "persistentVolumeClaim": claims[name]} for name in _FOLDERS],
            [{"name": name, "mountPath": f"/opt/{name}", "readOnly": True} for name in _FOLDERS],
        )

    def claim(self, namespace: str) -> None:
        """Let pods of a namespace mount the volumes."""
        packages = Path(sysconfig.get_path("purelib"))
        for name, folder in zip(_FOLDERS, (packages, _SOURCE, self.programs), strict=True):
            self.cluster.mount(namespace, name, folder)

    def release(self, namespace: str) -> None:
        """Remove what a namespace leaves behind of it, which belongs to the cluster."""
        mine = [f"pv/{namespace}-{name}" for name in _FOLDERS]
        self.cluster.kubectl("delete", "--wait=false", "--ignore-not-found", *mine)


def _write_programs(folder: Path) -> None:
    """Write the commands of the packages anew: those installed name a Python of this machine."""
    folder.mkdir(mode=0o755)
    modules = {"ray": "-m ray.scripts.scripts", "strandline": "-m strandline", "python": ""}
    for name, arguments in modules.items():
        program = folder / name
        program.write_text(f'#!/bin/sh\nexec {_PYTHON} {arguments} "$@"\n')
        program.chmod(0o755)
