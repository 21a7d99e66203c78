"""A Ray of several nodes on this machine, each with a home and folders of its own.

As on a cluster: the head has no CPUs and runs no trial, workers come and go, and nothing but
the network connects them. Nodes are ended as kernels end them.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.servers.loopback import free_port
from tests.servers.processes import descendants, processes_with

PATIENCE_SECONDS = 120.0
SOON_GONE = {"RAY_gcs_server_request_timeout_seconds": "5"}
"""For drivers that are killed: a Ray's agents tell its head, dead like the rest, for a minute."""
_OBJECT_STORE_BYTES = 100_000_000


@dataclass
class Node:
    """Processes of one node.

    Attributes:
        home: what `HOME` and `STRANDLINE_HOME` are below.
    """

    process: subprocess.Popen[bytes]
    home: Path
    temporary: Path

    def kill(self) -> None:
        """End all its processes at once, as when a machine loses its power."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for pid in processes_with(f"{self.temporary}/"):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def freeze(self) -> None:
        """Stop all its processes where they are; workers too, which hide what they were given."""
        for pid in descendants(self.process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)


@dataclass
class RayCluster:
    """Head and workers; the driver's node is made by whom is tested."""

    folder: Path
    port: int
    token: str
    nodes: list[Node] = field(default_factory=list)

    @property
    def address(self) -> str:
        """HOST:PORT of the head."""
        return f"{_own_address()}:{self.port}"

    @property
    def environ(self) -> Mapping[str, str]:
        """What a process needs besides to be a part of it."""
        return {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_OBJECT_STORE_ALLOW_SLOW_STORAGE": "1",
        }

    def start_head(self) -> Node:
        """Start the node that all others ask."""
        words = ["--head", f"--port={self.port}", f"--node-ip-address={_own_address()}"]
        return self._start(words, 0, {}, _own_address())

    def start_worker(self, cpus: int = 2, pool: str = "cpu") -> Node:
        """Start a node for trials, of a ComputePool."""
        host = f"127.0.0.{len(self.nodes) + 2}"
        words = [f"--address={self.address}", f"--node-ip-address={host}"]
        return self._start(words, cpus, {f"pool-{pool}": 1_000_000}, host)

    def close(self) -> None:
        """End everything and remove it."""
        for node in self.nodes:
            node.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self, words: list[str], cpus: int, resources: Mapping[str, int], host: str) -> Node:
        place = Path(tempfile.mkdtemp(prefix="n", dir=self.folder))
        home, temporary = place / "home", place / "t"
        home.mkdir()
        temporary.mkdir()
        environ = {
            **{name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"},
            **self.environ,
            "HOME": str(home),
            "STRANDLINE_HOME": str(home / "strandline"),
        }
        log = place / "log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "ray.scripts.scripts", "start", *words, "--block"),
                    *(f"--num-cpus={cpus}", "--num-gpus=0", f"--temp-dir={temporary}"),
                    *("--include-log-monitor=false", "--disable-usage-stats"),
                    *(f"--resources={json.dumps(resources)}",),
                    f"--object-store-memory={_OBJECT_STORE_BYTES}",
                    *(("--include-dashboard=false",) if "--head" in words else ()),
                ],
                env=environ,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        node = Node(process, home, temporary)
        self.nodes.append(node)
        give_up = time.monotonic() + PATIENCE_SECONDS
        while "Ray runtime started" not in log.read_text(errors="replace"):
            assert process.poll() is None, log.read_text(errors="replace")
            assert time.monotonic() < give_up, "a node of Ray does not start"
            time.sleep(0.1)
        return node


@contextmanager
def ray_cluster() -> Iterator[RayCluster]:
    """Run a head, and whatever workers are started, while the body runs."""
    # Not below pytest's folder: the paths of Ray's sockets must stay under 107 bytes.
    # Ray keeps the first token that a process read: one for all that it ever talks to.
    token = os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    cluster = RayCluster(Path(tempfile.mkdtemp(prefix="r-")), free_port(), token)
    try:
        cluster.start_head()
        yield cluster
    finally:
        cluster.close()


def _own_address() -> str:
    """Return the address of this machine by which Ray knows it: never loopback."""
    from ray.util import get_node_ip_address

    address: str = get_node_ip_address()  # type: ignore[no-untyped-call]
    return address
