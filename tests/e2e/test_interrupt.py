"""Ctrl-C in the middle of a training: everything is kept, and the last words say how to go on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from strandline.adapters.sql import SqlCatalog, open_catalog
from strandline.spec.errors import NotFoundError
from strandline.spec.records import Trial, TrialState

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
PATIENCE_SECONDS = 240.0


def list_trials(catalog: SqlCatalog, search: str) -> Sequence[Trial]:
    try:
        return catalog.list_trials(catalog.get_resource("Search", search).uid)
    except NotFoundError:
        return ()


def start(home: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "strandline", *words],
        env={**os.environ, "STRANDLINE_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_ctrl_c_ends_a_training_at_once_and_it_resumes(trained_home: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(trained_home, home)
    catalog = open_catalog(f"sqlite:///{home / 'catalog.sqlite'}")
    limits = ("--trials", "5000", "--budget", "60m", "--preset", "fast")
    training = start(home, "train", "digits", "--search", "s", "--parallelism", "2", *limits)
    give_up = time.monotonic() + PATIENCE_SECONDS
    while sum(trial.ended_at is not None for trial in list_trials(catalog, "s")) < 3:
        assert training.poll() is None, training.communicate()[1]
        assert time.monotonic() < give_up, "no trial ended"
        time.sleep(0.2)

    os.killpg(training.pid, signal.SIGINT)  # as a terminal does: to all of its processes
    out, err = training.communicate(timeout=PATIENCE_SECONDS)
    assert (training.returncode, out) == (130, ""), err
    assert "strandline search resume s" in err
    assert "Traceback" not in err
    kept = list_trials(catalog, "s")
    assert TrialState.RUNNING not in {trial.state for trial in kept}
    assert TrialState.FAILED not in {trial.state for trial in kept}

    wanted = str(len(kept) + 1)
    resumed = start(home, "search", "resume", "s", "--trials", wanted, "-o", "json")
    out, err = resumed.communicate(timeout=PATIENCE_SECONDS)
    assert resumed.returncode == 0, err
    now = {trial.number: trial for trial in list_trials(catalog, "s")}
    assert len(now) == int(wanted)
    assert all(now[trial.number] == trial for trial in kept if trial.ended_at is not None)
    assert json.loads(out)["search"] == "s"
    catalog.close()
