"""The whole way on a whole cluster: helm install, kubectl apply, a model that predicts.

Every test here has the same release, and they run in this order: the last one takes it away.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from tests.cluster.installed import POOL, PRICE, SYSTEM, Installation, search
from tests.cluster.kubectl import KubectlError
from tests.deploy.chart import RELEASE

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(1800)]

ABSENT = ("--ignore-not-found", "-o", "name")
TRIALS = 4
"""Of the first Search."""


def test_the_release_says_that_it_is_well(installation: Installation) -> None:
    said = installation.helm("test", RELEASE, "--namespace", SYSTEM, "--logs")
    assert "Phase:          Succeeded" in said
    assert "written, read, removed" in said


def test_a_search_on_the_cluster_finds_what_a_laptop_finds(
    installation: Installation, pictures: Path, tmp_path: Path
) -> None:
    documents = [installation.dataset, search("first", TRIALS)]
    installation.apply(*documents)
    imported = installation.complete("dataset", "digits", "Ready")["status"]
    assert (imported["items"], imported["labels"]) == (400, 10)
    done = installation.complete("searches", "first")["status"]
    assert done["trials"]["completed"] == TRIALS
    assert [(each["name"], each["wanted"]) for each in done["pools"]] == [(POOL, 1)]
    assert done["cost"] == pytest.approx(done["deviceHours"] * PRICE, abs=1e-5)

    file = tmp_path / "both.yaml"
    file.write_text(yaml.safe_dump_all(documents), "utf-8")
    home = tmp_path / "laptop"
    installation.laptop(home, "apply", "-f", str(file))
    installation.laptop(home, "wait", "search/first", "--for=condition=Complete", "--timeout=15m")
    same = json.loads(installation.laptop(home, "get", "search", "first", "-o", "json"))["status"]
    assert (done["best"], done["trials"]) == (same["best"], same["trials"])

    unseen = [str(path) for path in sorted(pictures.glob("*/*.png"))[::40]]
    answers = json.loads(installation.laptop(home, "predict", "first", *unseen, "-o", "json"))
    bundle = tmp_path / "first.bundle"
    installation.download_bundle("first", bundle)
    also = json.loads(installation.laptop(home, "predict", str(bundle), *unseen, "-o", "json"))
    assert also == answers


def test_an_upgrade_leaves_a_running_search_alone(installation: Installation) -> None:
    installation.apply(search("second", TRIALS))
    installation.until(lambda: installation.completed("second") > 0)
    (driver,) = installation.drivers("second")
    (old,) = installation.operators()
    installation.upgrade(commonLabels={"release": "next"})
    (new,) = installation.operators()
    assert new["metadata"]["uid"] != old["metadata"]["uid"]
    done = installation.complete("searches", "second")
    assert done["status"]["trials"]["completed"] == TRIALS
    drivers = installation.drivers("second")
    assert [each["metadata"]["uid"] for each in drivers] == [driver["metadata"]["uid"]]


def test_who_has_rights_in_one_namespace_installs_and_searches_there(
    installation: Installation,
) -> None:
    theirs = installation.of_one_namespace("team-b", "bea")
    with pytest.raises(KubectlError, match="forbidden"):
        theirs.kubectl("get", "nodes")
    theirs.install()
    try:
        theirs.apply(theirs.dataset, search("alone", 2, pools=()))
        done = theirs.complete("searches", "alone")["status"]
        assert done["trials"]["completed"] == 2
        assert theirs.get("models", "alone")["status"]["version"] == 1
        assert not installation.kubectl("get", "models", "alone", "-n", installation.team, *ABSENT)
    finally:
        theirs.remove()


def test_what_is_left_of_a_release_goes_on_with_the_next_one(installation: Installation) -> None:
    before = installation.get("searches", "first")["status"]
    installation.uninstall()
    installation.until(lambda: not installation.pods(SYSTEM, ""))
    assert installation.get("datasets", "digits")["status"]["items"] == 400
    assert installation.get("models", "first")["status"]["version"] == 1
    assert installation.get("searches", "first")["status"] == before

    installation.install()
    installation.apply(search("first", TRIALS + 1))
    installation.until(lambda: installation.completed("first") == TRIALS + 1)
    installation.complete("searches", "first")
