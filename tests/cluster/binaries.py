"""The programs of the test cluster: built once from pinned Go modules, then cached.

`python -m tests.cluster.binaries [NAME ...]` builds the named ones, or all. The cache
folder is keyed by everything that decides what comes out (modules, Go, flags), so a
changed pin never meets an old program, and an unchanged one builds nothing.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.servers import s3

_TOOLS = Path(__file__).parent / "tools"
_FLAGS = ("-mod=readonly", "-trimpath", "-buildvcs=false")
_STRIP = "-s -w"
# Below this a program is as good as any; compiling must not starve what runs beside it.
_NICENESS = "15"

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Program:
    """A program and how it is built.

    Attributes:
        package: what `go build` is given.
        version: variables that take the module's version, `{major}` and so on filled in.
        module: the module whose version that is.
        tags: build tags; with any, the program is linked by the C compiler.
        folder: of the go.mod that pins it.
    """

    name: str
    package: str
    module: str = ""
    version: tuple[str, ...] = ()
    tags: str = ""
    folder: Path = _TOOLS

    def arguments(self, target: Path) -> list[str]:
        """Return what `go` is called with."""
        linker = " ".join([_STRIP, *(f"-X {each}" for each in self._versions())])
        tags = ["-tags", self.tags] if self.tags else []
        return ["build", *_FLAGS, *tags, "-ldflags", linker, "-o", str(target), self.package]

    def _versions(self) -> list[str]:
        if not self.module:
            return []
        version = _pinned(self.module, self.folder)
        major, minor, _ = version.removeprefix("v").split(".", 2)
        return [each.format(version=version, major=major, minor=minor) for each in self.version]


_KUBERNETES = "k8s.io/kubernetes"
_BASE = "k8s.io/component-base/version"
_KUBERNETES_VERSION = (
    f"{_BASE}.gitVersion={{version}}",
    f"{_BASE}.gitMajor={{major}}",
    f"{_BASE}.gitMinor={{minor}}",
    f"{_BASE}.gitTreeState=clean",
)
_CONTAINERD = "github.com/containerd/containerd/v2"


def _kubernetes(name: str) -> Program:
    return Program(name, f"{_KUBERNETES}/cmd/{name}", _KUBERNETES, _KUBERNETES_VERSION)


def _containerd(name: str) -> Program:
    variables = (f"{_CONTAINERD}/version.Version={{version}}",)
    folder = _TOOLS / "containerd"
    return Program(name, f"{_CONTAINERD}/cmd/{name}", _CONTAINERD, variables, folder=folder)


# In the order in which they are needed: tests of the bare control plane start after three.
PROGRAMS = (
    Program("etcd", "go.etcd.io/etcd/server/v3"),
    _kubernetes("kube-apiserver"),
    _kubernetes("kubectl"),
    _kubernetes("kube-controller-manager"),
    _kubernetes("kube-scheduler"),
    _kubernetes("kubelet"),
    _kubernetes("kube-proxy"),
    _containerd("containerd"),
    _containerd("containerd-shim-runc-v2"),
    _containerd("ctr"),
    Program("runc", "github.com/opencontainers/runc", tags="seccomp"),
    Program("pause", "./pause"),
    Program("coredns", "./coredns"),
    Program("kwok", "sigs.k8s.io/kwok/cmd/kwok"),
    Program(
        "helm",
        "helm.sh/helm/v4/cmd/helm",
        "helm.sh/helm/v4",
        ("helm.sh/helm/v4/internal/version.version={version}",),
    ),
)
# No cluster needs it: it judges the chart. A go.mod of its own, as one of the others' would
# make all of them anew.
KUBE_SCORE = Program(
    "kube-score", "github.com/zegl/kube-score/cmd/kube-score", folder=_TOOLS / "checks"
)
_BY_NAME = {program.name: program for program in (*PROGRAMS, KUBE_SCORE)}
CONTROL_PLANE = ("etcd", "kube-apiserver", "kubectl")
NAMES = (*(program.name for program in PROGRAMS), "minio")


def cache_folder() -> Path:
    """Return where everything that outlives a cluster is kept."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "strandline"


def path(name: str) -> Path:
    """Return where a program is, or would be built to."""
    if name == "minio":
        return s3.binary()  # which the S3 tests build as well
    return cache_folder() / "programs" / _digest(_BY_NAME[name].folder) / name


def missing(names: Iterable[str] = NAMES) -> list[str]:
    """Return those that are not built yet; all when there is no Go to tell the folder by."""
    names = list(names)
    if shutil.which("go") is None:
        return names
    return [name for name in names if not path(name).exists()]


def build(names: Iterable[str] = NAMES, report: Report = print) -> None:
    """Build what is missing, one after the other.

    Raises:
        RuntimeError: Go is not installed.
        subprocess.CalledProcessError: a build failed; what it said is on stderr.
    """
    if shutil.which("go") is None:
        raise RuntimeError("Go builds the programs of the test cluster: install it first")
    for name in missing(names):
        if path(name).exists():
            continue  # somebody else was faster
        started = time.monotonic()
        if name == "minio":
            s3.build()
        else:
            _build(_BY_NAME[name])
        report(f"built {name} in {time.monotonic() - started:.0f} s")


def _build(program: Program) -> None:
    target = path(program.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        output = Path(scratch) / program.name
        command = ["nice", "-n", _NICENESS, "go", *program.arguments(output)]
        # GOFLAGS of the user's could change what is built under the same key.
        env = {**os.environ, "CGO_ENABLED": "1" if program.tags else "0", "GOFLAGS": ""}
        subprocess.run(command, check=True, cwd=program.folder, env=env)
        output.replace(target)


@functools.cache
def _pinned(module: str, folder: Path) -> str:
    """Return the version of a module, such as `v1.37.2`."""
    text = (folder / "go.mod").read_text("utf-8")
    found = re.search(rf"^\s*(?:require )?{re.escape(module)} (v\S+)", text, re.MULTILINE)
    assert found, f"{module} is not in go.mod"
    return found[1]


@functools.cache
def _digest(folder: Path) -> str:
    go = subprocess.run(["go", "version"], check=True, capture_output=True, cwd=folder).stdout
    digest = hashlib.sha256(go)
    for file in (folder / "go.mod", folder / "go.sum", *sorted(folder.glob("*/*.go"))):
        digest.update(file.read_bytes())
    for program in _BY_NAME.values():
        if program.folder == folder:
            digest.update(repr([*program.arguments(Path(program.name)), program.tags]).encode())
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    build(sys.argv[1:] or NAMES)
