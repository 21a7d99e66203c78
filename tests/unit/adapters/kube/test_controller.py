from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from prometheus_client import generate_latest

from strandline.adapters.clock import SystemClock
from strandline.adapters.kube.controller import Controller
from strandline.adapters.kube.metrics import OperatorMetrics
from strandline.adapters.kube.queue import WorkQueue
from strandline.spec.errors import ConflictError, UnavailableError
from strandline.testing.fake_clock import FakeClock


def controller_of(
    reconcile: Callable[[str], float | None], clock: FakeClock, metrics: OperatorMetrics
) -> Controller[str]:
    queue = WorkQueue[str]("test", clock, metrics=metrics, uniform=lambda low, high: high)
    return Controller("test", reconcile, clock, workers=2, queue=queue, metrics=metrics)


def test_a_reconcile_that_asks_for_another_look_gets_it_in_time() -> None:
    clock = FakeClock()
    seen = []

    def reconcile(key: str) -> float | None:
        seen.append(key)
        return 30.0 if len(seen) == 1 else None

    controller = controller_of(reconcile, clock, OperatorMetrics())
    controller.queue.add("a")
    assert controller.work_once(0)
    assert not controller.work_once(0)
    clock.advance(30.0)
    assert controller.work_once(0)
    clock.advance(1e6)
    assert not controller.work_once(0)


@pytest.mark.parametrize("error", [UnavailableError("down"), ZeroDivisionError()])
def test_a_reconcile_that_fails_comes_again_later_and_a_good_one_starts_counting_anew(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock()
    errors = [error, error]

    def reconcile(key: str) -> None:
        if errors:
            raise errors.pop()

    metrics = OperatorMetrics()
    controller = controller_of(reconcile, clock, metrics)
    controller.queue.add("a")
    for wait in (0.5, 1.0):
        assert controller.work_once(0)
        clock.advance(wait - 0.01)
        assert not controller.work_once(0)
        clock.advance(0.01)
    assert controller.work_once(0)
    assert controller.queue.failures("a") == 0
    assert len(caplog.records) == 2
    text = generate_latest(metrics.registry).decode()
    assert 'controller_runtime_reconcile_errors_total{controller="test"} 2.0' in text
    assert 'controller_runtime_reconcile_total{controller="test",result="success"} 1.0' in text
    assert 'workqueue_retries_total{controller="test",name="test"} 2.0' in text
    assert 'controller_runtime_active_workers{controller="test"} 0.0' in text


def test_a_conflict_comes_again_without_being_an_error(caplog: pytest.LogCaptureFixture) -> None:
    def reconcile(key: str) -> None:
        raise ConflictError("changed meanwhile")

    metrics = OperatorMetrics()
    controller = controller_of(reconcile, FakeClock(), metrics)
    controller.queue.add("a")
    with caplog.at_level(logging.INFO):
        assert controller.work_once(0)
    assert caplog.records == []
    text = generate_latest(metrics.registry).decode()
    assert 'controller_runtime_reconcile_errors_total{controller="test"} 0.0' in text
    assert 'controller_runtime_reconcile_total{controller="test",result="requeue"} 1.0' in text


def test_stopping_waits_for_the_reconcile_at_work_and_starts_no_other() -> None:
    from threading import Event

    began, go = Event(), Event()
    seen = []

    def reconcile(key: str) -> None:
        began.set()
        assert go.wait(30)
        seen.append(key)

    controller = Controller[str]("test", reconcile, SystemClock(), workers=1)
    controller.start()
    controller.queue.add("a")
    assert began.wait(30)
    controller.queue.add("b")
    assert not controller.stop(0.0)
    go.set()
    assert controller.stop(30.0)
    assert seen == ["a"]
    assert not controller.alive
