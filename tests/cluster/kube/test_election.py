from __future__ import annotations

import signal
import subprocess
import sys
from threading import Event, Thread

import pytest
from tests.cluster.control_plane import ControlPlane
from tests.cluster.kube.waiting import until
from tests.servers.relay import Relay

from strandline.adapters.clock import SystemClock
from strandline.adapters.kube.api import KubeApi
from strandline.adapters.kube.election import ElectionSettings, LeaseElection
from strandline.adapters.kube.resources import LEASES, ObjectKey

pytestmark = pytest.mark.apiserver
SETTINGS = ElectionSettings(lease_seconds=3, renew_deadline_seconds=2.0, retry_seconds=0.2)


def candidate(api: KubeApi, namespace: str, name: str) -> tuple[LeaseElection, Event]:
    lost = Event()
    key = ObjectKey(namespace, "operator")
    clock = SystemClock()
    return LeaseElection(api, key, name, clock, lost.set, settings=SETTINGS), lost


def holder(api: KubeApi, namespace: str) -> str:
    return str(api.get(LEASES, ObjectKey(namespace, "operator"))["spec"]["holderIdentity"])


@pytest.fixture
def stop() -> Event:
    return Event()


def test_one_of_many_leads_and_the_next_follows_when_it_lets_go(
    api: KubeApi, namespace: str, stop: Event
) -> None:
    candidates = {name: candidate(api, namespace, name)[0] for name in ("a", "b", "c")}
    leaders: list[str] = []
    threads = []
    for name, each in candidates.items():

        def lead(name: str = name, each: LeaseElection = each) -> None:
            if each.acquire(stop):
                leaders.append(name)

        threads.append(Thread(target=lead))
        threads[-1].start()
    for turn in (1, 2, 3):
        until(lambda turn=turn: len(leaders) == turn)  # type: ignore[misc]
        first = leaders[-1]
        assert [name for name, each in candidates.items() if each.leading] == [first]
        assert holder(api, namespace) == first
        candidates[first].release()
        assert not candidates[first].leading
    for thread in threads:
        thread.join(10)
    assert sorted(leaders) == ["a", "b", "c"]
    assert holder(api, namespace) == ""
    lease = api.get(LEASES, ObjectKey(namespace, "operator"))
    assert lease["spec"]["leaseTransitions"] == 2


def test_a_leader_that_cannot_renew_loses_before_another_takes_over(
    api: KubeApi, far_api: KubeApi, wire: Relay, namespace: str, stop: Event
) -> None:
    first, lost = candidate(far_api, namespace, "first")
    second, _ = candidate(api, namespace, "second")
    assert first.acquire(stop)
    assert not second.try_once()
    wire.cut()
    order: list[str] = []

    def note_loss() -> None:
        assert lost.wait(60)
        order.append("lost")

    watcher = Thread(target=note_loss)
    watcher.start()
    assert second.acquire(stop)
    order.append("taken")
    watcher.join(60)
    assert order == ["lost", "taken"]
    assert not first.leading
    assert second.leading
    second.release()


def test_a_short_outage_does_not_change_the_leader(
    api: KubeApi, far_api: KubeApi, wire: Relay, namespace: str, stop: Event
) -> None:
    first, lost = candidate(far_api, namespace, "first")
    assert first.acquire(stop)
    before = api.get(LEASES, ObjectKey(namespace, "operator"))["spec"]["renewTime"]
    wire.cut()
    wire.mend()

    def renewed() -> bool:
        spec = api.get(LEASES, ObjectKey(namespace, "operator"))["spec"]
        return bool(spec["renewTime"] != before)

    until(renewed)
    assert first.leading
    assert not lost.is_set()
    first.release()
    assert holder(api, namespace) == ""
    assert not lost.is_set()


LEADER = """
import os, sys, time
from pathlib import Path
from threading import Event
from strandline.adapters.clock import SystemClock
from strandline.adapters.kube.api import KubeApi
from strandline.adapters.kube.election import ElectionSettings, LeaseElection
from strandline.adapters.kube.resources import ObjectKey

api = KubeApi.connect(Path(sys.argv[1]))
settings = ElectionSettings(3, 2.0, 0.2)
key = ObjectKey(sys.argv[2], "operator")
election = LeaseElection(
    api, key, "process", SystemClock(), lambda: os._exit(7), settings=settings
)
election.acquire(Event())
print("leading", flush=True)
time.sleep(600)
"""


def test_a_process_that_stood_still_finds_another_leading_and_ends(
    control_plane: ControlPlane, api: KubeApi, namespace: str, stop: Event
) -> None:
    command = [sys.executable, "-c", LEADER, str(control_plane.kubeconfig), namespace]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"leading\n"
        process.send_signal(signal.SIGSTOP)  # as in a virtual machine that is moved
        second, lost = candidate(api, namespace, "second")
        assert second.acquire(stop)
        process.send_signal(signal.SIGCONT)
        assert process.wait(30) == 7
    assert second.leading
    assert not lost.is_set()
    second.release()


def test_waiting_to_lead_ends_when_the_process_is_to_stop(
    api: KubeApi, namespace: str, stop: Event
) -> None:
    first, _ = candidate(api, namespace, "first")
    second, _ = candidate(api, namespace, "second")
    assert first.acquire(stop)
    stop.set()
    assert not second.acquire(stop)
    second.release()
    assert holder(api, namespace) == "first"
    first.release()
