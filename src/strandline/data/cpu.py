"""How many CPUs this process may really use.

`os.cpu_count()` tells what the machine has. In a container with a quota of two CPUs on a
64-core node, 64 threads would take turns on two and be throttled most of the time. What
counts is the smallest of three limits: the affinity mask, the cgroup's CPU quota (v2
`cpu.max`, v1 `cpu.cfs_quota_us`), and that of every cgroup above it.

Sources: kernel documentation `admin-guide/cgroup-v2.rst` (cpu.max) and
`scheduler/sched-bwc.rst` (cfs_quota_us, cfs_period_us); `proc(5)`, `cgroups(7)`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

_CGROUP_ROOT = Path("/sys/fs/cgroup")
_CGROUP_OF_SELF = Path("/proc/self/cgroup")


def usable_cpus(
    cgroup_root: Path = _CGROUP_ROOT,
    cgroup_of_self: Path = _CGROUP_OF_SELF,
    affinity: int | None = None,
) -> int:
    """Return the number of CPUs to start threads for: at least 1.

    A quota of 1.5 CPUs counts as 2: one thread would leave half a CPU unused, while two
    are throttled for a quarter of the time only.

    Args:
        cgroup_root: where the cgroup file systems are mounted.
        cgroup_of_self: the file that names this process' cgroups.
        affinity: number of CPUs of the affinity mask; None asks the system.
    """
    available = affinity if affinity is not None else _affinity()
    quota = _smallest_quota(cgroup_root, _read(cgroup_of_self))
    return max(1, available if quota is None else min(available, math.ceil(quota)))


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS and Windows have neither affinity masks nor cgroups


def _smallest_quota(root: Path, membership: str) -> float | None:
    """Return the tightest quota in CPUs among this process' cgroups and their parents."""
    quotas: list[float] = []
    for line in membership.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            for mount in (root, root / "unified"):
                quotas += _quotas_up(mount, path, _quota_v2)
        elif "cpu" in controllers.split(","):
            for mount in (root / "cpu", root / "cpu,cpuacct"):
                quotas += _quotas_up(mount, path, _quota_v1)
    return min(quotas, default=None)


def _quotas_up(mount: Path, path: str, read_quota: Callable[[Path], float | None]) -> list[float]:
    """Return the quotas of the cgroup at `path` and of all above it, up to the mount.

    Inside a container the path is often that on the host while the mount shows the
    container's own cgroup as root: what is not there is passed over, and the root is
    looked at in any case.
    """
    parts = [part for part in path.split("/") if part not in ("", ".", "..")]
    folders = [mount.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1)]
    found = [read_quota(folder) for folder in folders]
    return [quota for quota in found if quota is not None]


def _quota_v2(folder: Path) -> float | None:
    fields = _read(folder / "cpu.max").split()
    if len(fields) != 2:
        return None
    return _ratio(fields[0], fields[1])


def _quota_v1(folder: Path) -> float | None:
    return _ratio(_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us"))


def _ratio(quota: str, period: str) -> float | None:
    """Return quota / period in CPUs; None for `max`, -1 and anything unreadable."""
    try:
        value = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return None
    return value if value > 0 else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
