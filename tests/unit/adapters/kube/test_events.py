from __future__ import annotations

from typing import Any

from strandline.adapters.kube.events import event_document

ABOUT = {
    "apiVersion": "strandline.dev/v1alpha1",
    "kind": "Search",
    "metadata": {"namespace": "team", "name": "coast", "uid": "u-1"},
}


def event(about: dict[str, Any] = ABOUT, **words: str) -> dict[str, Any]:
    said = {"type": "Normal", "reason": "JobStarted", "note": "Attempt 1", "action": "Start"}
    fixed = {"controller": "strandline.dev/operator", "instance": "pod-1", "at": "2026-01-01"}
    return event_document(about, **{**said, **fixed, **words})


def name(document: dict[str, Any]) -> str:
    return str(document["metadata"]["name"])


def test_saying_the_same_again_has_the_same_name_from_whichever_process_and_time() -> None:
    assert name(event()) == name(event(instance="pod-2", at="2027-01-01"))


def test_another_note_object_or_occasion_has_another_name() -> None:
    again = {**ABOUT, "metadata": {**ABOUT["metadata"], "uid": "u-2"}}  # type: ignore[dict-item]
    names = {
        name(each)
        for each in (event(), event(note="Attempt 2"), event(again), event(occasion="job-1"))
    }
    assert len(names) == 4


def test_an_event_about_an_object_of_the_cluster_goes_to_the_default_namespace() -> None:
    pool = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n-1", "uid": "u"}}
    document = event(pool)
    assert document["metadata"]["namespace"] == "default"
    assert document["regarding"]["namespace"] == ""


def test_long_names_and_notes_are_cut_to_what_the_api_takes() -> None:
    metadata = {"namespace": "team", "name": "a" * 236 + "." + "b" * 16, "uid": "u"}
    document = event({**ABOUT, "metadata": metadata}, note="ü" * 2_000)
    assert len(name(document)) <= 253
    assert ".." not in name(document)
    assert len(document["note"].encode()) <= 1024
    assert document["note"].endswith("ü…")
