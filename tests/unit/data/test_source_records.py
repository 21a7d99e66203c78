"""JSON records: Vertex AI's and plain JSON Lines, and Label Studio's exports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from strandline.data.sources.entries import Entry, Found, ReadContext
from strandline.data.sources.json_lines import read_json_lines
from strandline.data.sources.label_studio import read_label_studio
from strandline.spec.errors import UnusableDataError
from strandline.spec.records import Refusal, Split

ML_USE = "aiplatform.googleapis.com/ml_use"


def place(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"not opened by a reader")


def read_lines(folder: Path, *records: Any) -> list[Found]:
    place(folder, "a.png", "b.png")
    path = folder / "records.jsonl"
    texts = (each if isinstance(each, str) else json.dumps(each) for each in records)
    path.write_text("\n".join(texts))
    return list(read_json_lines(path, ReadContext()))


def read_tasks(folder: Path, tasks: Any) -> list[Found]:
    path = folder / "export.json"
    path.write_text(tasks if isinstance(tasks, str) else json.dumps(tasks))
    return list(read_label_studio(path, ReadContext()))


def entries(found: list[Found]) -> list[Entry]:
    return [each for each in found if isinstance(each, Entry)]


def refusals(found: list[Found]) -> list[tuple[str, str]]:
    return [(each.source, each.reason) for each in found if isinstance(each, Refusal)]


def answered(image: str, *choices: str, **more: Any) -> dict[str, Any]:
    result = [{"type": "choices", "value": {"choices": list(choices)}}]
    return {"data": {"image": image}, "annotations": [{"result": result, **more}]}


@pytest.mark.parametrize(
    ("use", "split"),
    [("training", Split.TRAIN), ("validation", Split.VALIDATION), ("test", Split.TEST)],
)
def test_vertex_records_give_label_and_split(tmp_path: Path, use: str, split: Split) -> None:
    record = {
        "imageGcsUri": "a.png",
        "classificationAnnotation": {"displayName": "cat"},
        "dataItemResourceLabels": {ML_USE: use},
    }
    (entry,) = entries(read_lines(tmp_path, record))
    assert (entry.source, entry.labels, entry.split) == ("a.png", ("cat",), split)


def test_vertex_records_may_have_several_labels_or_none(tmp_path: Path) -> None:
    several = [{"displayName": "dog"}, {"displayName": "cat"}]
    found = read_lines(
        tmp_path,
        {"imageGcsUri": "a.png", "classificationAnnotations": several},
        {"imageGcsUri": "b.png"},
    )
    assert [each.labels for each in entries(found)] == [("cat", "dog"), None]


def test_plain_records_may_name_a_group(tmp_path: Path) -> None:
    record = {"file": "a.png", "labels": ["x"], "split": "Test", "group": 7}
    (entry,) = entries(read_lines(tmp_path, record))
    assert (entry.labels, entry.split, entry.group) == (("x",), Split.TEST, "7")


@pytest.mark.parametrize(
    "record",
    [
        '{"file": "a.png"',
        "null",
        "[1]",
        '"a.png"',
        "[" * 100_000,
        '{"file": "a.png", "label": "' + "x" * 1_000_000 + '"}',
        {"label": "cat"},
        {"file": 7},
        {"file": "absent.png"},
        {"file": "../a.png"},
        {"file": "\ud800.png"},
        {"file": "x" * 300},
        {"file": "a.png", "labels": [7]},
        {"file": "a.png", "labels": [{"displayName": "cat"}]},
        {"file": "a.png", "label": "\ud800"},
        {"file": "a.png", "label": "a\0b"},
        {"file": "a.png", "split": "holdout"},
        {"file": "a.png", "split": ["train"]},
        {"file": "a.png", "classificationAnnotations": [{"displayName": None}]},
    ],
)
def test_a_line_that_cannot_be_used_is_refused_with_its_number(tmp_path: Path, record: Any) -> None:
    found = read_lines(tmp_path, {"file": "a.png"}, record, {"file": "b.png"})
    ((source, reason),) = refusals(found)
    assert source == "records.jsonl:2"
    assert reason
    assert len(reason) <= 500
    assert [each.source for each in entries(found)] == ["a.png", "b.png"]


def test_choices_of_label_studio_become_labels(tmp_path: Path) -> None:
    place(tmp_path, "a.png", "b.png", "c.png")
    unanswered = {"data": {"image": "c.png"}, "annotations": []}
    found = read_tasks(
        tmp_path, [answered("a.png", "cat"), answered("b.png", "dog", "indoors"), unanswered]
    )
    assert [each.labels for each in entries(found)] == [("cat",), ("dog", "indoors"), None]


def test_the_newest_annotation_that_was_not_cancelled_counts(tmp_path: Path) -> None:
    place(tmp_path, "a.png")
    annotations = [
        answered("", "old")["annotations"][0],
        answered("", "new")["annotations"][0],
        answered("", "cancelled", was_cancelled=True)["annotations"][0],
    ]
    (entry,) = entries(
        read_tasks(tmp_path, [{"data": {"image": "a.png"}, "annotations": annotations}])
    )
    assert entry.labels == ("new",)


def test_regions_and_texts_beside_the_choices_are_ignored(tmp_path: Path) -> None:
    place(tmp_path, "a.png")
    task = answered("a.png", "cat")
    task["annotations"][0]["result"] += [
        {"type": "rectanglelabels", "value": {"rectanglelabels": ["ear"]}},
        {"type": "textarea", "value": {"text": ["blurred"]}},
        None,
    ]
    (entry,) = entries(read_tasks(tmp_path, [task]))
    assert entry.labels == ("cat",)


@pytest.mark.parametrize(
    "address",
    [
        "/data/local-files/?d=photos/a%20b.png",
        "/data/local-files/?d=photos%2Fa+b.png",
        "/data/upload/photos/a b.png",
        "photos/a b.png",
    ],
)
def test_addresses_of_label_studios_own_server_are_found(tmp_path: Path, address: str) -> None:
    place(tmp_path, "photos/a b.png")
    (entry,) = entries(read_tasks(tmp_path, [answered(address, "cat")]))
    assert str(tmp_path / "photos" / "a b.png") in entry.content.identity


@pytest.mark.parametrize(
    ("task", "labels"),
    [
        ({"image": "a.png", "choice": "cat", "id": 1}, ("cat",)),
        ({"image": "a.png", "choice": {"choices": ["dog", "cat"]}, "id": 1}, ("cat", "dog")),
        ({"image": "a.png", "id": 1, "annotator": 1}, None),
    ],
)
def test_the_short_export_is_read_too(tmp_path: Path, task: Any, labels: Any) -> None:
    place(tmp_path, "a.png")
    (entry,) = entries(read_tasks(tmp_path, [task]))
    assert entry.labels == labels


@pytest.mark.parametrize(
    "task",
    [
        None,
        [],
        {},
        {"data": {"image": 7}},
        {"data": {"text": "no address"}},
        answered("/data/local-files/", "cat"),
        answered("/data/local-files/?d=../../etc/passwd", "cat"),
        answered("/data/upload/../../etc/passwd", "cat"),
        answered("https://example.org/a.png", "cat"),
        answered("a.png", "x" * 300),
    ],
)
def test_a_task_that_cannot_be_used_is_refused_with_its_number(tmp_path: Path, task: Any) -> None:
    place(tmp_path, "a.png")
    found = read_tasks(tmp_path, [answered("a.png", "cat"), task, answered("a.png", "cat")])
    ((source, reason),) = refusals(found)
    assert source == "export.json: task 2"
    assert reason
    assert len(entries(found)) == 2


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[" * 100_000, "null", '[{"data": ', "[" + "9" * 2_000_000, "[,]", "\0"],
)
def test_what_is_no_export_is_refused_as_a_whole(tmp_path: Path, text: str) -> None:
    with pytest.raises(UnusableDataError, match="no Label Studio export"):
        read_tasks(tmp_path, text)


def test_an_export_that_is_cut_off_gives_what_came_before_and_says_where(tmp_path: Path) -> None:
    place(tmp_path, "a.png")
    whole = json.dumps([answered("a.png", "cat") for _ in range(3)])
    for cut in (1, 2, 40):
        found = read_tasks(tmp_path, whole[:-cut])
        kept = 3 if cut == 1 else 2
        assert len(entries(found)) == kept
        ((source, reason),) = refusals(found)
        assert source == f"export.json: behind task {kept}"
        assert "cannot be read" in reason


def test_exports_larger_than_what_is_held_at_once_are_read_whole(tmp_path: Path) -> None:
    place(tmp_path, "a.png")
    blanks = " \n" * 5_000
    tasks = [answered("a.png", f"label {n}", note="é" * 30_000) for n in range(20)]
    text = blanks + json.dumps(tasks, ensure_ascii=False).replace("}, {", "}" + blanks + ", {")
    found = read_tasks(tmp_path, text + blanks)
    assert refusals(found) == []
    assert [each.labels for each in entries(found)] == [(f"label {n}",) for n in range(20)]


def test_an_empty_export_gives_nothing(tmp_path: Path) -> None:
    assert entries(read_tasks(tmp_path, "[ ]")) == []
