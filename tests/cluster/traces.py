"""What a machine has, as far as a cluster could leave something behind in it."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

_IDENTITY = re.compile(r"\bsl[0-9a-f]{8}\b")
_CGROUPS = Path("/sys/fs/cgroup")


def traces(identity: str, folder: Path) -> dict[str, frozenset[str]]:
    """Return mounts, links, routes, namespaces, rules, cgroups, processes and files.

    Other programs of the machine start and end meanwhile: of processes and files only
    those of this cluster count, by its identity or by its folder.
    """
    return {
        "mounts": _lines(Path("/proc/self/mountinfo"), column=4),
        "links": _but_others(identity, (each.name for each in Path("/sys/class/net").iterdir())),
        "routes": _but_others(identity, _said("ip", "route", "show", "table", "all")),
        "network namespaces": _said("ip", "netns", "list"),
        "packet filters": _said("nft", "list", "tables"),
        "cgroups": frozenset(
            str(each) for each in _CGROUPS.glob(f"**/{identity}") if each.is_dir()
        ),
        "processes": frozenset(_processes(str(folder))),
        "files": frozenset([str(folder)] if folder.exists() else []),
    }


def _but_others(identity: str, found: Iterable[str]) -> frozenset[str]:
    """Return what names no other cluster, which may come and go meanwhile."""
    return frozenset(each for each in found if not set(_IDENTITY.findall(each)) - {identity})


def _processes(mark: str) -> list[str]:
    own = os.getpid()
    found = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = command.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if mark in text and int(command.parent.name) != own:
            found.append(text)
    return found


def _lines(path: Path, column: int) -> frozenset[str]:
    return frozenset(line.split()[column] for line in path.read_text("utf-8").splitlines())


def _said(*command: str) -> frozenset[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return frozenset(done.stdout.splitlines())
