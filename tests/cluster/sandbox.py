"""The namespaces that a whole cluster lives in, so that nothing of it can be left behind.

Processes, mounts, links, routes and packet filters are the kernel's to clear away when
the first process in there ends. Outside there are one link with one route, one cgroup per
hierarchy and the cluster's folder; `Sandbox.remove` takes those.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.site import Site

_WAIT_SECONDS = 30.0
_POLL_SECONDS = 0.02
_CGROUPS = Path("/sys/fs/cgroup")
# The `unshare` above the first process, when it is this process's child: to be waited for.
_PARENTS: dict[Path, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True, slots=True)
class Sandbox:
    """The namespaces of a site."""

    site: Site

    @property
    def init(self) -> int | None:
        """Return the first process's id, None when it does not run."""
        try:
            pid, started = self._file("init").read_text("utf-8").split()
        except (FileNotFoundError, ValueError):
            return None
        return int(pid) if _started(int(pid)) == started else None

    def make(self, dies_with_parent: bool) -> None:
        """Make the namespaces and the link to them.

        Args:
            dies_with_parent: and everything in there with it, also on SIGKILL.
        """
        folder = self.site.of()
        self._file("isolated").unlink(missing_ok=True)
        script = Path(__file__).with_name("init.py")
        command = ["setpriv", "--pdeathsig", "KILL"] if dies_with_parent else []
        command += ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child"]
        command += [sys.executable, "-I", str(script), str(folder)]
        with self._log("init").open("ab") as log:
            outer = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
            )
        _PARENTS[folder] = outer
        pid = self._wait_for_init(outer)
        self._file("init").write_text(f"{pid} {_started(pid)}", "utf-8")
        self._make_link(pid)
        for hierarchy in _hierarchies():
            (hierarchy / self.site.identity).mkdir(exist_ok=True)

    def run(self, *command: str, env: Mapping[str, str] | None = None, timeout: float = 300) -> str:
        """Run a program inside, and return what it prints.

        Raises:
            RuntimeError: it failed; with what it said.
        """
        done = subprocess.run(
            [*self._entering(), *command],
            capture_output=True,
            text=True,
            env=dict(env) if env is not None else None,
            timeout=timeout,
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")
        return done.stdout

    def spawn(self, name: str, command: list[str], env: Mapping[str, str]) -> None:
        """Start a server inside that this process need not outlive; its log grows."""
        script = 'setsid "$@" </dev/null >>"$LOG" 2>&1 & echo $! >"$PID_FILE"'
        files = {"LOG": str(self._log(name)), "PID_FILE": str(self._file(f"{name}.pid"))}
        subprocess.run(
            [*self._entering(), "sh", "-c", script, "sh", *command],
            check=True,
            env={**env, **files},
            cwd="/",
        )

    def pid(self, name: str) -> int | None:
        """Return a server's process id inside, None while it does not run.

        It runs until the kernel has buried it: a killed process is a zombie as soon as its
        first thread has ended, while others may still hold its ports.
        """
        try:
            pid = int(self._file(f"{name}.pid").read_text("utf-8"))
            Path("/proc", str(self.init), "root", "proc", str(pid)).stat()
        except (OSError, ValueError):
            return None
        return pid

    def was_spawned(self, name: str) -> bool:
        """Return whether a server was started and not stopped since."""
        return self._file(f"{name}.pid").exists()

    def forget(self, name: str) -> None:
        """Note that a server ended as it was told to."""
        self._file(f"{name}.pid").unlink(missing_ok=True)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a server, if it runs."""
        pid = self.pid(name)
        if pid is not None:
            self.run("kill", f"-{number.value}", str(pid))

    def log_tail(self, name: str) -> str:
        """Return the end of a server's log."""
        log = self._log(name)
        return log.read_text("utf-8", errors="replace")[-3000:] if log.exists() else ""

    def remove(self) -> None:
        """End everything inside and remove the rest, also of a half-made one."""
        init = self.init
        if init is not None:
            os.kill(init, signal.SIGKILL)
            _wait(lambda: _started(init) is None, "the cluster's processes do not end")
        parent = _PARENTS.pop(self.site.folder, None)
        if parent is not None:
            parent.wait(_WAIT_SECONDS)
        if Path(f"/sys/class/net/{self.site.identity}").exists():
            # May be on its way already, with the namespace that its other end was in.
            subprocess.run(["ip", "link", "delete", self.site.identity], capture_output=True)
        for hierarchy in _hierarchies():
            _remove_group(hierarchy / self.site.identity)
        shutil.rmtree(self.site.folder, ignore_errors=False)

    def _entering(self) -> list[str]:
        init = self.init
        if init is None:
            raise RuntimeError("the cluster is not up")
        return ["nsenter", f"--target={init}", "--net", "--mount", "--pid", "--"]

    def _wait_for_init(self, outer: subprocess.Popen[bytes]) -> int:
        children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")

        def isolated() -> bool:
            if outer.poll() is not None:
                raise RuntimeError(f"no namespaces:\n{self.log_tail('init')}")
            return self._file("isolated").exists()

        _wait(isolated, "the namespaces are not made in time")
        return int(children.read_text().split()[0])

    def _make_link(self, pid: int) -> None:
        name, site = self.site.identity, self.site
        _ip("link", "add", name, "type", "veth", "peer", "name", "uplink", "netns", str(pid))
        _ip("address", "add", f"{site.host}/30", "dev", name)
        _ip("link", "set", name, "up")
        self.run("ip", "address", "add", f"{site.node}/30", "dev", "uplink")
        self.run("ip", "link", "set", "uplink", "up")
        self.run("ip", "route", "add", "default", "via", site.host)
        self.run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
        # Tests reach pods and Services by their own addresses.
        _ip("route", "add", site.network, "via", site.node)

    def _file(self, name: str) -> Path:
        return self.site.folder / name

    def _log(self, name: str) -> Path:
        return self.site.of("logs") / f"{name}.log"


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def _started(pid: int) -> str | None:
    """Return when a process started, as /proc has it: ids come again, this does not."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else fields[19]


def _hierarchies() -> list[Path]:
    """Return the roots of all cgroup hierarchies: one with version 2, many with version 1."""
    if (_CGROUPS / "cgroup.controllers").exists():
        return [_CGROUPS]
    return [each for each in _CGROUPS.iterdir() if each.is_dir() and not each.is_symlink()]


def _remove_group(group: Path) -> None:
    if not group.exists():
        return
    for parent, _, _ in os.walk(group, topdown=False):

        def gone(folder: Path = Path(parent)) -> bool:
            with contextlib.suppress(FileNotFoundError, OSError):
                folder.rmdir()
            return not folder.exists()

        _wait(gone, f"{parent} has processes still")


def _wait(done: Callable[[], bool], complaint: str) -> None:
    deadline = time.monotonic() + _WAIT_SECONDS
    while not done():
        if time.monotonic() > deadline:
            raise RuntimeError(complaint)
        time.sleep(_POLL_SECONDS)
