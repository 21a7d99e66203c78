"""Whatever happens to a search of 200 trials, it leaves what an undisturbed one leaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.servers.ray import SOON_GONE

from strandline.search.registry import ALGORITHMS
from strandline.testing.long_search import TRIALS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def compare(algorithm: str, folder: Path, *options: str) -> dict[str, Any]:
    """Run a search in peace and one in trouble; check that they left the same."""
    done = subprocess.run(
        [sys.executable, "-m", "strandline.testing.long_search", algorithm, str(folder), *options],
        env={**os.environ, **SOON_GONE, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=560,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["suspended"]
    assert found["outages"] > 0
    assert len(found["calm"]) == TRIALS
    assert [row[0] for row in found["hit"]] == list(range(TRIALS)), "a trial was lost"
    for calm, hit in zip(found["calm"], found["hit"], strict=True):
        assert hit == calm
    return found


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_kills_suspension_edits_and_lost_connections_cost_a_search_nothing(
    algorithm: str, tmp_path: Path
) -> None:
    found = compare(algorithm, tmp_path)
    assert found["kills"] > 0, "no kill came before the end"


def test_trials_that_wait_to_be_gone_on_with_outlast_all_that(tmp_path: Path) -> None:
    found = compare("predictor-evolution", tmp_path, "--rule", "freeze-thaw")
    assert found["kills"] > 0, "no kill came before the end"
    states = {row[2] for row in found["calm"]}
    assert states >= {"completed", "pending"}


def test_killed_drivers_and_workers_of_ray_cost_a_search_nothing(tmp_path: Path) -> None:
    found = compare("predictor-evolution", tmp_path, "--ray")
    assert found["kills"] > 0
    assert found["workers"] > 0
