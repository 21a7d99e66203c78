"""Processes that serve on loopback for the time of a test session."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_START_SECONDS = 60.0
_STOP_SECONDS = 15.0


def free_port() -> int:
    """Return a TCP port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(
    command: list[str], answers: Callable[[], bool], log: Path, **options: Any
) -> Iterator[None]:
    """Run a server until the block ends; enter when it answers.

    Raises:
        RuntimeError: it ended, or did not answer in time; with the end of its log.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*_killed_with_parent(), *command], stdout=output, stderr=output, **options
        )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not answers():
            if process.poll() is not None or time.monotonic() > deadline:
                tail = log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{command[0]} does not answer:\n{tail}")
            time.sleep(0.05)
        yield
    finally:
        # PostgreSQL takes SIGTERM for "when the last client has left".
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _killed_with_parent() -> list[str]:
    """Return what makes Linux kill a server whose tests were killed and cannot stop it.

    A prefix instead of a `preexec_fn`, which is not safe beside threads.
    """
    setpriv = shutil.which("setpriv")  # of util-linux
    return [setpriv, "--pdeathsig", "KILL"] if setpriv else []
