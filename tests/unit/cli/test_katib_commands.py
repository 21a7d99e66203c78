"""`strandline katib convert` from files, stdin and what cannot be read."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from strandline.cli.main import main
from strandline.spec.documents import parse_documents

EXPERIMENT = """
apiVersion: kubeflow.org/v1beta1
kind: Experiment
metadata: {name: NAME}
spec:
  objective: {type: minimize, objectiveMetricName: loss}
  algorithm: {algorithmName: random}
  maxTrialCount: 12
  parameters:
    - {name: lr, parameterType: double, feasibleSpace: {min: "0.1", max: "1"}}
"""


def experiments(*names: str) -> str:
    return "---".join(EXPERIMENT.replace("NAME", name) for name in names)


def convert(*words: str, text: str | None = None) -> Result:
    return CliRunner().invoke(main, ["katib", "convert", *words], input=text)


def test_searches_go_to_stdout_and_the_report_to_stderr(tmp_path: Path) -> None:
    path = tmp_path / "both.yaml"
    path.write_text(experiments("a", "b"))
    done = convert(str(path), "--dataset", "birds")
    assert done.exit_code == 0
    assert [each.model.metadata.name for each in parse_documents(done.stdout)] == ["a", "b"]
    assert "both.yaml#2" in done.stderr
    assert "spec.parameters[0].feasibleSpace.min" in done.stderr
    assert done.stderr.splitlines()[-1] == ("22 fields: 18 converted, 4 approximated, 6 added")


def test_json_is_one_object_or_a_list_that_can_be_applied() -> None:
    one = json.loads(convert("-", "-o", "json", text=experiments("a")).stdout)
    assert one["kind"] == "Search"
    both = convert("-", "-o", "json", text=experiments("a", "b")).stdout
    assert [each["kind"] for each in json.loads(both)["items"]] == ["Search", "Search"]
    assert len(parse_documents(both)) == 2


def test_the_report_goes_where_it_is_wanted(tmp_path: Path) -> None:
    for name in ("report.json", "report.txt"):
        done = convert("-", "--report", str(tmp_path / name), text=experiments("a"))
        assert parse_documents(done.stdout)
        assert len(done.stderr.splitlines()) == 1
    rows = json.loads((tmp_path / "report.json").read_text())
    assert rows[0] == {
        "document": "stdin#1",
        "field": "apiVersion",
        "value": "kubeflow.org/v1beta1",
        "outcome": "converted",
        "target": "apiVersion",
        "note": "strandline.dev/v1alpha1",
    }
    assert len((tmp_path / "report.txt").read_text().splitlines()) == len(rows) + 1


def test_the_report_may_take_the_place_of_the_searches() -> None:
    assert convert("-", "--report", "-", text=experiments("a")).stdout.startswith("DOCUMENT")
    rows = json.loads(convert("-", "--report", "-", "-o", "json", text=experiments("a")).stdout)
    assert {row["document"] for row in rows} == {"stdin#1"}


def test_values_from_outside_cannot_move_the_cursor() -> None:
    text = experiments("a") + '  evil: "\\e[2Jbye"\n'
    done = convert("-", text=text)
    assert "\x1b" not in done.stderr
    assert r"\x1b[2Jbye" in done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no Katib Experiment"),
        ("a: [", "line 1"),
        ("\x00", "does not allow"),
        ("kind: Experiment\napiVersion: kubeflow.org/v1alpha3\n", "kubeflow.org/v1beta1"),
        (experiments("a").replace('"0.1"', "abc"), "line 10: spec.parameters[0].feasibleSpace.min"),
        (experiments("a", "a").replace("random", "''"), "document 2"),
    ],
)
def test_what_cannot_be_converted_prints_nothing_but_the_reason(text: str, words: str) -> None:
    done = convert("-", text=text)
    assert (done.exit_code, done.stdout) == (3, "")
    assert words in done.stderr


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing = convert(str(tmp_path / "none.yaml"))
    assert (missing.exit_code, "none.yaml does not exist" in missing.stderr) == (4, True)
    folder = convert(str(tmp_path))
    assert (folder.exit_code, "is a folder" in folder.stderr) == (3, True)
    (tmp_path / "large.yaml").write_bytes(b"#" * 2_000_000)
    assert "split it" in convert(str(tmp_path / "large.yaml")).stderr


def test_a_report_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    done = convert("-", "--report", os.path.join(tmp_path, "no", "report"), text=experiments("a"))  # noqa: PTH118
    assert done.exit_code == 3
    assert "cannot be written" in done.stderr


def test_the_documents_read_as_a_person_would_write_them() -> None:
    (document,) = yaml.safe_load_all(convert("-", text=experiments("a")).stdout)
    assert list(document) == ["apiVersion", "kind", "metadata", "spec"]
    assert document["spec"]["algorithm"] == {"name": "random"}
