"""The first process of a cluster's namespaces: everything in them ends with it.

Run as a script, by `unshare` with new network, mount and process namespaces. It sees to
it that what the cluster mounts and writes stays inside, then buries orphans.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

# Programs that take no other folder write there; the writes land in the cluster's.
_COVERED = ("/var", "/etc")


def isolate(folder: Path) -> None:
    """Give this mount namespace its own /proc, /sys, /run, and layers over /var and /etc."""
    _run("mount", "-t", "proc", "proc", "/proc")
    groups = folder / "cgroup"
    groups.mkdir(exist_ok=True)
    _run("mount", "--rbind", "/sys/fs/cgroup", str(groups))
    _run("mount", "-t", "sysfs", "sysfs", "/sys")
    _run("mount", "--rbind", str(groups), "/sys/fs/cgroup")
    _run("umount", "--recursive", str(groups))  # or the kubelet would take it for the real one
    for covered in _COVERED:
        layer = folder / "layers" / covered.strip("/")
        for each in ("upper", "work"):
            (layer / each).mkdir(parents=True, exist_ok=True)
        options = f"lowerdir={covered},upperdir={layer}/upper,workdir={layer}/work"
        _run("mount", "-t", "overlay", "overlay", "-o", options, covered)
    _run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    # Volumes have to appear in pods that run already, though never outside. Not before: the
    # unmounting above would take the real one along.
    _run("mount", "--make-rshared", "/")
    _run("ip", "link", "set", "lo", "up")


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    isolate(Path(sys.argv[1]))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries them then
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    (Path(sys.argv[1]) / "isolated").touch()
    while True:
        signal.pause()
