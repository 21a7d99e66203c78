"""A network trained by several workers, by the commands of a user, through a kill."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.e2e.test_cells import Home

from strandline.data.cpu import usable_cpus

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TRAINING = """
apiVersion: strandline.dev/v1alpha1
kind: Training
metadata: {name: NAME}
spec:
  dataset: {name: digits}
  cell:
    family: nasbench201
    genotype: CELL
  network: {imageSize: 8, filters: 4, cells: 1}
  schedule: {epochs: EPOCHS, batchSize: 256, flips: none, learningRate: 0.1}
  workers: WORKERS
"""
EPOCHS = 12
CELL = (
    "{op_0_1: nor_conv_3x3, op_0_2: skip_connect, op_1_2: nor_conv_1x1, "
    "op_0_3: skip_connect, op_1_3: nor_conv_1x1, op_2_3: nor_conv_3x3}"
)


def training(name: str, workers: int, more: str = "") -> str:
    text = TRAINING.replace("NAME", name).replace("CELL", CELL).replace("EPOCHS", str(EPOCHS))
    return text.replace("WORKERS", str(workers)) + more


def test_a_network_of_two_workers_is_the_same_after_a_kill(digits: Path, tmp_path: Path) -> None:
    # Where there is one CPU only, all of this still holds, with one worker.
    home = Home(tmp_path / "home")
    home.run("import", "digits", str(digits))
    home.apply(training("calm", 2, "  minWorkers: 1\n"))
    home.run("wait", "training/calm", "--for=condition=Complete", "--timeout=10m")
    home.apply(training("hit", 2, "  minWorkers: 1\n"))
    killed_after = _kill_within_epochs(home, "hit")
    home.run("wait", "training/hit", "--for=condition=Complete", "--timeout=10m")

    calm, hit = (home.read("get", "training", name)["status"] for name in ("calm", "hit"))
    assert 1 <= killed_after < EPOCHS
    assert calm["epoch"] == hit["epoch"] == EPOCHS
    assert hit["value"] == calm["value"]
    assert hit["deviceHours"] > 0
    assert "workers" not in hit
    if usable_cpus() > 1:
        assert "training on 2 of 2 workers" in home.run("logs", "training/hit")

    home.apply(training("huge", 64))
    home.run("wait", "training/huge", "--for=condition=Failed", "--timeout=5m")
    (stalled,) = (
        each
        for each in home.read("get", "training", "huge")["status"]["conditions"]
        if each["type"] == "Stalled"
    )
    assert stalled["reason"] == "InvalidSpec"
    assert "64 workers are needed and this machine has" in stalled["message"]
    home.run("delete", "training/calm", "training/hit", "training/huge")


def _kill_within_epochs(home: Home, name: str) -> int:
    """Kill the job, with its workers, after its first epoch; return how many were over."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        # Read from the file: an epoch takes less time than a command.
        if over := home.log("Training", name).count("epoch "):
            home.kill_job("Training", name)
            return over
        time.sleep(0.05)
    raise AssertionError("no epoch was over in five minutes")
