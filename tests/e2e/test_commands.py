"""The contract for scripts, kept by the real commands on real images."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from strandline.spec.progress import ProgressReport
from strandline.spec.records import TrialState

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def strandline(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "strandline", *words],
        env={**os.environ, "STRANDLINE_HOME": str(home)},
        capture_output=True,
        text=True,
    )


def as_json(home: Path, *words: str) -> Any:
    done = strandline(home, *words, "-o", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_import_prints_its_contract_and_again_changes_nothing(
    trained_home: Path, digits: Path
) -> None:
    report = as_json(trained_home, "import", "digits", str(digits))
    assert {
        "dataset",
        "version",
        "digest",
        "items",
        "labels",
        "refused",
        "exact_duplicates",
        "near_duplicate_groups",
    } <= set(report)
    assert (report["version"], report["items"], len(report["labels"])) == (1, 1797, 10)


def test_evaluate_prints_its_contract_with_intervals(trained_home: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    found = as_json(trained_home, "evaluate", "digits", "--report", str(page))
    assert {"model", "dataset", "items", "metrics", "abstention", "labels", "confusion"} <= set(
        found
    )
    for name in ("precision_at_1", "auc_pr", "auc_roc", "log_loss", "ece"):
        metric = found["metrics"][name]
        assert metric["low"] <= metric["value"] <= metric["high"]
    assert {"threshold", "coverage", "error"} <= set(found["abstention"])
    assert sum(map(sum, found["confusion"])) == found["items"]
    assert found["metrics"]["precision_at_1"]["value"] > 0.9
    assert "<html" in page.read_text()


def test_search_progress_is_told_as_text_json_and_page(trained_home: Path, tmp_path: Path) -> None:
    (name,) = [each["name"] for each in as_json(trained_home, "searches", "list")]
    told = strandline(trained_home, "search", "progress", name)
    assert told.returncode == 0, told.stderr
    assert "best val/log_loss" in told.stdout
    assert "no forecast: 2 trials have a value" in told.stdout
    page = tmp_path / "progress.html"
    written = strandline(trained_home, "search", "progress", name, "--report", str(page))
    assert written.returncode == 0, written.stderr
    assert f"<title>Search {name}</title>" in page.read_text()
    again = strandline(trained_home, "search", "progress", name, "--report", str(page))
    assert again.returncode == 5
    assert "--force" in again.stderr
    found = ProgressReport.model_validate(as_json(trained_home, "search", "progress", name))
    assert found.counts[TrialState.COMPLETED] == 2
    assert strandline(trained_home, "search", "progress", "nobody").returncode == 4


def test_lists_name_what_was_made(trained_home: Path) -> None:
    assert [each["dataset"] for each in as_json(trained_home, "datasets", "list")] == ["digits"]
    assert [each["model"] for each in as_json(trained_home, "models", "list")] == ["digits"]
    (search,) = as_json(trained_home, "searches", "list")
    assert (search["name"], search["state"], search["trials"]) == ("digits-1", "Complete", 2)


def test_one_bundle_gives_the_same_scores_by_command_python_and_plain_onnxruntime(
    trained_home: Path, trained_bundle: Path, one_image: Path, tmp_path: Path
) -> None:
    from strandline import predict

    (by_command,) = as_json(trained_home, "predict", "digits", str(one_image))
    (by_python,) = predict(str(trained_bundle), [one_image])
    as_json(trained_home, "export", "digits", "--format", "onnx", "--out", str(tmp_path / "onnx"))
    (graph,) = (tmp_path / "onnx").glob("*.onnx")
    session = onnxruntime.InferenceSession(str(graph))
    pixels = np.asarray(Image.open(one_image).convert("RGB"))[None]
    scores = np.sort(session.run(["scores"], {"images": pixels})[0][0])[::-1]
    commanded = [each["score"] for each in by_command["predictions"]]
    pythonic = [each.score for each in by_python.predictions]
    np.testing.assert_allclose(commanded, scores[: len(commanded)], atol=1e-6)
    np.testing.assert_allclose(pythonic, scores[: len(pythonic)], atol=1e-6)


def test_a_bundle_with_one_flipped_byte_is_refused_with_the_reason(
    trained_bundle: Path, one_image: Path, tmp_path: Path
) -> None:
    data = bytearray(trained_bundle.read_bytes())
    data[len(data) // 2] ^= 1
    broken = tmp_path / "broken.strandline"
    broken.write_bytes(data)
    done = strandline(tmp_path / "home", "predict", str(broken), str(one_image))
    assert done.returncode == 8
    assert "error:" in done.stderr
    assert done.stdout == ""


def test_a_bad_image_gets_its_reason_and_the_rest_goes_on(
    trained_bundle: Path, one_image: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    words = ("predict", str(trained_bundle), str(bad), str(one_image))
    failed, good = as_json(tmp_path / "home", *words)
    assert failed["error"]
    assert not failed["predictions"]
    assert good["error"] is None
    assert good["predictions"]


def test_an_import_without_images_tells_each_reason_and_fails(tmp_path: Path) -> None:
    folder = tmp_path / "pictures" / "cat"
    folder.mkdir(parents=True)
    (folder / "a.jpg").write_text("text")
    done = strandline(tmp_path / "home", "import", "cats", str(tmp_path / "pictures"), "-o", "json")
    assert done.returncode == 7
    (refused,) = json.loads(done.stdout)["refused"]
    assert refused["source"] == "cat/a.jpg"
    assert "text" in refused["reason"]


def test_training_on_nothing_says_what_to_do(tmp_path: Path) -> None:
    done = strandline(tmp_path / "home", "train", "nothing")
    assert done.returncode == 4
    assert "nothing" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_applied_search_is_run_in_the_background_and_waited_for(
    digits: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    documents = f"""
apiVersion: strandline.dev/v1alpha1
kind: Dataset
metadata: {{name: numbers}}
spec:
  source: {{uri: {digits}}}
---
apiVersion: strandline.dev/v1alpha1
kind: Search
metadata: {{name: quick}}
spec:
  dataset: {{name: numbers}}
  space: {{preset: transfer, effort: fast}}
  budget: {{trials: 1}}
  model: {{name: numbers}}
"""
    path = tmp_path / "both.yaml"
    path.write_text(documents)
    applied = strandline(home, "apply", "-f", str(path), "-o", "name")
    assert applied.returncode == 0, applied.stderr
    assert applied.stdout.split() == ["dataset/numbers", "search/quick"]
    waited = strandline(home, "wait", "search/quick", "--for=condition=Complete", "--timeout=10m")
    assert waited.returncode == 0, strandline(home, "logs", "search/quick").stdout + waited.stderr
    status = as_json(home, "get", "search", "quick")["status"]
    assert status["model"] == "numbers"
    assert status["trials"]["completed"] == 1
    assert as_json(home, "get", "model", "numbers")["status"]["versions"] == 1
    image = str(next((digits / "3").iterdir()))
    (predicted,) = as_json(home, "predict", "numbers", image)
    assert predicted["error"] is None
    deleted = strandline(home, "delete", "-f", str(path))
    assert deleted.returncode == 0, deleted.stderr


def test_a_budget_raised_while_the_agent_runs_a_search_is_taken_up_by_its_job(
    digits: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    assert strandline(home, "import", "numbers", str(digits)).returncode == 0
    path = tmp_path / "search.yaml"

    def apply(trials: int) -> None:
        path.write_text(
            f"""
apiVersion: strandline.dev/v1alpha1
kind: Search
metadata: {{name: longer}}
spec:
  dataset: {{name: numbers}}
  space: {{preset: transfer, effort: fast}}
  earlyStopping: {{name: none}}
  budget: {{trials: {trials}}}
"""
        )
        applied = strandline(home, "apply", "-f", str(path))
        assert applied.returncode == 0, applied.stderr

    apply(50)
    give_up = time.monotonic() + 300
    while "trial 0 " not in strandline(home, "logs", "search/longer").stdout:
        assert time.monotonic() < give_up, "no trial ended"
        time.sleep(0.5)
    apply(4)
    waited = strandline(home, "wait", "search/longer", "--for=condition=Complete", "--timeout=10m")
    assert waited.returncode == 0, waited.stderr
    found = as_json(home, "get", "search", "longer")
    assert found["status"]["observedGeneration"] == found["metadata"]["generation"] == 2
    assert 4 <= sum(found["status"]["trials"].values()) < 50
    described = strandline(home, "describe", "search", "longer").stdout
    assert described.count("JobStarted") == 1
