"""`kubectl strandline train`, `import` and `search resume`: a document, followed to its end."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest
from tests.cluster.terminal.people import DATASET, SEARCH, Person

from strandline.spec.conditions import mark_done, mark_failed, mark_working

pytestmark = [pytest.mark.apiserver]


def test_train_applies_a_search_and_prints_the_contract(ann: Person) -> None:
    ann.import_coast()
    training = ann.start("train", "coast", "--trials", "4", "--seed", "5", "-o", "json")
    document = ann.until_there("Search", "coast-1")
    spec = document["spec"]
    assert spec["dataset"] == {"name": "coast", "version": 3}
    assert (spec["budget"], spec["seed"]) == ({"time": "2m", "trials": 4}, 5)
    assert spec["model"]["name"] == "coast"
    ann.say("Search", "coast-1", mark_working, "PoolUnsatisfiable")
    time.sleep(1)
    best = {"number": 2, "metric": "val/log_loss", "value": 0.25}
    ann.say(
        "Search",
        "coast-1",
        mark_done,
        "SearchEnded",
        trials={"completed": 3, "pruned": 1},
        best=best,
        model="coast",
        modelVersion=1,
    )
    out, said = training.communicate(timeout=60)
    assert training.returncode == 0, said
    report = json.loads(out)
    assert report.pop("seconds") > 0
    assert report == {
        "search": "coast-1",
        "model": "coast",
        "version": 1,
        "trials": 4,
        "best": {"metric": "val/log_loss", "value": 0.25},
    }
    assert "search/coast-1 created" in said
    assert "PoolUnsatisfiable" in said
    assert "model/coast version 1" in ann.ok(
        "train", "coast", "--trials", "4", "--seed", "5", "--search", "coast-1"
    )
    said = ann.refused(5, "train", "coast", "--trials", "4", "--search", "coast-1")
    assert "another one" in said


def test_a_failed_search_ends_train_with_the_code_of_its_reason(ann: Person) -> None:
    ann.import_coast()
    training = ann.start("train", "coast", "--search", "quick")
    ann.until_there("Search", "quick")
    ann.say("Search", "quick", mark_failed, "UnusableData")
    _, said = training.communicate(timeout=60)
    assert training.returncode == 7
    assert "search/quick failed: UnusableData" in said


def test_ctrl_c_leaves_the_search_to_the_cluster(ann: Person) -> None:
    ann.import_coast()
    training = ann.start("train", "coast", "--search", "quick")
    ann.until_there("Search", "quick")
    time.sleep(2)
    training.send_signal(signal.SIGINT)
    _, said = training.communicate(timeout=60)
    assert training.returncode == 130
    assert "goes on in namespace" in said
    assert ann.get("Search", "quick")["spec"]["suspend"] is False


def test_train_says_when_there_is_no_dataset_or_no_version(ann: Person) -> None:
    assert "not found" in ann.refused(4, "train", "coast")
    ann.ok("apply", "-f", "-", stdin=DATASET)
    assert "has no version yet" in ann.refused(4, "train", "coast")


def test_resume_raises_the_budget_and_nothing_else(ann: Person) -> None:
    ann.ok("apply", "-f", "-", stdin=SEARCH.replace("trials: 4}", "trials: 4}, suspend: true"))
    ann.say("Search", "quick", mark_failed, "FailedRun")
    going = ann.start("search", "resume", "quick", "--trials", "9", "-o", "json")
    end = time.monotonic() + 60
    while ann.get("Search", "quick")["metadata"]["generation"] == 1:
        assert time.monotonic() < end
        time.sleep(0.1)
    spec = ann.get("Search", "quick")["spec"]
    assert (spec["budget"], spec["suspend"]) == ({"trials": 9}, False)
    best = {"number": 0, "metric": "val/log_loss", "value": 0.5}
    ann.say("Search", "quick", mark_done, "SearchEnded", trials={"completed": 9}, best=best)
    out, said = going.communicate(timeout=60)
    assert going.returncode == 0, said
    assert json.loads(out)["trials"] == 9


def test_a_failed_search_is_not_resumed_without_a_change(ann: Person) -> None:
    ann.ok("apply", "-f", "-", stdin=SEARCH)
    ann.say("Search", "quick", mark_failed, "FailedRun")
    assert "--budget or --trials" in ann.refused(3, "search", "resume", "quick")


def test_import_takes_buckets_only(ann: Person, tmp_path: Path) -> None:
    said = ann.refused(3, "import", "coast", str(tmp_path))
    assert "upload it to a bucket" in said
    assert "jobs.resources" in ann.refused(3, "import", "coast", "s3://a/b", "--workers", "2")


def test_import_says_what_came_of_it_when_the_log_is_gone(ann: Person) -> None:
    going = ann.start("import", "coast", "s3://photos/coast", "-o", "json")
    document = ann.until_there("Dataset", "coast")
    assert document["spec"]["source"]["uri"] == "s3://photos/coast"
    ann.say("Dataset", "coast", mark_done, "Imported", version=1)
    out, said = going.communicate(timeout=60)
    assert (going.returncode, out) == (10, "")
    assert "dataset/coast is imported (Imported)" in said
