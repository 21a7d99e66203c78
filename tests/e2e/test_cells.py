"""From a search over cells to a network trained from nothing, by the commands of a user."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from strandline.adapters.sql import open_catalog
from strandline.ports import Resource

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SEARCH = """
apiVersion: strandline.dev/v1alpha1
kind: Search
metadata: {name: cells}
spec:
  dataset: {name: digits}
  space:
    preset: cells
    family: nasbench201
    network: {imageSize: 8, filters: 4, cells: 1}
    schedule: {epochs: 2, flips: none}
    images: 400
    parameters:
    - {name: learningRate, type: float, min: 0.02, max: 0.2, log: true}
  objectives:
  - {metric: val/precision_at_1, goal: maximize}
  - {metric: multiply_adds, goal: minimize}
  algorithm: {name: predictor-evolution}
  budget: {trials: 6}
  parallelism: 2
"""
TRAINING = """
apiVersion: strandline.dev/v1alpha1
kind: Training
metadata: {name: NAME}
spec:
  dataset: {name: digits}
  cell: {search: cells}
  network: {imageSize: 16, filters: 8, cells: 1}
  schedule: {epochs: 5, flips: none, learningRate: 0.1}
  model: {name: NAME}
"""

SHARED = """
apiVersion: strandline.dev/v1alpha1
kind: Search
metadata: {name: NAME}
spec:
  dataset: {name: digits}
  space:
    preset: cells
    family: nasbench201
    network: {imageSize: 8, filters: 4, cells: 1}
    schedule: {flips: none}
    images: 400
  objectives:
  - {metric: val/precision_at_1, goal: maximize}
  algorithm: {name: ALGORITHM, settings: SETTINGS}
  budget: {trials: 6}
  rerank: {candidates: 2, schedule: {epochs: 3, flips: none}}
  model: {name: NAME}
"""


class Home:
    """A STRANDLINE_HOME and the commands in it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def start(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "strandline", *words],
            env={**os.environ, "STRANDLINE_HOME": str(self.path)},
            capture_output=True,
            text=True,
        )

    def run(self, *words: str) -> str:
        done = self.start(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def read(self, *words: str) -> Any:
        return json.loads(self.run(*words, "-o", "json"))

    def apply(self, text: str) -> None:
        document = self.path.parent / "document.yaml"
        document.write_text(text)
        self.run("apply", "-f", str(document))

    def find(self, kind: str, name: str) -> Resource:
        """Read an object where commands do, which take a second to start."""
        with closing(open_catalog(f"sqlite:///{self.path / 'catalog.sqlite'}")) as catalog:
            return catalog.get_resource(kind, name)

    def log(self, kind: str, name: str) -> str:
        """Return what the job of an object said so far."""
        path = self._run_of(kind, name) / "log.txt"
        return path.read_text("utf-8") if path.exists() else ""

    def kill_job(self, kind: str, name: str) -> None:
        """Kill -9 the job of an object and all its children."""
        os.killpg(int((self._run_of(kind, name) / "pid").read_text()), signal.SIGKILL)

    def _run_of(self, kind: str, name: str) -> Path:
        return self.path / "runs" / f"{kind.lower()}-{self.find(kind, name).uid}"


def test_a_found_cell_is_drawn_and_trained_larger_through_a_kill(
    digits: Path, tmp_path: Path
) -> None:
    home = Home(tmp_path / "home")
    home.run("import", "digits", str(digits))
    home.apply(SEARCH)
    home.run("wait", "search/cells", "--for=condition=Complete", "--timeout=10m")
    status = home.read("get", "search", "cells")["status"]
    assert sum(status["trials"].values()) == 6

    drawing = tmp_path / "cell.svg"
    cell = home.read("search", "cell", "cells", "--draw", str(drawing))
    assert cell["family"] == "nasbench201"
    assert ET.parse(drawing).getroot().tag.endswith("svg")

    home.apply(TRAINING.replace("NAME", "calm"))
    home.run("wait", "training/calm", "--for=condition=Complete", "--timeout=10m")
    home.apply(TRAINING.replace("NAME", "hit"))
    killed_after = _kill_within_epochs(home)
    home.run("wait", "training/hit", "--for=condition=Complete", "--timeout=10m")

    calm, hit = (home.read("get", "training", name)["status"] for name in ("calm", "hit"))
    assert 1 <= killed_after < 5
    assert hit["epoch"] == calm["epoch"] == 5
    assert hit["value"] == calm["value"]
    assert hit["value"] > 0.5

    image = str(next((digits / "3").iterdir()))
    (predicted,) = home.read("predict", "hit", image)
    assert predicted["error"] is None
    evaluated = home.read("evaluate", "hit")
    assert evaluated["metrics"]["precision_at_1"]["value"] > 0.5
    home.run("delete", "training/calm", "training/hit", "search/cells")


def _kill_within_epochs(home: Home) -> int:
    """Kill the job of `hit` after its first epoch; return how many were over."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        epoch = int(home.find("Training", "hit").status.get("epoch", 0))
        if epoch >= 1:
            home.kill_job("Training", "hit")
            return epoch
        time.sleep(0.2)
    raise AssertionError("no epoch was over in five minutes")


@pytest.mark.parametrize(
    ("algorithm", "settings"),
    [("enas", "{epochs: 12, rewards: 5}"), ("darts", "{epochs: 8}")],
)
def test_a_search_whose_networks_share_weights_goes_on_after_a_kill(
    algorithm: str, settings: str, digits: Path, tmp_path: Path
) -> None:
    shared = SHARED.replace("ALGORITHM", algorithm).replace("SETTINGS", settings)
    home = Home(tmp_path / "home")
    home.run("import", "digits", str(digits))
    home.apply(shared.replace("NAME", "calm"))
    home.run("wait", "search/calm", "--for=condition=Complete", "--timeout=10m")
    home.apply(shared.replace("NAME", "hit"))
    deadline = time.monotonic() + 300
    while "sharing weights" not in home.log("Search", "hit"):
        assert time.monotonic() < deadline, home.log("Search", "hit")
        time.sleep(0.2)
    home.kill_job("Search", "hit")
    home.run("wait", "search/hit", "--for=condition=Complete", "--timeout=10m")

    calm, hit = (home.read("get", "search", name)["status"] for name in ("calm", "hit"))
    assert hit["trials"] == calm["trials"]
    assert calm["trials"]["completed"] == 6
    assert hit["reranked"] == calm["reranked"]
    assert len(hit["reranked"]) == 2
    assert hit["best"] == calm["best"]
    image = str(next((digits / "3").iterdir()))
    (predicted,) = home.read("predict", "hit", image)
    assert predicted["error"] is None
    wrong = shared.replace("NAME", "wrong")
    refusals = {"enas and darts need the space preset cells": ("rerank:", "# rerank:")}
    if algorithm == "darts":
        refusals["darts cannot relax the family mbconv"] = ("nasbench201", "mbconv")
    for why, edit in refusals.items():
        (tmp_path / "wrong.yaml").write_text(wrong.replace(*edit))
        done = home.start("apply", "-f", str(tmp_path / "wrong.yaml"))
        assert done.returncode != 0
        assert why in done.stderr
    home.run("delete", "search/calm", "search/hit")
