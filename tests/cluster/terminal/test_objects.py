"""`kubectl strandline` on objects: apply, get, describe, delete, wait, logs, lists."""

from __future__ import annotations

import json
import time

import pytest
from tests.cluster.terminal.people import ALL, DATASET, MODEL, SEARCH, Person

from strandline.adapters.kube.resources import PODS
from strandline.spec.attempts import LABEL_ATTEMPT, LABEL_NAME, LABEL_UID
from strandline.spec.conditions import mark_done, mark_failed, mark_working

pytestmark = [pytest.mark.apiserver]


def test_apply_creates_then_changes_nothing_then_configures(ann: Person) -> None:
    text = f"{DATASET}---\n{SEARCH}"
    assert ann.ok("apply", "-f", "-", stdin=text) == "dataset/coast created\nsearch/quick created\n"
    assert ann.ok("apply", "-f", "-", stdin=text).count("unchanged") == 2
    changed = SEARCH.replace("trials: 4", "trials: 5")
    assert ann.ok("apply", "-f", "-", "--dry-run", stdin=changed) == (
        "search/quick configured (dry run)\n"
    )
    assert ann.get("Search", "quick")["spec"]["budget"] == {"trials": 4}
    assert ann.ok("apply", "-f", "-", stdin=changed) == "search/quick configured\n"
    assert ann.get("Search", "quick")["spec"]["budget"] == {"trials": 5}
    assert ann.ok("apply", "-f", "-", "--dry-run", stdin=MODEL) == "model/coast created (dry run)\n"
    assert ann.ok("get", "models", "-o", "name") == ""


def test_what_is_left_out_goes_back_to_the_clusters_default(ann: Person) -> None:
    ann.ok("apply", "-f", "-", stdin=SEARCH.replace("trials: 4}", "trials: 4}, seed: 7"))
    assert ann.get("Search", "quick")["spec"]["seed"] == 7
    ann.ok("apply", "-f", "-", stdin=SEARCH)
    assert ann.get("Search", "quick")["spec"]["seed"] == 0


def test_what_kubectl_applied_is_taken_over(ann: Person) -> None:
    ann.plane.kubectl("apply", "-n", ann.namespace, "-f", "-", stdin=SEARCH)
    assert ann.ok("apply", "-f", "-", stdin=SEARCH) == "search/quick unchanged\n"
    changed = SEARCH.replace("trials: 4", "trials: 9")
    assert ann.ok("apply", "-f", "-", stdin=changed) == "search/quick configured\n"


def test_admission_refuses_with_the_servers_words_and_the_code_of_a_wrong_spec(ann: Person) -> None:
    ann.ok("apply", "-f", "-", stdin=SEARCH)
    text = SEARCH.replace("{dataset: {name: coast}", "{dataset: {name: coast}, model: {name: UP}")
    assert "lower-case" in ann.refused(3, "apply", "-f", "-", stdin=text)


def test_paths_of_this_machine_are_refused_before_anything_is_applied(ann: Person) -> None:
    text = f"{SEARCH}---\n{DATASET.replace('s3://photos/coast', 'photos')}"
    said = ann.refused(3, "apply", "-f", "-", stdin=text)
    assert "stdin, document 2" in said
    assert "s3://BUCKET/PREFIX" in said
    assert ann.ok("get", "all", "-o", "name") == ""


def test_a_documents_namespace_counts_and_one_that_contradicts_is_refused(ann: Person) -> None:
    other = MODEL.replace("coast", "coast, namespace: elsewhere")
    assert "namespace elsewhere" in ann.refused(13, "apply", "-f", "-", stdin=other)
    said = ann.refused(3, "apply", "-n", ann.namespace, "-f", "-", stdin=other)
    assert "say -n elsewhere" in said
    assert "say -n elsewhere" in ann.refused(3, "delete", "-f", "-", stdin=other)
    own = MODEL.replace("coast", f"coast, namespace: {ann.namespace}")
    assert ann.ok("apply", "-f", "-", stdin=own) == "model/coast created\n"


def test_lists_look_as_on_a_laptop(ann: Person) -> None:
    ann.ok("apply", "-f", "-", stdin=ALL)
    ann.say("Search", "quick", mark_working, "Searching", progress="2/4")
    lines = ann.ok("get", "searches").splitlines()
    assert lines[0].split() == [
        *("NAME", "READY", "REASON", "DATASET", "TRIALS", "BEST", "HOURS", "MODEL", "AGE")
    ]
    assert lines[1].split()[:5] == ["quick", "False", "Searching", "coast", "2/4"]
    assert ann.ok("get", "ds,mdl", "-o", "name") == "dataset/coast\nmodel/coast\n"
    assert ann.ok("get", "all", "-l", "stage in (test)", "-o", "name") == "search/quick\n"
    found = json.loads(ann.ok("get", "search/quick", "-o", "json"))
    assert found["metadata"]["namespace"] == ann.namespace
    assert found["metadata"]["resourceVersion"].isdigit()
    assert ann.ok("get", "search", "quick", "-o", "jsonpath={.spec.budget.trials}") == "4\n"
    again = ann.ok("apply", "-f", "-", stdin=ann.ok("get", "all", "-o", "yaml"))
    assert again.count("unchanged") == 3


def test_long_lists_come_in_pages(ann: Person) -> None:
    documents = [MODEL.replace("coast", f"m{n}") for n in range(5)]
    ann.ok("apply", "-f", "-", stdin="---\n".join(documents))
    first = ann.run("get", "models", "--limit", "2", "-o", "name")
    assert first.stdout == "model/m0\nmodel/m1\n"
    assert "--continue m1" in first.stderr
    rest = ann.ok("get", "models", "--continue", "m1", "-o", "name").split()
    assert rest == ["model/m2", "model/m3", "model/m4"]


def test_a_missing_name_is_an_error_after_what_was_found(ann: Person) -> None:
    ann.ok("apply", "-f", "-", stdin=SEARCH)
    result = ann.run("get", "search", "quick", "slow")
    assert (result.exit_code, "quick" in result.stdout) == (4, True)
    assert 'searches "slow" not found' in result.stderr


def test_describe_shows_the_namespace_and_events(ann: Person) -> None:
    ann.ok("apply", "-f", "-", stdin=SEARCH)
    ann.say("Search", "quick", mark_failed, "UnusableData")
    document = ann.get("Search", "quick")
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "e", "namespace": ann.namespace},
        "involvedObject": {
            "apiVersion": document["apiVersion"],
            "kind": "Search",
            "name": "quick",
            "namespace": ann.namespace,
            "uid": document["metadata"]["uid"],
        },
        "type": "Warning",
        "reason": "JobFailed",
        "message": "it broke",
        "lastTimestamp": "2026-01-31T12:00:00Z",
    }
    ann.plane.kubectl("create", "-f", "-", stdin=json.dumps(event))
    page = ann.ok("describe", "search/quick")
    assert f"Namespace:    {ann.namespace}" in page
    assert "UnusableData" in page
    assert "it broke" in page


def test_a_watch_prints_what_is_and_what_changes(ann: Person) -> None:
    ann.ok("apply", "-f", "-", stdin=f"{SEARCH}---\n{DATASET}")
    watching = ann.start("get", "searches", "-w")
    assert watching.stdout is not None
    try:
        assert watching.stdout.readline().startswith("NAME")
        assert watching.stdout.readline().startswith("quick")
        ann.say("Search", "quick", mark_done, "SearchEnded")
        assert "SearchEnded" in watching.stdout.readline()
    finally:
        watching.terminate()
        watching.communicate()


def test_delete_by_name_selector_and_file(ann: Person) -> None:
    ann.ok("apply", "-f", "-", stdin=ALL)
    assert ann.ok("delete", "search", "quick") == 'search "quick" deleted\n'
    assert 'searches "quick" not found' in ann.refused(4, "delete", "search/quick")
    assert ann.ok("delete", "ds", "-l", "team=birds", "-o", "name") == "dataset/coast\n"
    assert ann.ok("delete", "-f", "-", "--ignore-not-found", stdin=ALL) == 'model "coast" deleted\n'


def test_wait_sees_what_comes(ann: Person) -> None:
    ann.ok("apply", "-f", "-", stdin=SEARCH)
    said = ann.refused(1, "wait", "search/quick", "--for=condition=Complete", "--timeout=0")
    assert "timed out" in said
    waiting = ann.start("wait", "search/quick", "--for=condition=Complete", "--timeout=60s")
    time.sleep(1)
    ann.say("Search", "quick", mark_done, "SearchEnded")
    out, _ = waiting.communicate(timeout=60)
    assert (waiting.returncode, out) == (0, "search/quick condition met\n")


def test_wait_ends_at_once_when_it_cannot_come(ann: Person) -> None:
    ann.ok("apply", "-f", "-", stdin=SEARCH)
    waiting = ann.start("wait", "search/quick", "--for=condition=Complete", "--timeout=-1")
    ann.say("Search", "quick", mark_failed, "UnusableData")
    _, said = waiting.communicate(timeout=60)
    assert waiting.returncode == 12
    assert "search/quick failed: UnusableData" in said


def test_wait_for_deletion_and_for_what_is_not_there(ann: Person) -> None:
    ann.ok("apply", "-f", "-", stdin=SEARCH)
    waiting = ann.start("wait", "search/quick", "--for=delete", "--timeout=60s")
    time.sleep(1)
    ann.ok("delete", "search/quick")
    out, _ = waiting.communicate(timeout=60)
    assert (waiting.returncode, out) == (0, "search/quick deleted\n")
    assert ann.ok("wait", "search/quick", "--for=delete") == "search/quick deleted\n"
    said = ann.refused(4, "wait", "search/quick", "--for=condition=Complete")
    assert "not found" in said


def test_a_wait_outlives_a_restart_of_the_apiserver_and_a_forgotten_version(ann: Person) -> None:
    ann.ok("apply", "-f", "-", stdin=SEARCH)
    waiting = ann.start("wait", "search/quick", "--for=condition=Complete", "--timeout=120s")
    ann.until_listed()
    ann.plane.apiserver.stop()
    time.sleep(1)
    ann.plane.apiserver.start()
    ann.plane.etcd.compact()
    ann.say("Search", "quick", mark_done, "SearchEnded")
    out, said = waiting.communicate(timeout=120)
    assert (waiting.returncode, out) == (0, "search/quick condition met\n"), said
    assert "waiting for it" in said


def test_lists_of_verbs_show_what_the_api_knows(ann: Person) -> None:
    ann.import_coast()
    ann.ok("apply", "-f", "-", stdin=f"{MODEL}---\n{SEARCH}")
    assert ann.ok("models", "list").count("\n") == 1
    ann.say(
        "Model",
        "coast",
        mark_done,
        "VersionReady",
        version=2,
        task="multiclass",
        labels=2,
        dataset="coast",
        headline="precision_at_1=0.9000",
    )
    (row,) = ann.ok("datasets", "list").splitlines()[1:]
    assert row.split() == ["coast", "3", "30", "30", "2"]
    (row,) = ann.ok("models", "list").splitlines()[1:]
    assert row.split() == ["coast", "2", "multiclass", "2", "coast", "0.9000"]
    (found,) = json.loads(ann.ok("models", "list", "-o", "json"))
    assert (found["label_count"], found["labels"]) == (2, None)
    (found,) = json.loads(ann.ok("searches", "list", "-o", "json"))
    assert (found["name"], found["state"], found["dataset"]) == ("quick", "Pending", "coast")


def make_pod(ann: Person, attempt: int) -> None:
    uid = ann.get("Search", "quick")["metadata"]["uid"]
    labels = {LABEL_UID: uid, LABEL_NAME: "quick", LABEL_ATTEMPT: str(attempt)}
    metadata = {"name": f"quick-{attempt}", "namespace": ann.namespace, "labels": labels}
    spec = {"containers": [{"name": "job", "image": "example.com/a:1"}]}
    ann.api.create(PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})


def test_logs_say_when_there_are_none(ann: Person) -> None:
    ann.ok("apply", "-f", "-", stdin=ALL)
    assert "search/quick has no log yet" in ann.run("logs", "search/quick").stderr
    assert "no older log" in ann.run("logs", "-p", "quick").stderr
    make_pod(ann, 1)  # nobody starts it here
    assert "search/quick has no log yet" in ann.run("logs", "search/quick").stderr
    assert "search/NAME" in ann.refused(3, "logs", "model/coast")
