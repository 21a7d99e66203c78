"""Decode images of strangers in processes that may die.

A decoder bug or a hostile file can crash, hang or eat memory. Here that costs one worker
and one image: the image is refused with the reason, the worker is replaced, and the
import goes on. Results come in the order of the images, whoever finishes first.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Generic, TypeVar

from strandline.data.decode import DecodeLimits
from strandline.data.decode_process import DecodeProcess
from strandline.data.decode_worker import Decoded, Outcome, Undecodable
from strandline.spec.errors import FailedRunError

Key = TypeVar("Key")

_AHEAD_PER_WORKER = 4
# A process gets its next image while it decodes, so that it never waits for us; but only
# one that fits into the socket: else both ends could wait for each other.
_IN_FLIGHT = 2
_PREFETCHED_BYTES = 64 * 1024
_AHEAD_BYTES = 64_000_000
_ATTEMPTS = 4
_FAILED_STARTS = 3
_START_SECONDS = 60.0


@dataclass(slots=True, eq=False)
class _Job(Generic[Key]):
    key: Key
    data: bytes
    attempts: int = 0
    outcome: Outcome | None = None


@dataclass(slots=True, eq=False)
class _Worker(Generic[Key]):
    """A process and what it is doing: starting, or decoding the first of `jobs`, if any."""

    process: DecodeProcess
    since: float
    ready: bool = False
    jobs: deque[_Job[Key]] = field(default_factory=deque)

    def may_take(self, job: _Job[Key]) -> bool:
        """Return whether it can be given `job` now."""
        if not self.ready or len(self.jobs) >= _IN_FLIGHT:
            return False
        return not self.jobs or len(job.data) <= _PREFETCHED_BYTES


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
        self._failed_starts = 0
        self._queue: deque[_Job[Key]] = deque()
        self._waiting: deque[_Job[Key]] = deque()

    def __enter__(self) -> DecodePool[Key]:
        return self

    def __exit__(self, *exception: object) -> None:
        for worker in self._workers:
            worker.process.stop()
        self._workers.clear()

    def decode_all(self, images: Iterable[tuple[Key, bytes]]) -> Iterator[tuple[Key, Outcome]]:
        """Yield (key, outcome) for each image, in order, reading only a little ahead.

        Raises:
            FailedRunError: decoding processes cannot be started at all.
        """
        source = iter(images)
        more = True
        while more or self._queue:
            while more and self._has_room():
                following = next(source, None)
                if following is None:
                    more = False
                else:
                    job = _Job(*following)
                    self._queue.append(job)
                    self._waiting.append(job)
                    self._hand_out()
            while self._queue and self._queue[0].outcome is not None:
                done = self._queue.popleft()
                assert done.outcome is not None
                yield done.key, done.outcome
            if self._queue and not (more and self._has_room()):
                self._collect()

    def _has_room(self) -> bool:
        if len(self._queue) >= self._count * _AHEAD_PER_WORKER:
            return False
        return sum(len(job.data) for job in self._queue) < _AHEAD_BYTES

    def _hand_out(self) -> None:
        """Give waiting images to idle processes; start one when there are too few."""
        for worker in sorted(self._workers, key=lambda each: len(each.jobs)):
            if self._waiting and worker.may_take(self._waiting[0]):
                job = self._waiting.popleft()
                if not worker.jobs:
                    worker.since = time.monotonic()
                worker.jobs.append(job)
                worker.process.give(job.data)
        starting = sum(not worker.ready for worker in self._workers)
        if len(self._workers) < self._count and len(self._waiting) > starting:
            process = DecodeProcess(self._limits, self._timeout)
            self._workers.append(_Worker(process, time.monotonic()))

    def _collect(self) -> None:
        """Wait until a process is ready, answers, dies or is too late, and take note."""
        self._hand_out()
        active = {w.process.connection: w for w in self._workers if w.jobs or not w.ready}
        deadlines = [self._deadline(worker) for worker in active.values()]
        patience = max(0.0, min(deadlines) - time.monotonic())
        for connection in wait(list(active), timeout=patience):
            assert isinstance(connection, Connection)
            self._take(active[connection])
        now = time.monotonic()
        for worker in list(self._workers):
            if (worker.jobs or not worker.ready) and now >= self._deadline(worker):
                self._give_up(worker)
        self._hand_out()

    def _deadline(self, worker: _Worker[Key]) -> float:
        return worker.since + (self._timeout if worker.ready else _START_SECONDS)

    def _take(self, worker: _Worker[Key]) -> None:
        try:
            if worker.ready:
                worker.jobs[0].outcome = worker.process.take()
                worker.jobs.popleft().data = b""
                worker.since = time.monotonic()
            else:
                worker.process.take_ready()
                worker.ready = True
            self._failed_starts = 0  # counted in a row, while nothing else goes on either
        except (EOFError, OSError):
            self._bury(worker)

    def _bury(self, worker: _Worker[Key]) -> None:
        """Replace a process that is gone.

        Perhaps the image killed it, perhaps somebody else did, such as the system when
        memory ran short: only deaths on every attempt speak against the image.
        """
        job = worker.jobs.popleft() if worker.jobs else None
        self._replace(worker)
        if job is None:
            self._count_failed_start()
            return
        job.attempts += 1
        if job.attempts < _ATTEMPTS:
            self._waiting.appendleft(job)
        else:
            job.outcome = Undecodable("the decoder crashed on it", "DecoderCrash")

    def _give_up(self, worker: _Worker[Key]) -> None:
        if worker.jobs:
            reason = f"decoding took longer than {self._timeout:g} s"
            worker.jobs.popleft().outcome = Undecodable(reason, "Timeout")
            self._replace(worker)
        else:
            self._replace(worker)
            self._count_failed_start()

    def _count_failed_start(self) -> None:
        self._failed_starts += 1
        if self._failed_starts >= _FAILED_STARTS:
            raise FailedRunError(
                "the processes that decode images die or hang before they begin: "
                "run `python -m strandline.data.decode_worker --check` to see why"
            )

    def _replace(self, worker: _Worker[Key]) -> None:
        """End a process; what it was to decode next waits for another one."""
        worker.process.stop()
        self._workers.remove(worker)
        self._waiting.extendleft(reversed(worker.jobs))


__all__ = ["DecodePool", "Decoded", "Outcome", "Undecodable"]
