"""What an operator tells Prometheus, under controller-runtime's names.

Dashboards and alerts written for operators in Go then work on this one.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)

_RECONCILE_BUCKETS = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5),
    *(0.6, 0.7, 0.8, 0.9, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0),
    *(6.0, 7.0, 8.0, 9.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 60.0),
)
_QUEUE_BUCKETS = (1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 1.0, 5.0, 10.0, 50.0, 100.0, 500.0, 1000.0)
RESULTS = ("success", "error", "requeue", "requeue_after")
CLOCKS = ("wall", "processor")


class ReconcileMetrics:
    """The series of one controller."""

    def __init__(self, metrics: OperatorMetrics, controller: str) -> None:
        self._total = {r: metrics.reconciles.labels(controller, r) for r in RESULTS}
        self._errors = metrics.reconcile_errors.labels(controller)
        self._seconds = metrics.reconcile_seconds.labels(controller)
        self._longest = {
            clock: _Longest(metrics.reconcile_longest.labels(controller, clock)) for clock in CLOCKS
        }
        self.active = metrics.active_workers.labels(controller)
        self.most_workers = metrics.most_workers.labels(controller)

    def count(self, result: str) -> None:
        """Count one reconcile that ended with `result`, one of `RESULTS`."""
        self._total[result].inc()
        if result == "error":
            self._errors.inc()

    def took(self, seconds: float, processor_seconds: float) -> None:
        """Note how long one reconcile took, and how long of that it had a processor."""
        self._seconds.observe(seconds)
        self._longest["wall"].note(seconds)
        self._longest["processor"].note(processor_seconds)


class _Longest:
    """A gauge that only rises; may be told from several threads."""

    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge
        self._lock = Lock()
        self._most = 0.0

    def note(self, seconds: float) -> None:
        with self._lock:
            if seconds > self._most:
                self._most = seconds
                self._gauge.set(seconds)


class QueueMetrics:
    """The series of one work queue."""

    def __init__(self, metrics: OperatorMetrics, name: str) -> None:
        self._metrics = metrics
        self._name = name
        self.adds = metrics.queue_adds.labels(name, name)
        self.retries = metrics.queue_retries.labels(name, name)
        self.wait_seconds = metrics.queue_wait_seconds.labels(name, name)
        self.work_seconds = metrics.queue_work_seconds.labels(name, name)

    def follow(
        self,
        depth: Callable[[], float],
        unfinished_seconds: Callable[[], float],
        longest_seconds: Callable[[], float],
    ) -> None:
        """Read the queue's present state from these functions at every scrape."""
        labels = (self._name, self._name)
        self._metrics.queue_depth.labels(*labels).set_function(depth)
        self._metrics.queue_unfinished.labels(*labels).set_function(unfinished_seconds)
        self._metrics.queue_longest.labels(*labels).set_function(longest_seconds)


class OperatorMetrics:
    """All series of one operator, in a registry of their own."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._make_reconcile_series()
        self._make_queue_series()
        self._make_client_series()

    def _make_reconcile_series(self) -> None:
        registry = self.registry
        self.reconciles = Counter(
            "controller_runtime_reconcile_total",
            "Reconciles by controller and result.",
            ["controller", "result"],
            registry=registry,
        )
        self.reconcile_errors = Counter(
            "controller_runtime_reconcile_errors_total",
            "Reconciles that ended in an error.",
            ["controller"],
            registry=registry,
        )
        self.reconcile_seconds = Histogram(
            "controller_runtime_reconcile_time_seconds",
            "Time one reconcile takes.",
            ["controller"],
            buckets=_RECONCILE_BUCKETS,
            registry=registry,
        )
        self.reconcile_longest = Gauge(
            "strandline_reconcile_longest_seconds",
            "Longest reconcile since the start: from begin to end (wall), and what one had of a "
            "processor at most (processor).",
            ["controller", "clock"],
            registry=registry,
        )
        self.active_workers = Gauge(
            "controller_runtime_active_workers",
            "Workers that reconcile at this moment.",
            ["controller"],
            registry=registry,
        )
        self.most_workers = Gauge(
            "controller_runtime_max_concurrent_reconciles",
            "Most reconciles at the same time.",
            ["controller"],
            registry=registry,
        )

    def _make_queue_series(self) -> None:
        labels = ["name", "controller"]
        registry = self.registry
        self.queue_depth = Gauge(
            "workqueue_depth", "Keys that wait for a worker.", labels, registry=registry
        )
        self.queue_adds = Counter("workqueue_adds_total", "Keys added.", labels, registry=registry)
        self.queue_retries = Counter(
            "workqueue_retries_total", "Keys added again after an error.", labels, registry=registry
        )
        self.queue_wait_seconds = Histogram(
            "workqueue_queue_duration_seconds",
            "Time a key waits for a worker.",
            labels,
            buckets=_QUEUE_BUCKETS,
            registry=registry,
        )
        self.queue_work_seconds = Histogram(
            "workqueue_work_duration_seconds",
            "Time a worker holds a key.",
            labels,
            buckets=_QUEUE_BUCKETS,
            registry=registry,
        )
        self.queue_unfinished = Gauge(
            "workqueue_unfinished_work_seconds",
            "Time all present work has taken so far.",
            labels,
            registry=registry,
        )
        self.queue_longest = Gauge(
            "workqueue_longest_running_processor_seconds",
            "Time the longest present work has taken so far.",
            labels,
            registry=registry,
        )

    def _make_client_series(self) -> None:
        self.requests = Counter(
            "rest_client_requests_total",
            "Calls of the API by status code, method and host.",
            ["code", "method", "host"],
            registry=self.registry,
        )
        self.leading = Gauge(
            "leader_election_master_status",
            "1 while this process leads, 0 otherwise.",
            ["name"],
            registry=self.registry,
        )
        self.cached_objects = Gauge(
            "strandline_informer_objects",
            "Objects held in memory, by resource and namespace.",
            ["resource", "namespace"],
            registry=self.registry,
        )
        self.cached_bytes = Gauge(
            "strandline_informer_bytes",
            "Bytes of the documents held in memory, by resource and namespace.",
            ["resource", "namespace"],
            registry=self.registry,
        )
        self.lists = Counter(
            "strandline_informer_lists_total",
            "Complete lists read, by resource and namespace.",
            ["resource", "namespace"],
            registry=self.registry,
        )
