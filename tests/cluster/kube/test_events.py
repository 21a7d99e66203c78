from __future__ import annotations

from collections.abc import Iterator

import pytest

from strandline.adapters.clock import SystemClock
from strandline.adapters.kube.api import KubeApi
from strandline.adapters.kube.events import EventRecorder
from strandline.adapters.kube.resources import CONFIG_MAPS, EVENTS, Document
from strandline.testing.kube_objects import a_config_map

pytestmark = pytest.mark.apiserver


def recorder_of(api: KubeApi, instance: str = "pod-1") -> EventRecorder:
    clock = SystemClock()
    return EventRecorder(api, clock, controller="strandline.dev/operator", instance=instance)


@pytest.fixture
def recorder(api: KubeApi) -> Iterator[EventRecorder]:
    running = recorder_of(api)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def about(api: KubeApi, namespace: str) -> Document:
    return api.create(CONFIG_MAPS, a_config_map(namespace, "a"))


def events_of(api: KubeApi, namespace: str) -> list[Document]:
    return api.list_all(EVENTS, namespace).items


def test_an_event_is_written_about_its_object(
    api: KubeApi, namespace: str, recorder: EventRecorder, about: Document
) -> None:
    recorder.record(about, "JobStarted", "Attempt 1", action="StartJob", type="Warning")
    assert recorder.flush(30)
    [event] = events_of(api, namespace)
    assert event["regarding"]["uid"] == about["metadata"]["uid"]
    assert (event["type"], event["reason"], event["note"]) == ("Warning", "JobStarted", "Attempt 1")
    assert event.get("series") is None


def test_what_happened_on_one_occasion_is_said_once_also_by_another_process(
    api: KubeApi, namespace: str, recorder: EventRecorder, about: Document
) -> None:
    for _ in range(2):
        recorder.record(about, "JobStarted", "Attempt 1", occasion="job-1")
        assert recorder.flush(30)
    other = recorder_of(api, "pod-2")
    other.start()
    other.record(about, "JobStarted", "Attempt 1", occasion="job-1")
    other.stop(30)
    [event] = events_of(api, namespace)
    assert event["reportingInstance"] == "pod-1"
    assert (recorder.dropped, other.dropped) == (0, 0)


def test_an_event_that_is_refused_is_dropped_and_holds_nothing_up(
    api: KubeApi, namespace: str, recorder: EventRecorder, about: Document
) -> None:
    recorder.record(about, "", "a reason is needed")
    recorder.record(about, "Fine", "and this comes through")
    assert recorder.flush(30)
    assert [event["reason"] for event in events_of(api, namespace)] == ["Fine"]
    assert recorder.dropped == 1


def test_a_storm_of_events_is_bounded(api: KubeApi, about: Document) -> None:
    recorder = recorder_of(api)  # not started: nothing is written meanwhile
    for number in range(5_000):
        recorder.record(about, "Storm", f"Number {number}")
    assert recorder.dropped == 4_000
    recorder.stop()
