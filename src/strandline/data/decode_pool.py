"""Decode images of strangers in processes that may die.

A decoder bug or a hostile file can crash, hang or eat memory. Here that costs one worker
and one image: the image is refused with the reason, the worker is replaced, and the
import goes on. Results come in the order of the images, whoever finishes first.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Generic, TypeVar

from strandline.data.decode import DecodeLimits
from strandline.data.decode_worker import Decoded, Outcome, Undecodable, read_outcome

Key = TypeVar("Key")

_AHEAD_PER_WORKER = 3
_ATTEMPTS = 2
_START_SECONDS = 60.0


@dataclass(slots=True)
class _Job(Generic[Key]):
    key: Key
    data: bytes
    attempts: int = 0
    outcome: Outcome | None = None


class DecodePool(Generic[Key]):
    """A pool of decoding processes; use as a context manager.

    Args:
        workers: number of processes.
        limits: what one image may cost.
        timeout_seconds: longest time for one image.
    """

    def __init__(self, workers: int, limits: DecodeLimits, timeout_seconds: float) -> None:
        self._limits = limits
        self._timeout = timeout_seconds
        self._workers: list[_Worker[Key]] = []
        self._count = workers

    def __enter__(self) -> DecodePool[Key]:
        return self

    def __exit__(self, *exception: object) -> None:
        for worker in self._workers:
            worker.stop()

    def decode_all(self, images: Iterable[tuple[Key, bytes]]) -> Iterator[tuple[Key, Outcome]]:
        """Yield (key, outcome) for each image, in order, reading only a few ahead."""
        source = iter(images)
        queue: deque[_Job[Key]] = deque()
        waiting: deque[_Job[Key]] = deque()
        exhausted = False
        while True:
            while not exhausted and len(queue) < self._count * _AHEAD_PER_WORKER:
                following = next(source, None)
                if following is None:
                    exhausted = True
                    break
                job = _Job(*following)
                queue.append(job)
                waiting.append(job)
            self._hand_out(waiting)
            while queue and queue[0].outcome is not None:
                done = queue.popleft()
                assert done.outcome is not None
                yield done.key, done.outcome
            if exhausted and not queue:
                return
            if queue and (exhausted or len(queue) >= self._count * _AHEAD_PER_WORKER):
                self._collect(waiting)

    def _hand_out(self, waiting: deque[_Job[Key]]) -> None:
        while waiting:
            idle = next((worker for worker in self._workers if worker.job is None), None)
            if idle is None:
                if len(self._workers) >= self._count:
                    return
                idle = _Worker(self._limits)
                self._workers.append(idle)
            idle.give(waiting.popleft())

    def _collect(self, waiting: deque[_Job[Key]]) -> None:
        """Wait until a worker answers, dies or is too late, and take note."""
        busy = {worker.connection: worker for worker in self._workers if worker.job is not None}
        if not busy:
            return
        deadlines = [worker.deadline(self._timeout) for worker in busy.values()]
        patience = max(0.0, min(deadlines) - time.monotonic())
        ready = wait(list(busy), timeout=patience)
        for connection in ready:
            assert isinstance(connection, Connection)
            self._take(busy[connection], waiting)
        now = time.monotonic()
        for worker in list(self._workers):
            if worker.job is not None and now >= worker.deadline(self._timeout):
                reason = f"decoding took longer than {self._timeout:g} s"
                worker.job.outcome = Undecodable(reason, "Timeout")
                self._replace(worker)

    def _take(self, worker: _Worker[Key], waiting: deque[_Job[Key]]) -> None:
        job = worker.job
        assert job is not None
        try:
            job.outcome = worker.take()
        except (EOFError, OSError):
            # The worker is gone. Perhaps the image killed it, perhaps somebody else did:
            # only a second death in a row speaks against the image.
            self._replace(worker)
            job.attempts += 1
            if job.attempts < _ATTEMPTS:
                waiting.appendleft(job)
            else:
                job.outcome = Undecodable("the decoder crashed on it", "DecoderCrash")

    def _replace(self, worker: _Worker[Key]) -> None:
        worker.stop()
        self._workers.remove(worker)


class _Worker(Generic[Key]):
    """One process, and the socket to it."""

    def __init__(self, limits: DecodeLimits) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            arguments = [str(theirs.fileno()), str(limits.max_bytes), str(limits.max_pixels)]
            self._process = subprocess.Popen(  # noqa: S603 – our own interpreter and module
                [sys.executable, "-m", "strandline.data.decode_worker", *arguments],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            )
        self.connection = Connection(ours.detach())
        self.job: _Job[Key] | None = None
        self._since = 0.0
        self._grace = _START_SECONDS

    def give(self, job: _Job[Key]) -> None:
        """Send the worker an image."""
        self.job = job
        self._since = time.monotonic()
        try:
            self.connection.send_bytes(job.data)
        except OSError:
            return  # it died; reading its answer will tell

    def take(self) -> Outcome:
        """Return the answer.

        Raises:
            EOFError, OSError: the worker is gone.
        """
        outcome = read_outcome(self.connection)
        self.job = None
        self._grace = 0.0
        return outcome

    def deadline(self, timeout: float) -> float:
        """Return when the worker is too late; its start is not the image's fault."""
        return self._since + timeout + self._grace

    def stop(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.wait()
        self.connection.close()


__all__ = ["DecodePool", "Decoded", "Outcome", "Undecodable"]
