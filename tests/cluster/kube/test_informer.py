from __future__ import annotations

from collections.abc import Iterator
from threading import Lock
from typing import Any

import pytest
from tests.cluster.control_plane import ControlPlane
from tests.cluster.kube.waiting import until
from tests.servers.relay import Relay

from strandline.adapters.clock import SystemClock
from strandline.adapters.kube.api import KubeApi
from strandline.adapters.kube.informer import Informer, InformerSettings
from strandline.adapters.kube.metrics import OperatorMetrics
from strandline.adapters.kube.queue import RetryPolicy
from strandline.adapters.kube.resources import CONFIG_MAPS, JOBS, Document, ObjectKey, ResourceType
from strandline.testing.kube_objects import a_config_map, a_job, make_config_maps

pytestmark = pytest.mark.apiserver
QUICK = RetryPolicy(first_seconds=0.05, longest_seconds=0.2)


class Told:
    """What handlers were told, in order."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._keys: list[Any] = []

    def __call__(self, key: Any) -> None:
        with self._lock:
            self._keys.append(key)

    def take(self) -> list[Any]:
        with self._lock:
            taken, self._keys = self._keys, []
            return taken


class Started:
    """Informers that end with the test."""

    def __init__(self) -> None:
        self.all: list[Informer] = []

    def __call__(
        self, api: KubeApi, namespace: str, rt: ResourceType = CONFIG_MAPS, **options: Any
    ) -> tuple[Informer, Told]:
        told = Told()
        route = options.pop("route", None)
        settings = options.pop("settings", InformerSettings(retry=QUICK))
        informer = Informer(
            api, rt, SystemClock(), namespace=namespace, settings=settings, **options
        )
        informer.subscribe(told, route) if route else informer.subscribe(told)
        informer.start()
        self.all.append(informer)
        return informer, told


def lists(metrics: OperatorMetrics, namespace: str) -> float:
    """Return how many complete lists of ConfigMaps were read."""
    labels = {"resource": "configmaps", "namespace": namespace}
    count = metrics.registry.get_sample_value("strandline_informer_lists_total", labels)
    assert count is not None
    return count


@pytest.fixture
def start() -> Iterator[Started]:
    started = Started()
    yield started
    for informer in started.all:
        informer.stop()
        assert not informer.alive


def test_what_is_there_and_what_changes_is_held_and_told(
    api: KubeApi, namespace: str, start: Started
) -> None:
    make_config_maps(api, namespace, 3)
    settings = InformerSettings(page_size=2, retry=QUICK)
    informer, told = start(api, namespace, settings=settings)
    assert informer.wait_synced(30)
    assert len(informer) == len(told.take()) == 3

    key = ObjectKey(namespace, "a")
    made = api.create(CONFIG_MAPS, a_config_map(*key, x="1"))
    until(lambda: informer.get(key))
    held = informer.get(key)
    assert held is not None
    assert held["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    assert held["data"] == {"x": "1"}
    assert "managedFields" not in held["metadata"]
    held["data"]["x"] = "changed by the reader"

    api.apply(CONFIG_MAPS, a_config_map(*key, x="2"))
    until(lambda: (informer.get(key) or {})["data"] == {"x": "2"})
    api.delete(CONFIG_MAPS, key)
    until(lambda: informer.get(key) is None)
    until(lambda: told.take() == [key] * 3 or len(informer) == 3)


def test_a_change_that_is_not_kept_tells_nobody(
    api: KubeApi, namespace: str, start: Started
) -> None:
    def keep(document: Document) -> Document:
        metadata = {name: document["metadata"][name] for name in ("namespace", "name", "uid")}
        version = {"resourceVersion": document["metadata"]["resourceVersion"]}
        return {"metadata": metadata | version, "data": {"x": document["data"]["x"]}}

    key = ObjectKey(namespace, "a")
    api.create(CONFIG_MAPS, a_config_map(*key, x="1", noise="1"))
    informer, told = start(api, namespace, keep=keep)
    until(lambda: told.take() == [key])
    noisy = api.apply(CONFIG_MAPS, a_config_map(*key, x="1", noise="2"))
    version = noisy["metadata"]["resourceVersion"]
    until(lambda: (informer.get(key) or {})["metadata"]["resourceVersion"] == version)
    assert told.take() == []
    api.apply(CONFIG_MAPS, a_config_map(*key, x="2", noise="2"))
    until(lambda: told.take() == [key])


def test_the_owner_of_an_object_is_told_also_when_it_loses_it(
    api: KubeApi, namespace: str, start: Started
) -> None:
    def owners(document: Document) -> list[str]:
        return [str(document["metadata"]["labels"]["owner"])]

    made = api.create(JOBS, a_job(namespace, "a", labels={"owner": "one"}))
    informer, told = start(api, namespace, JOBS, route=owners, indexes={"owner": owners})
    until(lambda: told.take() == ["one"])
    key = ObjectKey(namespace, "a")
    assert informer.by_index("owner", "one") == [key]
    made["metadata"]["labels"]["owner"] = "two"
    api.replace(JOBS, made)
    until(lambda: informer.by_index("owner", "two") == [key])
    assert informer.by_index("owner", "one") == []
    until(lambda: told.take() == ["one", "two"])
    api.delete(JOBS, key)
    until(lambda: told.take() == ["two"])
    assert informer.by_index("owner", "two") == []


def test_deletions_while_the_watch_was_lost_and_expired_are_noticed(
    control_plane: ControlPlane,
    api: KubeApi,
    far_api: KubeApi,
    wire: Relay,
    namespace: str,
    start: Started,
) -> None:
    names = make_config_maps(api, namespace, 6)
    again = ObjectKey(namespace, names[0])
    metrics = OperatorMetrics()
    informer, told = start(far_api, namespace, metrics=metrics)
    assert informer.wait_synced(30)
    before = informer.get(again)
    until(lambda: len(told.take()) == 6 or len(informer) == 6)
    told.take()

    wire.cut()
    for name in names[:4]:
        api.delete(CONFIG_MAPS, ObjectKey(namespace, name))
    api.create(CONFIG_MAPS, a_config_map(*again))  # another object under the same name
    api.create(CONFIG_MAPS, a_config_map(namespace, "new"))
    control_plane.etcd.compact()
    control_plane.apiserver.stop()
    control_plane.apiserver.start()
    wire.mend()

    expected = {again, ObjectKey(namespace, "new"), *(ObjectKey(namespace, n) for n in names[4:])}
    until(lambda: set(informer.keys()) == expected)
    after = informer.get(again)
    assert before is not None
    assert after is not None
    assert before["metadata"]["uid"] != after["metadata"]["uid"]
    changed = {ObjectKey(namespace, name) for name in [*names[:4], "new"]}
    seen: list[ObjectKey] = []

    def all_told() -> bool:
        seen.extend(told.take())
        return set(seen) == changed

    until(all_told)
    assert lists(metrics, namespace) == 2.0  # the version was forgotten


def test_a_gap_that_did_not_expire_is_caught_up_without_a_list(
    api: KubeApi, far_api: KubeApi, wire: Relay, namespace: str, start: Started
) -> None:
    metrics = OperatorMetrics()
    make_config_maps(api, namespace, 2)
    informer, _ = start(far_api, namespace, metrics=metrics)
    assert informer.wait_synced(30)
    wire.cut()
    api.delete(CONFIG_MAPS, ObjectKey(namespace, "cm-00000"))
    wire.mend()
    until(lambda: informer.keys() == [ObjectKey(namespace, "cm-00001")])
    assert lists(metrics, namespace) == 1.0


def test_an_informer_waits_for_an_apiserver_that_is_gone(
    control_plane: ControlPlane, api: KubeApi, namespace: str, start: Started
) -> None:
    control_plane.apiserver.stop()
    informer, _ = start(api, namespace)
    assert not informer.wait_synced(0.5)
    control_plane.apiserver.start()
    assert informer.wait_synced(60)
    make_config_maps(api, namespace, 1)
    until(lambda: len(informer) == 1)


def test_handlers_are_told_all_keys_now_and_then_and_the_list_is_read_anew(
    api: KubeApi, namespace: str, start: Started
) -> None:
    metrics = OperatorMetrics()
    make_config_maps(api, namespace, 2)
    settings = InformerSettings(
        resync_seconds=0.5, relist_seconds=0.5, watch_seconds=0.2, retry=QUICK
    )
    _, told = start(api, namespace, settings=settings, metrics=metrics)
    counts: dict[ObjectKey, int] = {}

    def thrice() -> bool:
        for key in told.take():
            counts[key] = counts.get(key, 0) + 1
        return len(counts) == 2 and min(counts.values()) >= 3

    until(thrice)
    assert lists(metrics, namespace) >= 2.0


def test_a_kind_that_is_not_installed_is_asked_for_until_it_is(
    api: KubeApi, namespace: str, start: Started
) -> None:
    absent = ResourceType("none.strandline.dev", "v1", "things", "Thing")
    informer, _ = start(api, namespace, absent)
    assert not informer.wait_synced(0.5)
    assert informer.alive
