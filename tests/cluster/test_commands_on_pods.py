"""`kubectl strandline` where jobs really run: import, train, look, take the model away.

The person has the built-in role `edit` in one namespace, and what the chart adds to it. The
operator runs in this process; all else is as on any cluster.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import yaml
from tests.cluster.cluster import Cluster
from tests.cluster.host_packages import HostPackages
from tests.cluster.installed import (
    PATIENCE_SECONDS,
    SMALL_JOB,
    open_namespace,
    storage_secret,
)
from tests.cluster.operator_place import install_kinds
from tests.cluster.terminal.rights import EDIT_KINDS, VIEW_KINDS, let

from strandline.adapters.kube.api import KubeApi
from strandline.adapters.kube.reader_pod import LABELS
from strandline.compose_cluster import operator
from strandline.spec.operator_config import JOB_SETTINGS, JOB_SETTINGS_KEY, OperatorConfig

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(1800)]


@dataclass
class Desk:
    """Somebody at a terminal, far from the store and the catalog."""

    cluster: Cluster
    namespace: str
    kubeconfig: Path
    home: Path
    jobs: dict[str, Any]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        far = {name: value for name, value in os.environ.items() if "STRANDLINE" not in name}
        return subprocess.run(
            [sys.executable, "-m", "strandline", "--cluster", *words],
            env={**far, "KUBECONFIG": str(self.kubeconfig), "STRANDLINE_HOME": str(self.home)},
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        )

    def ok(self, *words: str) -> str:
        done = self.run(*words)
        assert done.returncode == 0, (words, done.stderr, self._told())
        return done.stdout

    def json(self, *words: str) -> Any:
        return json.loads(self.ok(*words, "-o", "json"))

    def _told(self) -> str:
        return self.cluster.kubectl("get", "pods,jobs,strandline", "-n", self.namespace)


@pytest.fixture(scope="module")
def desk(
    cluster: Cluster, pictures: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Desk]:
    if cluster.site is None:
        pytest.skip("mounts this machine's packages, and KUBECONFIG names a cluster elsewhere")
    folder, namespace, kubectl = tmp_path_factory.mktemp("desk"), "desk", cluster.kubectl
    packages = HostPackages.prepare(cluster, folder / "programs")
    open_namespace(cluster, namespace, packages)
    install_kinds(cluster.kubeconfig)
    catalog = cluster.postgres.make_database()
    storage = {
        **cluster.s3.environ,
        "STRANDLINE_STORE": f"s3://{cluster.s3.make_bucket()}/objects",
        "STRANDLINE_CATALOG": catalog,
    }
    kubectl.apply(storage_secret(namespace, storage))
    let(kubectl, namespace, "bea", EDIT_KINDS, "edit")
    let(kubectl, namespace, "vic", VIEW_KINDS, "view")
    stop = Event()
    jobs = _job_settings(packages)
    running = _operator(cluster, namespace, catalog, jobs)
    running.start_informers()
    running.start_workers(stop)
    try:
        yield Desk(cluster, namespace, _own(cluster, "bea", namespace), folder / "home", jobs)
    finally:
        kubectl("delete", "searches,datasets,models", "--all", "-n", namespace)
        stop.set()
        running.stop(20)
        packages.release(namespace)
        kubectl("delete", "namespace", namespace, "--timeout=180s")
        kubectl("delete", "crd", "--selector", "app.kubernetes.io/part-of=strandline")


def _own(cluster: Cluster, name: str, namespace: str) -> Path:
    kubeconfig = cluster.user(name)
    document = yaml.safe_load(kubeconfig.read_text())
    document["contexts"][0]["context"]["namespace"] = namespace
    kubeconfig.write_text(yaml.safe_dump(document))
    return kubeconfig


def _job_settings(packages: HostPackages) -> dict[str, Any]:
    return {
        "image": packages.image,
        "env": packages.env,
        "volumes": packages.volumes,
        "volumeMounts": packages.mounts,
        "resources": dict.fromkeys(("Dataset", "Search"), SMALL_JOB),
        "graceSeconds": 10,
    }


def _operator(cluster: Cluster, namespace: str, catalog: str, jobs: dict[str, Any]) -> Any:
    config = OperatorConfig.model_validate(
        {
            "namespaces": [namespace],
            "clusterReads": False,
            "projectionSeconds": 0.5,
            "jobs": jobs,
        }
    )
    return operator(config, KubeApi.connect(cluster.kubeconfig), catalog).running


@pytest.fixture(scope="module")
def trained(desk: Desk, pictures: Path) -> dict[str, Any]:
    """What `import` and `train` printed."""
    bucket = desk.cluster.s3.make_bucket()
    for picture in pictures.glob("*/*"):
        name = str(picture.relative_to(pictures))
        desk.cluster.s3.client.fput_object(bucket, name, str(picture))
    desk.cluster.s3.client.fput_object(bucket, "1/broken.png", __file__)
    imported = desk.json("import", "digits", f"s3://{bucket}/")
    searched = desk.json("train", "digits", "--trials", "2", "--budget", "15m", "--preset", "fast")
    return {"import": imported, "train": searched}


def test_import_prints_the_report_of_the_job(trained: dict[str, Any]) -> None:
    report = trained["import"]
    assert (report["dataset"], report["version"], report["items"]) == ("digits", 1, 400)
    assert report["labels"] == [str(number) for number in range(10)]
    assert [each["source"].rpartition("/")[2] for each in report["refused"]] == ["broken.png"]


def test_an_import_of_nothing_usable_prints_why_and_ends_with_the_code_of_a_laptop(
    desk: Desk,
) -> None:
    bucket = desk.cluster.s3.make_bucket()
    desk.cluster.s3.client.fput_object(bucket, "a/broken.png", __file__)
    done = desk.run("import", "nothing", f"s3://{bucket}/", "-o", "json")
    assert done.returncode == 7, done.stderr
    report = json.loads(done.stdout)
    assert (report["version"], report["items"], len(report["refused"])) == (0, 0, 1)


def test_train_prints_the_report_of_the_job(trained: dict[str, Any]) -> None:
    report = trained["train"]
    assert (report["search"], report["model"], report["version"]) == ("digits-1", "digits", 1)
    assert report["trials"] == 2
    assert report["seconds"] > 0


def test_logs_are_those_of_the_newest_job(desk: Desk, trained: dict[str, Any]) -> None:
    said = desk.ok("logs", "search/digits-1")
    assert "report: {" in said
    assert desk.ok("logs", "digits-1", "--tail", "1") == said.splitlines()[-1] + "\n"
    assert desk.ok("logs", "-f", "digits-1") == said


def test_trials_are_read_from_the_catalog(desk: Desk, trained: dict[str, Any]) -> None:
    report = desk.json("search", "progress", "digits-1")
    assert report["counts"]["completed"] == 2
    assert report["best"]["value"] == trained["train"]["best"]["value"]
    assert "2 completed" in desk.ok("search", "progress", "digits-1")


def test_a_model_is_taken_away_and_predicts_here(
    desk: Desk, trained: dict[str, Any], pictures: Path, tmp_path: Path
) -> None:
    (bundle,) = desk.json("export", "digits", "--out", str(tmp_path))["files"]
    unseen = [str(path) for path in sorted(pictures.glob("*/*.png"))[::100]]
    by_name = desk.json("predict", "digits", *unseen)
    assert by_name == desk.json("predict", bundle, *unseen)
    assert len(by_name) == len(unseen)


def test_a_model_is_evaluated_on_what_the_store_holds(
    desk: Desk, trained: dict[str, Any], tmp_path: Path
) -> None:
    page = tmp_path / "report.html"
    found = desk.json("evaluate", "digits", "--report", str(page))
    assert found["dataset"] == "digits"
    assert found["items"] == 80
    assert "precision_at_1" in found["metrics"]
    assert page.stat().st_size > 10_000


def test_errors_of_the_far_catalog_keep_their_code(desk: Desk, trained: dict[str, Any]) -> None:
    done = desk.run("export", "nothing", "--out", "/tmp")
    assert (done.returncode, "no model 'nothing'" in done.stderr) == (4, True)


def test_no_pod_is_left_of_reading(desk: Desk, trained: dict[str, Any]) -> None:
    selector = ",".join(f"{name}={value}" for name, value in LABELS.items())
    found = desk.cluster.kubectl("get", "pods", "-n", desk.namespace, "-l", selector, "-o", "name")
    assert found == ""


def test_who_may_only_look_reads_no_store(desk: Desk, trained: dict[str, Any]) -> None:
    viewer = replace(desk, kubeconfig=_own(desk.cluster, "vic", desk.namespace))
    assert "digits" in viewer.ok("models", "list")
    assert "report: {" in viewer.ok("logs", "digits-1")
    done = viewer.run("export", "digits", "--out", "/tmp")
    assert done.returncode == 13
    assert "role `edit`" in done.stderr


def test_a_search_is_resumed_with_more_trials(desk: Desk, trained: dict[str, Any]) -> None:
    report = desk.json("search", "resume", "digits-1", "--trials", "3")
    assert report["trials"] == 3


def test_reading_goes_on_when_the_jobs_are_gone_by_what_the_chart_tells(
    desk: Desk, trained: dict[str, Any], tmp_path: Path
) -> None:
    desk.cluster.kubectl("delete", "jobs", "--all", "-n", desk.namespace)
    done = desk.run("export", "digits", "--out", str(tmp_path))
    assert (done.returncode, "ConfigMap strandline-jobs" in done.stderr) == (4, True)
    metadata = {"name": JOB_SETTINGS, "namespace": desk.namespace}
    data = {JOB_SETTINGS_KEY: yaml.safe_dump(desk.jobs)}
    desk.cluster.kubectl.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
    )
    assert desk.ok("export", "digits", "--out", str(tmp_path))
