"""Workers that take keys from a queue and reconcile them, until they are told to stop."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable, Sequence
from threading import Event, Thread
from typing import Generic, Protocol, TypeVar

from strandline.adapters.kube.informer import Informer, Route
from strandline.adapters.kube.metrics import OperatorMetrics, ReconcileMetrics
from strandline.adapters.kube.queue import WorkQueue
from strandline.adapters.kube.resources import key_of
from strandline.ports import Clock
from strandline.spec.errors import ConflictError, StrandlineError

Key = TypeVar("Key", bound=Hashable)
_LOG = logging.getLogger(__name__)
_FINE = "success"


class Controller(Generic[Key]):
    """Reconciles the keys of one queue with several workers, each key with one at a time.

    `reconcile` reads the present state of a key, does what is needed, and returns after how
    many seconds to look again, None for not before something changes. It may be called for
    a key that is gone, and more often than anything changed. When it raises, the key comes
    again later, each time later; other keys are not held up.
    """

    def __init__(
        self,
        name: str,
        reconcile: Callable[[Key], float | None],
        clock: Clock,
        *,
        workers: int = 4,
        queue: WorkQueue[Key] | None = None,
        metrics: OperatorMetrics | None = None,
    ) -> None:
        metrics = metrics or OperatorMetrics()
        self.name = name
        if queue is None:
            queue = WorkQueue(name, clock, metrics=metrics)
        self.queue = queue
        self._reconcile = reconcile
        self._clock = clock
        self._metrics = ReconcileMetrics(metrics, name)
        self._metrics.most_workers.set(workers)
        self._threads = [
            Thread(target=self._work, name=f"{name}-{number}", daemon=True)
            for number in range(workers)
        ]

    def follow(
        self, informer: Informer, route: Route = lambda document: (key_of(document),)
    ) -> None:
        """Look at the keys that `route` makes of each changed object; before `start`."""
        informer.subscribe(self.queue.add, route)

    def start(self) -> None:
        """Start the workers; the informers they read from must be synced."""
        for thread in self._threads:
            thread.start()

    def stop(self, grace_seconds: float) -> bool:
        """Take no more keys and wait for those at work; return whether all ended in time."""
        self.queue.shut()
        end = self._clock.monotonic() + grace_seconds
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, end - self._clock.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    @property
    def alive(self) -> bool:
        """Whether every worker runs."""
        return all(thread.is_alive() for thread in self._threads)

    def work_once(self, timeout_seconds: float | None = None) -> bool:
        """Take one key and reconcile it; False when none came."""
        key = self.queue.get(timeout_seconds)
        if key is None:
            return False
        self._metrics.active.inc()
        began, processed = self._clock.monotonic(), time.thread_time()
        try:
            result = self._attend(key)
        finally:
            self._metrics.active.dec()
            self.queue.done(key)
        self._metrics.took(self._clock.monotonic() - began, time.thread_time() - processed)
        self._metrics.count(result)
        return True

    def _work(self) -> None:
        while self.work_once():
            pass

    def _attend(self, key: Key) -> str:
        """Reconcile one key and see to its next look; return the result to count."""
        try:
            wait_seconds = self._reconcile(key)
        except ConflictError as error:
            # Somebody wrote meanwhile, and what they wrote is on its way to us: no failure.
            _LOG.debug("%s %s: %s", self.name, key, error)
            self.queue.add_failed(key)
            return "requeue"
        except StrandlineError as error:
            wait = self.queue.add_failed(key)
            _LOG.warning("%s %s: %s; again in %.1f s", self.name, key, error, wait)
            return "error"
        except Exception:
            wait = self.queue.add_failed(key)
            _LOG.exception("%s %s; again in %.1f s", self.name, key, wait)
            return "error"
        self.queue.forget(key)
        if wait_seconds is None:
            return _FINE
        self.queue.add_after(key, wait_seconds)
        return "requeue_after"


class Startable(Protocol):
    """What runs on threads of its own beside the controllers, as an `EventRecorder`."""

    def start(self) -> None:
        """Start its threads."""

    def stop(self) -> None:
        """Stop them and wait."""


class ControllerSet:
    """Informers, controllers and what runs beside them, started and stopped in order."""

    def __init__(
        self,
        informers: Sequence[Informer],
        controllers: Sequence[Controller[Key]],
        beside: Sequence[Startable] = (),
    ) -> None:
        self._informers = informers
        self._controllers = controllers
        self._beside = beside
        self._started = False

    def start_informers(self) -> None:
        """Fill the caches; also while another process leads, so that taking over is quick."""
        for informer in self._informers:
            informer.start()

    def start_workers(self, stop: Event, poll_seconds: float = 0.2) -> bool:
        """Start reconciling once all caches are filled; False when `stop` came first."""
        for informer in self._informers:
            while not informer.wait_synced(poll_seconds):
                if stop.is_set():
                    return False
        for each in self._beside:
            each.start()
        for controller in self._controllers:
            controller.start()
        self._started = True
        return True

    def stop(self, grace_seconds: float = 20.0) -> bool:
        """End reconciles, then what they used; return whether all reconciles ended in time."""
        ended = True
        if self._started:
            for controller in self._controllers:
                controller.queue.shut()
            stopped = [each.stop(grace_seconds) for each in self._controllers]
            ended = all(stopped)
            for each in self._beside:
                each.stop()
        for informer in self._informers:
            informer.stop()
        return ended

    def synced(self) -> bool:
        """Return whether every cache is filled: a check for /readyz."""
        return all(informer.synced for informer in self._informers)

    def healthy(self) -> bool:
        """Return whether no thread has died: a check for /healthz."""
        threads = [informer.alive for informer in self._informers if informer.synced]
        if self._started:
            threads += [controller.alive for controller in self._controllers]
        return all(threads)
