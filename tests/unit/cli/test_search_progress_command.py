"""`strandline search progress` on a search that ran, in a real catalog."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import strandline
from strandline import compose
from strandline.cli.agent import AGENT_SWITCH
from strandline.cli.main import main
from strandline.jobs.status import change_status
from strandline.learn.progress_report import render_progress
from strandline.spec.errors import AlreadyExistsError, NotFoundError, outcome_of
from strandline.spec.progress import ProgressReport
from strandline.spec.records import Failure, FailureKind, Trial, TrialState
from strandline.spec.settings import load_settings

SEARCH = """apiVersion: strandline.dev/v1alpha1
kind: Search
metadata: {name: coast}
spec:
  dataset: {name: birds}
  objectives:
    - {metric: val/auc_pr, goal: maximize}
    - {metric: latency_ms, goal: minimize, limit: 20}
  budget: {trials: 100}
"""
HOSTILE = "<script>alert(1)</script> \x1b[31mred"
Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Commands in a home that holds search `coast`: sixty trials, two of them dead."""
    monkeypatch.setenv("STRANDLINE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv(AGENT_SWITCH, "off")
    monkeypatch.chdir(tmp_path)

    def invoke(*words: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(main, words, input=stdin)

    assert invoke("apply", "-f", "-", stdin=SEARCH).exit_code == 0
    place = compose.local(load_settings())
    uid = place.catalog.get_resource("Search", "coast").uid
    for trial in _trials(uid):
        place.catalog.record_trial(trial)
    return invoke


def _trials(uid: str) -> list[Trial]:
    rng, start = np.random.default_rng(0), datetime(2026, 1, 1, tzinfo=UTC)
    trials = []
    for n in range(60):
        rate, head = float(rng.random()), str(rng.choice(["linear", "knn"]))
        trial = Trial(
            search=uid,
            number=n,
            candidate={"rate": rate, "head": head},
            state=TrialState.COMPLETED,
            step=1,
            metrics={"val/auc_pr": 0.5 + 0.4 * rate, "latency_ms": 5 + 20 * rate},
            seconds=3.0,
            ended_at=start + timedelta(seconds=n),
        )
        trials.append(trial)
    failure = Failure(kind=FailureKind.OUT_OF_MEMORY, message=HOSTILE)
    dead = {"state": TrialState.FAILED, "metrics": {}, "failure": failure}
    return [*trials[:58], *(trial.model_copy(update=dead) for trial in trials[58:])]


def test_the_terminal_tells_the_best_the_outlook_the_choices_the_front_and_the_deaths(
    run: Run,
) -> None:
    done = run("search", "progress", "coast")
    assert done.exit_code == 0, done.exception
    for told in (
        "58 completed, 2 failed",
        "best val/auc_pr",
        "twice the budget",
        "rate",
        "trials that no other one betters",
        "2 died: out-of-memory, trial 59",
    ):
        assert told in done.stdout
    assert "\x1b" not in done.stdout


def test_the_json_is_the_model_that_python_returns(run: Run) -> None:
    printed = run("search", "progress", "coast", "-o", "json").stdout
    found = ProgressReport.model_validate_json(printed)
    assert found == strandline.search_progress("coast")
    assert json.loads(printed)["search"] == "coast"
    assert all(t.within_limits and t.values["latency_ms"] <= 20 for t in found.front)


def test_the_page_stands_alone_and_shows_names_as_text(run: Run, tmp_path: Path) -> None:
    assert run("search", "progress", "coast", "--report", "out.html").exit_code == 0
    page = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    assert page.count('class="chart"') == 4  # over trials, over time, front, importances


def test_the_curve_goes_on_to_where_the_forecast_begins(run: Run) -> None:
    found = strandline.search_progress("coast")
    assert found.best is not None
    assert found.best.ended < 60  # or there would be nothing to go on for
    chart = render_progress(found).split('class="chart"')[1]
    lines, bands = (
        [[tuple(map(float, each.split(","))) for each in points.split()] for points in told]
        for told in (
            re.findall(rf'<{shape}[^>]* points="([^"]+)"', chart)
            for shape in ("polyline", "polygon")
        )
    )
    assert lines[-1][-1] == bands[0][0]


def test_what_full_training_chose_is_told_in_the_terminal_and_on_the_page(
    run: Run, tmp_path: Path
) -> None:
    values = {3: 0.91, 8: 0.88, 5: 0.75}
    told = {
        "reranked": [
            {"number": n, "metric": "val/auc_pr", "value": value} for n, value in values.items()
        ],
        "proxy": {
            "trials": 12,
            "rankCorrelation": 0.625,
            "low": 0.1,
            "high": 0.9,
            "costRatio": 5.0,
        },
    }
    catalog = compose.local(load_settings()).catalog
    change_status(catalog, "Search", "coast", lambda row: {**row.status, **told})
    lines = run("search", "progress", "coast", "--report", "out.html").stdout.splitlines()
    start = lines.index("after full training, the chosen trial first:")
    rows = [line.split() for line in lines[start + 2 : start + 5]]
    assert [(int(row[0]), float(row[1])) for row in rows] == [*values.items()]
    assert "12 trials drawn at random" in lines[start + 5]
    page = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert page.count('class="chart"') == 5
    assert "3, chosen" in page
    assert "12 trials drawn at random" in page


def test_a_page_that_is_there_is_replaced_only_when_told_so(run: Run, tmp_path: Path) -> None:
    (tmp_path / "out.html").write_text("mine")
    words = ("search", "progress", "coast", "--report", "out.html")
    refused = run(*words)
    assert refused.exit_code == outcome_of(AlreadyExistsError("")).exit_code
    assert "--force" in refused.stderr
    assert (tmp_path / "out.html").read_text() == "mine"
    assert run(*words, "--force").exit_code == 0
    assert "<html" in (tmp_path / "out.html").read_text()


def test_an_unknown_search_is_not_found_and_leaves_no_page(run: Run, tmp_path: Path) -> None:
    done = run("search", "progress", "cost", "--report", "out.html")
    assert done.exit_code == outcome_of(NotFoundError("")).exit_code
    assert "cost" in done.stderr
    assert not (tmp_path / "out.html").exists()


@pytest.mark.parametrize("count", [0, 1])
def test_a_page_of_a_search_that_hardly_began_says_what_is_missing(run: Run, count: int) -> None:
    found = strandline.search_progress("coast")
    little = found.model_copy(
        update={
            "curve": found.curve[:count],
            "best": found.curve[0] if count else None,
            "counts": {TrialState.COMPLETED: count},
            "at_budget": None,
            "at_double": None,
            "no_forecast": "too few",
            "importances": (),
            "front": (),
            "failures": (),
            "steps": {},
            "device_seconds": 0.0,
        }
    )
    page = render_progress(little)
    assert "No forecast: too few" in page
    assert "Too few trials to tell" in page
    assert "None did." in page


def _chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.mark.slow
@pytest.mark.skipif(_chromium() is None, reason="needs a chromium to show the page")
def test_a_browser_shows_the_page_under_its_policy(run: Run, tmp_path: Path) -> None:
    assert run("search", "progress", "coast", "--report", "out.html").exit_code == 0
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-background-networking --no-first-run "
        f"--user-data-dir={tmp_path / 'profile'} --enable-logging=stderr --dump-dom"
    )
    done = subprocess.run(
        [str(_chromium()), *flags.split(), (tmp_path / "out.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "What each choice decided" in done.stdout
    assert "Content Security Policy" not in done.stderr
    assert "CONSOLE" not in done.stderr
