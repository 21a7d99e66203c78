"""A node without devices in somebody else's Ray: the place of a driver that has no part in it.

A driver talks to Ray through a raylet on its own host. In a pod of its own there is none,
so one is started that takes no work, and that ends with the driver.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from strandline.spec.errors import UnavailableError

_PATIENCE_SECONDS = 120.0
_POLL_SECONDS = 0.05
_GRACE_SECONDS = 10.0
_LOG_NAME = "node.log"
_TELLING = re.compile("error|fail|authenticat|unable|refused", re.IGNORECASE)
# Asks the kernel for SIGTERM when the driver dies, then becomes `ray start`. A driver that
# died before it asked is noticed by its child having another parent.
_LAUNCH = """
import ctypes, os, runpy, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() != int(sys.argv.pop(1)):
    sys.exit("the driver is gone")
sys.argv[0] = "ray"
runpy.run_module("ray.scripts.scripts", run_name="__main__")
"""


@contextmanager
def driver_node(address: str, folder: Path, object_store_bytes: int) -> Iterator[None]:
    """Make this host a node of the Ray at `address` while the body runs.

    The node is found again by `folder`, its temporary folder: other nodes may be on this host.

    Raises:
        UnavailableError: that Ray does not take it.
    """
    words = [
        *(sys.executable, "-c", _LAUNCH, str(os.getpid())),
        *("start", f"--address={address}", "--block"),
        *("--num-cpus=0", "--num-gpus=0", f"--object-store-memory={object_store_bytes}"),
        *(f"--temp-dir={folder}", "--include-log-monitor=false", "--disable-usage-stats"),
    ]
    log = folder / _LOG_NAME
    with log.open("wb") as out:
        node = subprocess.Popen(  # noqa: S603 – our own interpreter; an address from the settings
            words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    try:
        _wait_until_up(node, address, folder, log)
        yield
    finally:
        _end(node)


def _wait_until_up(node: subprocess.Popen[bytes], address: str, folder: Path, log: Path) -> None:
    give_up = time.monotonic() + _PATIENCE_SECONDS
    while not any(folder.glob("session_*/sockets/raylet*")):
        if node.poll() is not None:
            raise UnavailableError(f"no Ray takes a driver at {address}: {_reason(log)}")
        if time.monotonic() > give_up:
            raise UnavailableError(
                f"Ray at {address} did not take a driver within {_PATIENCE_SECONDS:.0f} s"
            )
        time.sleep(_POLL_SECONDS)


def _end(node: subprocess.Popen[bytes]) -> None:
    """End the node's processes: `ray start` ends its own when it is asked to."""
    node.terminate()
    try:
        node.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(node.pid, signal.SIGKILL)
        node.wait()


def _reason(log: Path) -> str:
    """Return the last line that tells of an error, for others may be printed after it."""
    lines = [line.strip() for line in log.read_text(errors="replace").split("\n")]
    told = [line for line in lines if line]
    errors = [line for line in told if _TELLING.search(line)]
    return (errors or told or ["no message"])[-1]
