"""`kubectl strandline`: who may do what, where, and what is said when it cannot be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from tests.cluster.control_plane import ControlPlane
from tests.cluster.kubectl import Kubectl, KubectlError
from tests.cluster.terminal.people import MODEL, SEARCH, MakePerson, Person
from tests.cluster.terminal.rights import VIEW
from tests.servers.loopback import free_port

from strandline.cli.main import main

pytestmark = [pytest.mark.apiserver]

PLUGIN = "from strandline.cli.main import kubectl_main; kubectl_main()"


def test_a_viewer_may_look_and_is_told_whom_to_ask_for_more(make_person: MakePerson) -> None:
    viewer = make_person(VIEW)
    assert viewer.ok("get", "all", "-o", "name") == ""
    said = viewer.refused(13, "apply", "-f", "-", stdin=MODEL)
    assert f"role `edit` (`view` to look on) in namespace {viewer.namespace}" in said
    assert "Traceback" not in said


def test_who_has_no_rights_is_told_so_by_every_verb(make_person: MakePerson) -> None:
    nobody = make_person([])
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
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    kubectl = Kubectl(ann.kubeconfig)
    assert kubectl("strandline", "get", "searches", "-o", "name") == "search/quick\n"
    assert kubectl("strandline", "get", "srch/quick", "-o", "name", "-n", ann.namespace)
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
