from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers.scripted_api import Scripted, kubeconfig_of, scripted_api

from strandline.adapters.kube.answers import ExpiredError
from strandline.adapters.kube.api import KubeApi
from strandline.adapters.kube.connection import load_configuration
from strandline.adapters.kube.resources import CONFIG_MAPS, ObjectKey
from strandline.spec.errors import InvalidSpecError, UnavailableError

KEY = ObjectKey("team", "a")


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    with scripted_api() as running:
        yield running


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def api(scripted: Scripted, tmp_path: Path, waits: list[float]) -> Iterator[KubeApi]:
    connected = KubeApi.connect(kubeconfig_of(tmp_path, scripted.url), sleep=waits.append)
    yield connected
    connected.close()


def test_a_call_says_who_we_are(scripted: Scripted, api: KubeApi) -> None:
    scripted.reply(200, {"kind": "ConfigMap"})
    assert api.get(CONFIG_MAPS, KEY) == {"kind": "ConfigMap"}
    [(method, path, headers, _)] = scripted.asked
    assert (method, path) == ("GET", "/api/v1/namespaces/team/configmaps/a")
    assert headers["Authorization"] == "Bearer secret"
    assert headers["User-Agent"].startswith("strandline/")


def test_a_throttled_call_is_made_again_when_the_server_says(
    scripted: Scripted, api: KubeApi, waits: list[float]
) -> None:
    scripted.reply(429, {}, Retry_After="2")
    scripted.reply(429, {}, Retry_After="3600")
    scripted.reply(201, {"kind": "ConfigMap"})
    api.create(CONFIG_MAPS, {"metadata": {"namespace": "team", "name": "a"}})
    assert waits == [2.0, 5.0]
    assert len({body for *_, body in scripted.asked}) == 1


def test_throttling_without_an_end_is_an_error(
    scripted: Scripted, api: KubeApi, waits: list[float]
) -> None:
    for _ in range(4):
        scripted.reply(429, {"kind": "Status", "message": "too many"})
    with pytest.raises(UnavailableError, match="too many"):
        api.get(CONFIG_MAPS, KEY)
    assert waits == [1.0, 1.0, 1.0]


def test_an_answer_that_breaks_off_is_an_outage(scripted: Scripted, api: KubeApi) -> None:
    scripted.reply(200, {"kind": "ConfigMap"}, Content_Length="5000")
    with pytest.raises(UnavailableError, match="broke off"):
        api.get(CONFIG_MAPS, KEY)


def test_an_error_in_a_watch_is_raised_after_what_came_before_it(
    scripted: Scripted, api: KubeApi
) -> None:
    change = {"type": "ADDED", "object": {"metadata": {"name": "a"}}}
    gone = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired"}}
    stream = b"".join(json.dumps(each).encode() + b"\n" for each in (change, gone))
    scripted.replies.append((200, {}, stream))
    seen: list[str] = []
    with pytest.raises(ExpiredError):
        seen.extend(event.type for event in api.watch(CONFIG_MAPS, "1"))
    scripted.reply(410, {"kind": "Status", "reason": "Expired"})
    with pytest.raises(ExpiredError):
        api.watch(CONFIG_MAPS, "1")
    path = scripted.asked[0][1]
    assert "allowWatchBookmarks=true" in path
    assert "resourceVersion=1" in path


def test_a_server_that_is_not_there_is_an_outage(tmp_path: Path) -> None:
    api = KubeApi.connect(kubeconfig_of(tmp_path, "http://127.0.0.1:1"))
    with pytest.raises(UnavailableError, match="no answer"):
        api.get(CONFIG_MAPS, KEY)
    api.close()


def test_the_namespace_is_that_of_the_context(tmp_path: Path) -> None:
    path = kubeconfig_of(tmp_path, "http://127.0.0.1:1")
    assert load_configuration(path)[1] == "team"
    assert load_configuration(path, "there")[1] == "default"


def test_a_connection_that_is_described_nowhere_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    with pytest.raises(InvalidSpecError, match="cannot connect to a cluster"):
        load_configuration()
    with pytest.raises(InvalidSpecError, match="cannot connect to a cluster"):
        load_configuration(kubeconfig_of(tmp_path, "http://127.0.0.1:1"), "nowhere")
