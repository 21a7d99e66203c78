"""A server of the whole cluster, started in its namespaces by whoever asks."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.cluster.sandbox import Sandbox

_START_SECONDS = 120.0
_STOP_SECONDS = 10.0  # an apiserver would wait a minute for its watchers to go
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Component:
    """A server: `kill` and `stop` are faults, `start` heals them.

    Attributes:
        answers: whether it serves by now.
    """

    name: str
    sandbox: Sandbox
    command: list[str]
    answers: Callable[[], bool]
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def runs(self) -> bool:
        """Return whether its process is there."""
        return self.sandbox.pid(self.name) is not None

    @property
    def died(self) -> bool:
        """Return whether it ended by itself, with nobody having stopped it."""
        return not self.runs and self.sandbox.was_spawned(self.name)

    def start(self) -> None:
        """Start it unless it runs, and return when it answers."""
        self.launch()
        self.wait()

    def launch(self) -> None:
        """Start it unless it runs."""
        if not self.runs:
            env = {"PATH": os.environ["PATH"], "HOME": str(self.sandbox.site.folder)}
            self.sandbox.spawn(self.name, self.command, {**env, **self.env})

    def wait(self) -> None:
        """Return when it answers.

        Raises:
            RuntimeError: it ended, or did not answer in time; with the end of its log.
        """
        deadline = time.monotonic() + _START_SECONDS
        while not self.answers():
            if not self.runs or time.monotonic() > deadline:
                tail = self.sandbox.log_tail(self.name)
                raise RuntimeError(f"{self.name} does not answer:\n{tail}")
            time.sleep(_POLL_SECONDS)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ask it to end, and kill it when it takes too long."""
        self.sandbox.signal(self.name, number)
        deadline = time.monotonic() + _STOP_SECONDS
        while self.runs:
            if time.monotonic() > deadline:
                self.kill()
            time.sleep(_POLL_SECONDS)
        self.sandbox.forget(self.name)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self.sandbox.signal(self.name, signal.SIGKILL)
        while self.runs:
            time.sleep(_POLL_SECONDS)
        self.sandbox.forget(self.name)
