"""`kubectl strandline` on a real apiserver, by a user who has rights in one namespace only."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from tests.cluster.control_plane import ControlPlane
from tests.cluster.operator_place import bare_plane
from tests.cluster.people import EDIT_KINDS, LOOK_AT_PODS, VIEW_KINDS, let
from tests.servers.loopback import free_port

from strandline.adapters.kube.api import KubeApi
from strandline.adapters.kube.kinds import TYPES
from strandline.adapters.kube.resources import PODS, ObjectKey
from strandline.cli.main import main
from strandline.spec.attempts import LABEL_ATTEMPT, LABEL_NAME, LABEL_UID
from strandline.spec.conditions import Why, mark_done, mark_failed, mark_working

pytestmark = [pytest.mark.apiserver]

HEAD = "apiVersion: strandline.dev/v1alpha1\n"
DATASET = HEAD + "kind: Dataset\nmetadata: {name: coast, labels: {team: birds}}\n"
DATASET += "spec: {source: {uri: 's3://photos/coast'}}\n"
SEARCH = HEAD + "kind: Search\nmetadata: {name: quick, labels: {team: birds, stage: test}}\n"
SEARCH += "spec: {dataset: {name: coast}, budget: {trials: 4}}\n"
MODEL = HEAD + "kind: Model\nmetadata: {name: coast}\n"
ALL = f"{DATASET}---\n{SEARCH}---\n{MODEL}"
_numbers = count()
PLUGIN = "from strandline.cli.main import kubectl_main; kubectl_main()"

EDIT = [*EDIT_KINDS, LOOK_AT_PODS]
VIEW = [*VIEW_KINDS, LOOK_AT_PODS]


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with bare_plane(tmp_path_factory.mktemp("commands")) as plane:
        yield plane


@dataclass
class Person:
    """Somebody at a terminal, and an administrator who plays the operator."""

    plane: ControlPlane
    namespace: str
    kubeconfig: Path

    def __post_init__(self) -> None:
        self.api = KubeApi.connect(self.plane.kubeconfig)

    def run(self, *words: str, stdin: str | None = None) -> Result:
        head = ["--cluster", "--kubeconfig", str(self.kubeconfig)]
        return CliRunner().invoke(main, [*head, *words], input=stdin)

    def ok(self, *words: str, stdin: str | None = None) -> str:
        result = self.run(*words, stdin=stdin)
        assert result.exit_code == 0, result.output + repr(result.exception)
        return result.stdout

    def refused(self, code: int, *words: str, stdin: str | None = None) -> str:
        result = self.run(*words, stdin=stdin)
        assert result.exit_code == code, result.output + repr(result.exception)
        return result.stderr

    def start(self, *words: str) -> subprocess.Popen[str]:
        head = ["--cluster", "--kubeconfig", str(self.kubeconfig)]
        return subprocess.Popen(
            [sys.executable, "-m", "strandline", *head, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def get(self, kind: str, name: str) -> Any:
        return self.api.get(TYPES[kind], ObjectKey(self.namespace, name))

    def until_there(self, kind: str, name: str) -> Any:
        end = time.monotonic() + 60
        while True:
            found = self.api.list_all(TYPES[kind], self.namespace).items
            for each in found:
                if each["metadata"]["name"] == name:
                    return each
            assert time.monotonic() < end, f"no {kind} {name}"
            time.sleep(0.1)

    def until_listed(self) -> None:
        """Wait until the person's command has listed what it is going to watch."""
        path = f"/namespaces/{self.namespace}/searches?fieldSelector="
        end = time.monotonic() + 60
        while path not in self.plane.audit_log.read_text("utf-8"):
            assert time.monotonic() < end
            time.sleep(0.1)

    def say(
        self, kind: str, name: str, mark: Callable[..., Any], reason: str, **fields: Any
    ) -> None:
        document = self.get(kind, name)
        why = Why(reason, f"{reason}.", document["metadata"]["generation"], _now())
        status = {**mark(document.get("status") or {}, why), **fields}
        self.api.patch_merge(
            TYPES[kind],
            ObjectKey(self.namespace, name),
            {"status": status},
            subresource="status",
        )


def _now() -> Any:
    from strandline.adapters.clock import SystemClock

    return SystemClock().now()


@pytest.fixture
def make_person(kinds: ControlPlane, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.setenv("STRANDLINE_HOME", str(tmp_path / "never-made"))
    monkeypatch.delenv("KUBECONFIG", raising=False)

    def make(rules: list[Any]) -> Person:
        number = next(_numbers)
        namespace, name = f"people-{number}", f"ann-{number}"
        kinds.kubectl.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        )
        let(kinds.kubectl, namespace, name, rules)
        kubeconfig = kinds.user(name)
        document = yaml.safe_load(kubeconfig.read_text())
        document["contexts"][0]["context"]["namespace"] = namespace
        kubeconfig.write_text(yaml.safe_dump(document))
        return Person(kinds, namespace, kubeconfig)

    yield make
    assert not (tmp_path / "never-made").exists(), "a cluster's command made a home here"


@pytest.fixture
def ann(make_person: Any) -> Person:
    made: Person = make_person(EDIT)
    return made


# ---------------------------------------------------------------- apply and get


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


# ---------------------------------------------------------------- delete and wait


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


# ---------------------------------------------------------------- following


def in_background(work: Callable[[], None]) -> Thread:
    thread = Thread(target=work, daemon=True)
    thread.start()
    return thread


def imported(ann: Person) -> None:
    ann.ok("apply", "-f", "-", stdin=DATASET)
    ann.say("Dataset", "coast", mark_done, "Imported", version=3, items=30, labels=2, labeled=30)


def test_train_applies_a_search_and_prints_the_contract(ann: Person) -> None:
    imported(ann)
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
    imported(ann)
    training = ann.start("train", "coast", "--search", "quick")
    ann.until_there("Search", "quick")
    ann.say("Search", "quick", mark_failed, "UnusableData")
    _, said = training.communicate(timeout=60)
    assert training.returncode == 7
    assert "search/quick failed: UnusableData" in said


def test_ctrl_c_leaves_the_search_to_the_cluster(ann: Person) -> None:
    import signal

    imported(ann)
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


# ---------------------------------------------------------------- lists


def test_lists_of_verbs_show_what_the_api_knows(ann: Person) -> None:
    imported(ann)
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


# ---------------------------------------------------------------- logs


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


# ---------------------------------------------------------------- refusals


def test_a_viewer_may_look_and_is_told_whom_to_ask_for_more(make_person: Any) -> None:
    viewer: Person = make_person(VIEW)
    assert viewer.ok("get", "all", "-o", "name") == ""
    said = viewer.refused(13, "apply", "-f", "-", stdin=MODEL)
    assert f"role `edit` (`view` to look on) in namespace {viewer.namespace}" in said
    assert "Traceback" not in said


def test_who_has_no_rights_is_told_so_by_every_verb(make_person: Any) -> None:
    nobody: Person = make_person([])
    for words in (
        ["get", "searches"],
        ["get", "searches", "-w"],
        ["describe", "search/quick"],
        ["delete", "search/quick"],
        ["wait", "search/quick", "--for=delete"],
        ["logs", "quick"],
        ["searches", "list"],
        ["train", "coast"],
        ["import", "coast", "s3://a/b"],
        ["search", "resume", "quick"],
    ):
        assert "cannot" in nobody.refused(13, *words), words


def test_who_is_not_known_signs_in_anew(ann: Person) -> None:
    document = yaml.safe_load(ann.kubeconfig.read_text())
    document["users"][0]["user"] = {"token": "no-such-token"}
    ann.kubeconfig.write_text(yaml.safe_dump(document))
    assert "sign in" in ann.refused(13, "get", "searches")


def test_a_cluster_that_is_not_there_is_named(ann: Person) -> None:
    document = yaml.safe_load(ann.kubeconfig.read_text())
    address = f"https://127.0.0.1:{free_port()}"
    document["clusters"][0]["cluster"]["server"] = address
    ann.kubeconfig.write_text(yaml.safe_dump(document))
    said = ann.refused(10, "get", "searches")
    assert f"{address} does not answer" in said
    assert "--context" in said


def test_a_cluster_without_our_kinds_says_what_to_install(control_plane: ControlPlane) -> None:
    words = ["--cluster", "--kubeconfig", str(control_plane.kubeconfig)]
    for verb in (["get", "searches"], ["wait", "search/a", "--for=delete"]):
        result = CliRunner().invoke(main, [*words, *verb])
        assert result.exit_code == 9, result.output
        assert "manifests/crds" in result.stderr


def test_options_of_kubectl_stand_after_the_verb_as_well(ann: Person) -> None:
    ann.ok("apply", "-f", "-", stdin=SEARCH)
    words = ["get", "searches", "-o", "name", "--kubeconfig", str(ann.kubeconfig)]
    done = subprocess.run(
        [sys.executable, "-c", PLUGIN, *words, "-n", ann.namespace],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "search/quick\n"), done.stderr


def test_the_plugin_takes_the_kubeconfig_context_and_namespace_of_kubectl(
    ann: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann.ok("apply", "-f", "-", stdin=SEARCH)
    plugin = tmp_path / "kubectl-strandline"
    plugin.write_text(f"#!{sys.executable}\n{PLUGIN}\n")
    plugin.chmod(0o755)
    import os

    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    kubectl = type(ann.plane.kubectl)(ann.kubeconfig)
    assert kubectl("strandline", "get", "searches", "-o", "name") == "search/quick\n"
    assert kubectl("strandline", "get", "srch/quick", "-o", "name", "-n", ann.namespace)
    from tests.cluster.kubectl import KubectlError

    with pytest.raises(KubectlError, match="cannot"):
        kubectl("strandline", "get", "searches", "-n", "default")


def test_names_are_completed_from_the_cluster(ann: Person) -> None:
    ann.ok("apply", "-f", "-", stdin=SEARCH)
    done = subprocess.run(
        [
            *(sys.executable, "-c"),
            "from strandline.cli.main import complete_for_kubectl; complete_for_kubectl()",
            *("--kubeconfig", str(ann.kubeconfig), "search", "resume", "q"),
        ],
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines() == ["quick", ":4"], done.stderr
