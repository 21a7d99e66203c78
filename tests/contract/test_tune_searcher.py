"""Every algorithm as a Ray Tune searcher, called as Tune calls one, and once by Tune itself."""

from __future__ import annotations

import base64
import copy
import json
import math
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from strandline.adapters import ray_session  # noqa: F401 – sets what Ray reads, before Ray
from strandline.adapters.tune_searcher import TuneSearcher

# isort: split
from ray import tune
from ray.tune.search import ConcurrencyLimiter, Searcher

from strandline.search.registry import ALGORITHMS
from strandline.search.space import candidate_key
from strandline.spec.errors import CorruptArtifactError, InvalidSpecError
from strandline.testing.algorithm_contract import CELL, MIXED, SMALL, score

AIM: dict[str, Any] = {"metric": "loss", "mode": "min"}


class Tune:
    """Calls a searcher as Tune's controller does: late, out of order, through failures."""

    def __init__(self, searcher: Searcher, parallelism: int = 4, seed: int = 0) -> None:
        self.searcher = searcher
        self.rng = np.random.default_rng(seed)
        self.parallelism = parallelism
        self.running: dict[str, Any] = {}
        self.tried: list[dict[str, Any]] = []
        self.finished = False

    def go(self, trials: int) -> Tune:
        """Start `trials` more trials, ending others to make room."""
        for _ in range(trials):
            if len(self.running) >= self.parallelism:
                self.end_one()
            self.start_one()
        return self

    def start_one(self) -> None:
        trial_id = f"trial_{len(self.tried):05d}"
        config = self.searcher.suggest(trial_id)
        self.finished = self.finished or str(config) == Searcher.FINISHED
        if isinstance(config, dict):
            self.running[trial_id] = config
            self.tried.append(config)

    def end_one(self) -> None:
        trial_id = str(self.rng.choice(sorted(self.running)))
        config = self.running.pop(trial_id)
        number = int(trial_id.split("_")[1])
        loss = -score(config)
        for step in (1, 2):
            result = {"loss": loss / step, "training_iteration": step, "config/x": 1}
            self.searcher.on_trial_result(trial_id, result)
        match number % 7:
            case 1:
                self.searcher.on_trial_complete(trial_id, error=True)
            case 3:
                result = {"loss": math.nan, "training_iteration": 3}
                self.searcher.on_trial_complete(trial_id, result=result)
            case 5:
                self.searcher.on_trial_complete(trial_id)  # stopped before its end
            case _:
                result = {"loss": loss, "training_iteration": 3}
                self.searcher.on_trial_complete(trial_id, result=result)


@pytest.mark.parametrize("name", ALGORITHMS)
class TestEveryAlgorithm:
    def test_it_suggests_new_candidates_of_the_space_through_failures(self, name: str) -> None:
        run = Tune(TuneSearcher(MIXED, name, **AIM)).go(24)
        for config in run.tried:
            MIXED.validate(config)
        assert len({candidate_key(config) for config in run.tried}) == 24

    @pytest.mark.parametrize("after", [0, 3, 14])
    def test_saved_at_any_point_it_goes_on_with_the_same_suggestions(
        self, name: str, after: int, tmp_path: Path
    ) -> None:
        run = Tune(TuneSearcher(MIXED, name, seed=5, **AIM)).go(after)
        run.searcher.save_to_dir(str(tmp_path), "now")
        restored = copy.copy(run)
        restored.searcher = TuneSearcher(MIXED, name, seed=5)
        restored.searcher.restore_from_dir(str(tmp_path))
        restored.running, restored.tried = dict(run.running), list(run.tried)
        restored.rng = copy.deepcopy(run.rng)
        assert restored.searcher.get_state() == run.searcher.get_state()
        assert restored.go(5).tried == run.go(5).tried

    def test_the_end_of_the_space_is_told_when_its_last_trial_ended(self, name: str) -> None:
        run = Tune(TuneSearcher(SMALL, name, **AIM), parallelism=3)
        while not run.finished:
            assert len(run.tried) <= SMALL.size()
            run.start_one()
            if len(run.running) >= 3 or (run.running and not run.finished):
                run.end_one()
        assert len(run.tried) == SMALL.size()
        assert not run.running

    def test_tune_may_pickle_it_with_its_configuration(self, name: str) -> None:
        run = Tune(TuneSearcher(CELL, name, **AIM)).go(9)
        copied = pickle.loads(pickle.dumps(run.searcher))
        assert copied.get_state() == run.searcher.get_state()
        assert (copied.metric, copied.mode) == ("loss", "min")


def test_a_limit_of_concurrency_holds_back_and_lets_go() -> None:
    limited = ConcurrencyLimiter(TuneSearcher(CELL, "random", **AIM), max_concurrent=2)
    assert [limited.suggest(name) is None for name in "abc"] == [False, False, True]
    limited.on_trial_complete("a", result={"loss": 1.0})
    assert limited.suggest("c") is not None


def test_less_is_better_where_tune_says_so() -> None:
    for mode, wanted in (("min", -1.0), ("max", 1.0)):
        searcher = TuneSearcher(CELL, "random")
        assert searcher.set_search_properties("loss", mode, {"epochs": 3})
        searcher.suggest("a")
        searcher.on_trial_complete("a", result={"loss": 1.0})
        assert _observed(searcher) == [wanted]


def test_several_metrics_are_learned_from_at_once() -> None:
    searcher = TuneSearcher(CELL, "nsga2", metric=["loss", "accuracy"], mode=["min", "max"])
    searcher.suggest("a")
    searcher.on_trial_complete("a", result={"loss": 1.0, "accuracy": 0.5})
    (row,) = _rows(searcher)
    assert row[4] == [-1.0, 0.5]


def test_a_trial_that_a_lost_state_had_suggested_is_learned_from_all_the_same() -> None:
    searcher = TuneSearcher(SMALL, "random", **AIM)
    told = {"loss": 2.0, "config/kind": "a", "config/flag": True, "config/epochs": 3}
    searcher.on_trial_complete("unknown", result=told)
    searcher.on_trial_complete("not_ours", result={"loss": 2.0, "config/kind": "z"})
    assert _observed(searcher) == [-2.0]


def test_a_trial_that_failed_and_was_run_again_counts_once_with_its_new_value() -> None:
    searcher = TuneSearcher(CELL, "random", **AIM)
    config = searcher.suggest("a")
    searcher.on_trial_complete("a", error=True)
    assert searcher.suggest("a") == config
    searcher.on_trial_complete("a", result={"loss": 3.0})
    assert _observed(searcher) == [-3.0]


def test_points_tried_elsewhere_are_learned_from() -> None:
    searcher = TuneSearcher(SMALL, "tpe", **AIM)
    searcher.add_evaluated_point({"kind": "a", "flag": True}, 1.0)
    searcher.add_evaluated_point({"kind": "gone"}, 1.0)
    assert _observed(searcher) == [-1.0]


def test_a_space_in_tunes_own_words_is_refused() -> None:
    searcher = TuneSearcher(CELL, "random")
    assert not searcher.set_search_properties("loss", "min", {"lr": tune.loguniform(1e-4, 1.0)})


def test_without_a_metric_it_says_what_is_missing() -> None:
    with pytest.raises(InvalidSpecError, match="tell TuneSearcher what to improve"):
        TuneSearcher(CELL, "random").suggest("a")
    with pytest.raises(InvalidSpecError, match="choose max or min"):
        TuneSearcher(CELL, "random", metric="loss", mode="down")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 1, "algorithm": "?"}', "\x80\x04"])
def test_a_file_that_is_no_state_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(text, "latin-1")
    with pytest.raises(CorruptArtifactError):
        TuneSearcher(CELL, "random", **AIM).restore(str(path))


def _rows(searcher: TuneSearcher) -> list[Any]:
    rows: list[Any] = json.loads(base64.b64decode(searcher.get_state()["algorithm"]))[
        "observations"
    ]
    return rows


def _observed(searcher: TuneSearcher) -> list[float | None]:
    return [row[2] for row in _rows(searcher)]


# ---------------------------------------------------------------- Tune itself

DRIVER = """
import sys, time
from pathlib import Path
import ray
from ray import tune
from strandline.adapters.tune_searcher import TuneSearcher
from strandline.testing.algorithm_contract import MIXED, score

runs, log = Path(sys.argv[1]), Path(sys.argv[2])

class Trial(tune.Trainable):
    def setup(self, config):
        self.config = config
    def reset_config(self, config):
        self.config = config
        return True
    def step(self):
        with log.open("a") as out:
            out.write(self.trial_id + chr(10))
        time.sleep(0.1)
        return {"worth": score(self.config), "done": True}
    def save_checkpoint(self, folder):
        pass
    def load_checkpoint(self, folder):
        pass

ray.init(num_cpus=1, include_dashboard=False, configure_logging=False,
         object_store_memory=128 * 1024 * 1024, _temp_dir=sys.argv[3])
path = str(runs / "trials")
aim = {"metric": "worth", "mode": "max"}
if tune.Tuner.can_restore(path):
    tuner = tune.Tuner.restore(path, Trial, resume_unfinished=True)
else:
    tuner = tune.Tuner(
        tune.with_resources(Trial, {"cpu": 1}),
        tune_config=tune.TuneConfig(
            search_alg=TuneSearcher(MIXED, "regularized-evolution", settings={"population": 4,
                "sample": 2}, **aim), **aim,
            num_samples=24, max_concurrent_trials=1, reuse_actors=True,
        ),
        run_config=tune.RunConfig(name="trials", storage_path=str(runs), verbose=0),
    )
results = tuner.fit()
print(len(results), results.num_errors)
"""


@pytest.mark.slow
def test_tune_killed_in_the_middle_goes_on_from_what_the_searcher_saved(tmp_path: Path) -> None:
    temporary = tempfile.mkdtemp(prefix="s-")  # the paths of Ray's sockets must be short
    log = tmp_path / "log"
    words = [sys.executable, "-c", DRIVER, str(tmp_path), str(log), temporary]
    environ = {**os.environ, "TUNE_GLOBAL_CHECKPOINT_S": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    try:
        first = subprocess.Popen(words, env=environ)
        give_up = time.monotonic() + 120
        while first.poll() is None and len(_saved(tmp_path)) < 8:
            assert time.monotonic() < give_up
            time.sleep(0.02)
        time.sleep(0.2)  # Tune copies its files one after the other: let it end with this copy
        assert first.poll() is None, "it ended before it could be killed"
        first.kill()
        first.wait()
        begun, saved = len(_lines(log)), len(_saved(tmp_path))
        done = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == "24 0"
        values = _saved(tmp_path)
        assert len(values) == 24
        assert None not in values
        again = len(_lines(log)) - 24
        assert again <= begun - saved + 1, "what was saved was done again"
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _saved(runs: Path) -> list[float | None]:
    """Return what the newest state in the experiment's folder has observed."""
    files = sorted((runs / "trials").glob("searcher-state-*.json"))
    searcher = TuneSearcher(MIXED, "regularized-evolution", settings={"population": 4, "sample": 2})
    try:
        searcher.restore(str(files[-1]))
    except (IndexError, CorruptArtifactError):  # not there yet, or being copied
        return []
    return _observed(searcher)


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []
