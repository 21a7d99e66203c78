"""A server that lives and dies with the tests, and may be stopped and started in between."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

_START_SECONDS = 90.0
_STOP_SECONDS = 10.0  # an apiserver would wait a minute for its watchers to go
_POLL_SECONDS = 0.05


class Child:
    """A child process that Linux kills when the tests are killed.

    Args:
        answers: whether it serves by now.
        log: what it writes, over all its lives.
    """

    def __init__(self, command: list[str], answers: Callable[[], bool], log: Path) -> None:
        self._command = command
        self._answers = answers
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Return its process id; None while it is down."""
        if self._process is None or self._process.poll() is not None:
            return None
        return self._process.pid

    def start(self) -> None:
        """Start it, and return when it answers.

        Raises:
            RuntimeError: it ended, or did not answer in time; with the end of its log.
        """
        # As a prefix instead of a `preexec_fn`, which is not safe beside threads. The
        # signal comes when the *thread* that starts it ends: start from one that stays.
        setpriv = shutil.which("setpriv")  # of util-linux
        prefix = [setpriv, "--pdeathsig", "KILL"] if setpriv else []
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [*prefix, *self._command], stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self.pid is None or time.monotonic() > deadline:
                tail = self._log.read_text(errors="replace")[-3000:]
                self.kill()
                raise RuntimeError(f"{self._command[0]} does not answer:\n{tail}")
            time.sleep(_POLL_SECONDS)

    def stop(self) -> None:
        """Ask it to end, and kill it when it takes too long."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
