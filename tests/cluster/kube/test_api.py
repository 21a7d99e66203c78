from __future__ import annotations

from threading import Event, Thread

import pytest
from prometheus_client import generate_latest
from tests.cluster.control_plane import ControlPlane
from tests.cluster.kube.waiting import until
from tests.servers.relay import Relay

from strandline.adapters.kube.api import KubeApi, Page
from strandline.adapters.kube.metrics import OperatorMetrics
from strandline.adapters.kube.resources import CONFIG_MAPS, JOBS, Document, ObjectKey, uid_of
from strandline.spec.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidSpecError,
    NotFoundError,
    PermissionDeniedError,
    UnavailableError,
)
from strandline.testing.kube_objects import a_config_map, a_job, make_config_maps

pytestmark = pytest.mark.apiserver


def test_an_object_is_made_read_and_deleted(api: KubeApi, namespace: str) -> None:
    key = ObjectKey(namespace, "a")
    made = api.create(CONFIG_MAPS, a_config_map(*key, x="1"))
    assert api.get(CONFIG_MAPS, key) == made
    with pytest.raises(AlreadyExistsError):
        api.create(CONFIG_MAPS, a_config_map(*key))
    with pytest.raises(ConflictError, match="precondition"):
        api.delete(CONFIG_MAPS, key, uid="of another one")
    api.delete(CONFIG_MAPS, key, uid=uid_of(made))
    with pytest.raises(NotFoundError):
        api.get(CONFIG_MAPS, key)
    with pytest.raises(NotFoundError):
        api.delete(CONFIG_MAPS, key)


def test_a_document_that_breaks_the_rules_is_refused(api: KubeApi, namespace: str) -> None:
    with pytest.raises(InvalidSpecError, match="RFC 1123"):
        api.create(CONFIG_MAPS, a_config_map(namespace, "Not_A_Name"))


def test_applying_takes_fields_over_and_removes_those_left_out(
    api: KubeApi, namespace: str
) -> None:
    api.create(CONFIG_MAPS, a_config_map(namespace, "a", mine="0", theirs="0"))
    api.apply(CONFIG_MAPS, a_config_map(namespace, "a", mine="1", other="1"))
    applied = api.apply(CONFIG_MAPS, a_config_map(namespace, "a", mine="2"))
    assert applied["data"] == {"mine": "2", "theirs": "0"}
    assert api.apply(CONFIG_MAPS, a_config_map(namespace, "a", mine="2")) == applied


def test_a_status_written_from_an_old_reading_is_a_conflict(api: KubeApi, namespace: str) -> None:
    old = api.create(JOBS, a_job(namespace, "a"))
    new = api.replace_status(JOBS, {**old, "status": {"active": 1}})
    assert new["status"]["active"] == 1
    with pytest.raises(ConflictError):
        api.replace_status(JOBS, {**old, "status": {"active": 2}})
    names = {"namespace": namespace, "name": "a"}
    version = {"resourceVersion": old["metadata"]["resourceVersion"]}
    with pytest.raises(ConflictError):
        api.apply_status(JOBS, {"metadata": names | version, "status": {"active": 2}})
    applied = api.apply_status(JOBS, {"metadata": names, "status": {"active": 3}})
    assert applied["status"]["active"] == 3


def test_finalizers_are_patched_only_while_the_object_is_as_it_was_read(
    api: KubeApi, namespace: str
) -> None:
    key = ObjectKey(namespace, "a")
    made = api.create(CONFIG_MAPS, a_config_map(*key))
    version = made["metadata"]["resourceVersion"]
    patch = {"metadata": {"resourceVersion": version, "finalizers": ["strandline.dev/in-use"]}}
    api.patch_merge(CONFIG_MAPS, key, patch)
    with pytest.raises(ConflictError):
        api.patch_merge(CONFIG_MAPS, key, patch)
    api.delete(CONFIG_MAPS, key)
    assert api.get(CONFIG_MAPS, key)["metadata"]["deletionTimestamp"]
    wrong = [{"op": "test", "path": "/metadata/finalizers/0", "value": "another"}]
    remove = [{"op": "remove", "path": "/metadata/finalizers/0"}]
    with pytest.raises(InvalidSpecError):
        api.patch_json(CONFIG_MAPS, key, wrong + remove)
    api.patch_json(CONFIG_MAPS, key, remove)
    with pytest.raises(NotFoundError):
        api.get(CONFIG_MAPS, key)


def test_a_list_comes_in_pages_of_one_moment(api: KubeApi, namespace: str) -> None:
    names = make_config_maps(api, namespace, 25)
    pages: list[Page] = []
    for page in api.list_pages(CONFIG_MAPS, namespace, limit=10):
        if not pages:  # what comes after the first page is no part of this moment
            api.create(CONFIG_MAPS, a_config_map(namespace, "zz"))
            api.delete(CONFIG_MAPS, ObjectKey(namespace, names[-1]))
        pages.append(page)
    assert [len(page.items) for page in pages] == [10, 10, 5]
    assert len({page.resource_version for page in pages}) == 1
    items = [item for page in pages for item in page.items]
    assert [item["metadata"]["name"] for item in items] == names
    assert items[0]["kind"] == "ConfigMap"


@pytest.mark.slow
def test_a_list_that_expires_between_pages_is_read_anew_and_whole_at_last(
    api: KubeApi, namespace: str, control_plane: ControlPlane
) -> None:
    names = make_config_maps(api, namespace, 5)
    turns = 0

    def keep(document: Document) -> str:
        nonlocal turns
        turns += 1
        if turns in (1, 3):  # in the first page of both lists that come in pages
            api.create(CONFIG_MAPS, a_config_map(namespace, f"new-{turns}"))
            control_plane.etcd.compact()
            control_plane.apiserver.stop()  # its cache of past moments goes with it
            control_plane.apiserver.start()
        return str(document["metadata"]["name"])

    listing = api.list_all(CONFIG_MAPS, namespace, limit=2, keep=keep)
    assert listing.items == [*names, "new-1", "new-3"]
    assert turns == 2 + 2 + 7


def test_a_selector_narrows_a_list(api: KubeApi, namespace: str) -> None:
    chosen = a_config_map(namespace, "a")
    chosen["metadata"]["labels"] = {"strandline.dev/name": "x"}
    api.create(CONFIG_MAPS, chosen)
    api.create(CONFIG_MAPS, a_config_map(namespace, "b"))
    listing = api.list_all(CONFIG_MAPS, namespace, "strandline.dev/name=x")
    assert [item["metadata"]["name"] for item in listing.items] == ["a"]


def test_a_watch_tells_all_changes_in_order_until_it_is_closed(
    api: KubeApi, namespace: str
) -> None:
    begin = api.list_all(CONFIG_MAPS, namespace).resource_version
    watch = api.watch(CONFIG_MAPS, begin, namespace)
    seen: list[tuple[str, str]] = []
    ended = Event()

    def note() -> None:
        for event in watch:  # one by one: the test looks at them meanwhile
            seen.append((event.type, event.document["metadata"].get("name", "")))  # noqa: PERF401
        ended.set()

    reader = Thread(target=note)
    reader.start()
    api.create(CONFIG_MAPS, a_config_map(namespace, "a", x="0" * 300_000))
    api.apply(CONFIG_MAPS, a_config_map(namespace, "a", x="1"))
    api.delete(CONFIG_MAPS, ObjectKey(namespace, "a"))
    until(lambda: len(seen) >= 3)
    watch.close()
    assert ended.wait(10)
    reader.join(10)
    assert seen[:3] == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]


def test_a_watch_whose_network_breaks_says_so(
    far_api: KubeApi, namespace: str, wire: Relay
) -> None:
    begin = far_api.list_all(CONFIG_MAPS, namespace).resource_version
    watch = far_api.watch(CONFIG_MAPS, begin, namespace)
    wire.cut()
    with pytest.raises(UnavailableError):
        list(watch)
    with pytest.raises(UnavailableError):
        far_api.get(CONFIG_MAPS, ObjectKey(namespace, "a"))
    wire.mend()
    with pytest.raises(NotFoundError):
        far_api.get(CONFIG_MAPS, ObjectKey(namespace, "a"))


def test_whoever_may_not_is_told_so(control_plane: ControlPlane, namespace: str) -> None:
    nobody = KubeApi.connect(control_plane.user("nobody"))
    with pytest.raises(PermissionDeniedError, match="nobody"):
        nobody.list_all(CONFIG_MAPS, namespace)
    nobody.close()


def test_every_call_is_counted(control_plane: ControlPlane, namespace: str) -> None:
    metrics = OperatorMetrics()
    api = KubeApi.connect(control_plane.kubeconfig, metrics=metrics)
    with pytest.raises(NotFoundError):
        api.get(CONFIG_MAPS, ObjectKey(namespace, "a"))
    api.list_all(CONFIG_MAPS, namespace)
    api.close()
    text = generate_latest(metrics.registry).decode()
    host = control_plane.url.removeprefix("https://")
    for code in (404, 200):
        sample = f'rest_client_requests_total{{code="{code}",host="{host}",method="GET"}} 1.0'
        assert sample in text
