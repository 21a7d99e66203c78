"""A queue of keys for several workers: each key once, never at two workers, later on demand.

The rules are those of client-go's work queue. A key that is added while a worker has it is
handed out again after `done`, so a change during a reconcile is never lost. A key that failed
waits longer each time, with full jitter (Brooker, "Exponential Backoff And Jitter", 2015);
all failures together are bounded by one token bucket, so an outage does not turn into a
storm when it ends.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from threading import Condition
from typing import Generic, TypeVar

from strandline.adapters.kube.metrics import OperatorMetrics, QueueMetrics
from strandline.ports import Clock

Key = TypeVar("Key", bound=Hashable)
_MOST_DOUBLINGS = 32
_MOST_OVERTAKEN = 100


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long failures wait.

    Attributes:
        first_seconds: longest wait after the first failure of a key; doubles with each.
        longest_seconds: longest wait of all.
        rate: retries a second of all keys together, in the long run.
        burst: retries of all keys together that may come at once.
    """

    first_seconds: float = 0.5
    longest_seconds: float = 120.0
    rate: float = 20.0
    burst: int = 200

    def ceiling_seconds(self, failures: int) -> float:
        """Return the longest wait after the `failures`-th failure in a row (1, 2 …)."""
        doublings = min(max(failures, 1) - 1, _MOST_DOUBLINGS)
        return min(self.first_seconds * float(2**doublings), self.longest_seconds)


class TokenBucket:
    """Hands out turns at a bounded rate; who comes too early is told how long to wait."""

    def __init__(self, rate: float, burst: int, clock: Clock) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._clock = clock
        self._tokens = float(burst)
        self._at = clock.monotonic()

    def reserve_seconds(self) -> float:
        """Take the next turn; return how long until it comes."""
        self._refill()
        self._tokens -= 1.0
        return max(0.0, -self._tokens / self._rate)

    def try_take(self) -> bool:
        """Take a turn when one is free now; return whether one was."""
        self._refill()
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def wait_seconds(self) -> float:
        """Return how long until a turn is free, without taking it."""
        self._refill()
        return max(0.0, (1.0 - self._tokens) / self._rate)

    def _refill(self) -> None:
        now = self._clock.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now


class WorkQueue(Generic[Key]):
    """Keys to reconcile; all methods may be called from any thread."""

    def __init__(
        self,
        name: str,
        clock: Clock,
        *,
        retry: RetryPolicy | None = None,
        metrics: OperatorMetrics | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._clock = clock
        self._retry = retry or RetryPolicy()
        self._bucket = TokenBucket(self._retry.rate, self._retry.burst, clock)
        self._uniform = uniform
        self._changed = Condition()
        self._ready: deque[Key] = deque()
        self._dirty: dict[Key, float] = {}  # since when each wants a worker
        self._held: dict[Key, float] = {}  # since when each has one
        self._due: dict[Key, float] = {}
        self._later: list[tuple[float, int, Key]] = []
        self._turn = 0
        self._failures: dict[Key, int] = {}
        self._shut = False
        self._metrics = QueueMetrics(metrics or OperatorMetrics(), name)
        self._metrics.follow(self._depth, self._unfinished_seconds, self._longest_seconds)

    def add(self, key: Key) -> None:
        """Ask for a look at `key` now; many asks before the look are one."""
        with self._changed:
            self._add(key)

    def add_after(self, key: Key, seconds: float) -> None:
        """Ask for a look at `key` in `seconds`; of several such asks the earliest counts."""
        with self._changed:
            self._add_after(key, seconds)

    def add_failed(self, key: Key) -> float:
        """Ask for another look at `key` after a failure; return in how many seconds."""
        with self._changed:
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            wait = self._uniform(0.0, self._retry.ceiling_seconds(failures))
            wait = max(wait, self._bucket.reserve_seconds())
            self._metrics.retries.inc()
            self._add_after(key, wait)
            return wait

    def forget(self, key: Key) -> None:
        """Count the failures of `key` anew: it went well, or is gone."""
        with self._changed:
            self._failures.pop(key, None)

    def failures(self, key: Key) -> int:
        """Return how many times in a row `key` failed."""
        with self._changed:
            return self._failures.get(key, 0)

    def get(self, timeout_seconds: float | None = None) -> Key | None:
        """Wait for a key and take it; None when the queue is shut or the time is up.

        Whoever takes a key gives it back with `done`, whatever happened.
        """
        end = None if timeout_seconds is None else self._clock.monotonic() + timeout_seconds
        with self._changed:
            while True:
                self._promote()
                if self._shut:
                    return None
                if self._ready:
                    return self._take()
                if end is not None and end <= self._clock.monotonic():
                    return None
                self._changed.wait(self._wait_seconds(end))

    def done(self, key: Key) -> None:
        """Give `key` back; when it was added meanwhile, another worker may have it now."""
        with self._changed:
            since = self._held.pop(key)
            self._metrics.work_seconds.observe(self._clock.monotonic() - since)
            if key in self._dirty:
                self._ready.append(key)
            self._changed.notify_all()

    def shut(self) -> None:
        """Hand out nothing more and wake all who wait; keys at work stay with their workers."""
        with self._changed:
            self._shut = True
            self._changed.notify_all()

    def wait_idle(self, timeout_seconds: float) -> bool:
        """Wait until no worker has a key; return whether that came in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._held, timeout_seconds)

    def __len__(self) -> int:
        """Return how many keys wait for a worker, without those that wait for their time."""
        return int(self._depth())

    def _add(self, key: Key) -> None:
        if self._shut or key in self._dirty:
            return
        self._metrics.adds.inc()
        self._dirty[key] = self._clock.monotonic()
        if key not in self._held:
            self._ready.append(key)
            self._changed.notify_all()

    def _add_after(self, key: Key, seconds: float) -> None:
        if seconds <= 0.0:
            self._add(key)
            return
        due = self._clock.monotonic() + seconds
        if self._shut or self._due.get(key, due + 1.0) <= due:
            return
        self._due[key] = due
        self._turn += 1
        heapq.heappush(self._later, (due, self._turn, key))
        if len(self._later) > 2 * len(self._due) + _MOST_OVERTAKEN:
            self._later = [each for each in self._later if self._due.get(each[2]) == each[0]]
            heapq.heapify(self._later)
        self._changed.notify_all()

    def _promote(self) -> None:
        """Move the keys whose time has come; an entry whose ask was overtaken is dropped."""
        now = self._clock.monotonic()
        while self._later and self._later[0][0] <= now:
            due, _, key = heapq.heappop(self._later)
            if self._due.get(key) == due:
                del self._due[key]
                self._add(key)

    def _wait_seconds(self, end: float | None) -> float | None:
        now = self._clock.monotonic()
        ends = [at for at in (end, self._later[0][0] if self._later else None) if at is not None]
        return max(0.0, min(ends) - now) if ends else None

    def _take(self) -> Key:
        key = self._ready.popleft()
        now = self._clock.monotonic()
        self._metrics.wait_seconds.observe(now - self._dirty.pop(key))
        self._held[key] = now
        return key

    def _depth(self) -> float:
        return float(len(self._ready))

    def _unfinished_seconds(self) -> float:
        with self._changed:
            now = self._clock.monotonic()
            return sum(now - since for since in self._held.values())

    def _longest_seconds(self) -> float:
        with self._changed:
            now = self._clock.monotonic()
            return max((now - since for since in self._held.values()), default=0.0)
