"""Controllers, informers and an election together: what an operator's `main` does."""

from __future__ import annotations

from threading import Event, Lock

import pytest
from tests.cluster.control_plane import ControlPlane
from tests.cluster.kube.waiting import until

from strandline.adapters.clock import SystemClock
from strandline.adapters.kube.api import KubeApi
from strandline.adapters.kube.controller import Controller, ControllerSet
from strandline.adapters.kube.informer import Informer, InformerSettings
from strandline.adapters.kube.queue import RetryPolicy, WorkQueue
from strandline.adapters.kube.resources import CONFIG_MAPS, ObjectKey
from strandline.spec.errors import AlreadyExistsError
from strandline.testing.kube_objects import a_config_map, make_config_maps

pytestmark = pytest.mark.apiserver
QUICK = RetryPolicy(first_seconds=0.05, longest_seconds=0.5)
SETTINGS = InformerSettings(retry=QUICK)


class Copier:
    """Gives every `cm-N` a `copy-cm-N`; and tells when two workers were at one key."""

    def __init__(self, api: KubeApi, namespace: str) -> None:
        self._api = api
        self._lock = Lock()
        self._at_work: set[ObjectKey] = set()
        self.overlaps: list[ObjectKey] = []
        clock = SystemClock()
        self.informer = Informer(api, CONFIG_MAPS, clock, namespace=namespace, settings=SETTINGS)
        queue = WorkQueue[ObjectKey]("copier", clock, retry=QUICK)
        self.controller = Controller("copier", self.reconcile, clock, workers=4, queue=queue)
        self.controller.follow(self.informer)
        self.set = ControllerSet([self.informer], [self.controller])

    def reconcile(self, key: ObjectKey) -> None:
        with self._lock:
            if key in self._at_work:
                self.overlaps.append(key)
            self._at_work.add(key)
        try:
            self._copy(key)
        finally:
            with self._lock:
                self._at_work.discard(key)

    def _copy(self, key: ObjectKey) -> None:
        if not key.name.startswith("cm-") or self.informer.get(key) is None:
            return
        copy = ObjectKey(key.namespace, f"copy-{key.name}")
        if self.informer.get(copy) is None:
            try:
                self._api.create(CONFIG_MAPS, a_config_map(*copy))
            except AlreadyExistsError:
                return  # made a moment ago: the cache does not know it yet


def copies(api: KubeApi, namespace: str) -> int:
    items = api.list_all(CONFIG_MAPS, namespace).items
    return sum(item["metadata"]["name"].startswith("copy-") for item in items)


def test_every_object_is_reconciled_whatever_happens_to_the_apiserver(
    control_plane: ControlPlane, api: KubeApi, namespace: str
) -> None:
    make_config_maps(api, namespace, 20)
    copier = Copier(api, namespace)
    copier.set.start_informers()
    assert copier.set.start_workers(Event())
    until(lambda: copies(api, namespace) == 20)

    control_plane.apiserver.kill()
    for number in range(20):  # asked for while nothing can be done: all of them fail
        copier.controller.queue.add(ObjectKey(namespace, f"cm-{number:05d}"))
    control_plane.apiserver.start()
    make_config_maps(api, namespace, 10, "cm-new-{}".format)
    api.delete(CONFIG_MAPS, ObjectKey(namespace, "copy-cm-00000"))
    copier.controller.queue.add(ObjectKey(namespace, "cm-00000"))
    until(lambda: copies(api, namespace) >= 29)
    assert copier.set.synced()
    assert copier.set.healthy()
    assert copier.set.stop(30)
    assert copier.overlaps == []


def test_workers_do_not_start_before_the_caches_are_filled_and_stop_can_come_first(
    control_plane: ControlPlane, api: KubeApi, namespace: str
) -> None:
    copier = Copier(api, namespace)
    stop = Event()
    stop.set()
    control_plane.apiserver.stop()
    try:
        copier.set.start_informers()
        assert not copier.set.start_workers(stop)
        assert not copier.set.synced()
        assert copier.set.stop(5)
    finally:
        control_plane.apiserver.start()
