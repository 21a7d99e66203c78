"""What a trial costs beside its own work: Strandline's Search against plain Ray Tune.

Run: python bench/overhead/run.py (about two minutes; on a machine with nothing else to do).

All trials do nothing. Each way runs in a process of its own, one trial at a time. A trial
costs what passes between the ends of two of them; what passes before the first one's end
is the start. The Search is the real one: TPE and ASHA decide, every trial goes to a SQLite
catalog on disk before it counts, workers are processes of Ray.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WAYS = {"function trials": 6, "warm class trials": 40, "Search, lanes": 500}
LOAD_BEFORE = os.getloadavg()[0]
Ends = list[float]
"""Of each trial, when the driver heard of it."""
SEARCH_TRIALS = 200
"""Over so many trials the start is spread in the table's last columns."""


@dataclass
class NoOp:
    """A trial of one step that gives its number as value."""

    number: int = 0

    def reset(self, assignment: Any) -> None:
        self.number = assignment.number

    def step(self) -> Any:
        from strandline.ports import StepReport

        metrics = {"val/log_loss": 1 / (1 + self.number)}
        return StepReport(self.number, 1, metrics, done=True, seconds=0.0)


def make_no_op() -> NoOp:
    return NoOp()


def run_functions(trials: int, folder: Path, ends: Ends) -> None:
    from ray import tune

    def body(config: Mapping[str, Any]) -> None:
        tune.report({"loss": config["x"]})

    _fit(body, trials, folder, ends, reuse=False)


def run_warm_classes(trials: int, folder: Path, ends: Ends) -> None:
    from ray import tune

    class Body(tune.Trainable):
        def setup(self, config: Mapping[str, Any], **_: Any) -> None:
            self.x = config["x"]

        def reset_config(self, new_config: Mapping[str, Any]) -> bool:
            self.x = new_config["x"]
            return True

        def step(self) -> dict[str, Any]:
            return {"loss": self.x, "done": True}

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            """Nothing to keep."""

    _fit(Body, trials, folder, ends, reuse=True)


def _fit(body: Any, trials: int, folder: Path, ends: Ends, reuse: bool) -> None:
    import logging

    import ray
    from ray import tune

    class Watch(tune.Callback):
        def on_trial_complete(self, *_: Any, **__: Any) -> None:
            ends.append(time.perf_counter())

    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    tuner = tune.Tuner(
        body,
        param_space={"x": tune.uniform(0, 1)},
        tune_config=tune.TuneConfig(
            num_samples=trials, max_concurrent_trials=1, reuse_actors=reuse
        ),
        run_config=tune.RunConfig(storage_path=str(folder), verbose=0, callbacks=[Watch()]),
    )
    done = tuner.fit()
    assert len(done) == trials
    assert not done.errors
    ray.shutdown()


def run_search_of_ours(trials: int, folder: Path, ends: Ends) -> None:
    from strandline.adapters.clock import SystemClock
    from strandline.adapters.files import FileStore
    from strandline.adapters.ray_tune import RayTuneRunner
    from strandline.adapters.sql import open_catalog
    from strandline.jobs.search import run_search
    from strandline.search.space import Float, Space
    from strandline.spec.v1alpha1 import Budget, DatasetRef, SearchSpec

    def note_end(trial: Any) -> None:
        if trial is not None and trial.ended_at is not None:
            ends.append(time.perf_counter())

    catalog = open_catalog(f"sqlite:///{folder / 'catalog.sqlite'}")
    outcome = run_search(
        "bench",
        SearchSpec(dataset=DatasetRef(name="none"), budget=Budget(trials=trials)),
        Space((Float("x", 0.0, 1.0),)),
        (),
        make_no_op,
        catalog=catalog,
        store=FileStore(folder / "store"),
        runner=RayTuneRunner(folder / "runs"),
        clock=SystemClock(),
        progress=lambda now: note_end(now.trial),
    )
    assert len(outcome.trials) == trials
    assert all(trial.state == "completed" for trial in outcome.trials)
    catalog.close()


BODIES: Mapping[str, Callable[[int, Path, Ends], None]] = {
    "function trials": run_functions,
    "warm class trials": run_warm_classes,
    "Search, lanes": run_search_of_ours,
}


def run_one(way: str, trials: int) -> None:
    """Run one way in this process; print its seconds: start, a trial."""
    warnings.simplefilter("ignore")
    ends: Ends = []
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        BODIES[way](trials, Path(folder), ends)
    assert len(ends) == trials, f"{len(ends)} of {trials} trials ended"
    print("SECONDS", ends[0] - started, (ends[-1] - ends[0]) / (trials - 1))


def seconds_of(way: str, trials: int) -> tuple[float, float]:
    command = [sys.executable, __file__, way, str(trials)]
    quiet = {**os.environ, "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0"}
    done = subprocess.run(command, capture_output=True, text=True, env=quiet)
    assert done.returncode == 0, done.stderr[-2000:]
    line = next(each for each in done.stdout.splitlines() if each.startswith("SECONDS"))
    start, each = (float(word) for word in line.split()[1:])
    return start, each


def main() -> None:
    print(f"| way | trials | first one's end | a trial | times less | of {SEARCH_TRIALS} "
          "with the start, each | times less |")  # fmt: skip
    print("|---|---|---|---|---|---|---|")
    plain: tuple[float, float] | None = None
    for way, trials in WAYS.items():
        start, cost = seconds_of(way, trials)
        spread = (start + (SEARCH_TRIALS - 1) * cost) / SEARCH_TRIALS
        plain = plain or (cost, spread)
        print(
            f"| {way} | {trials} | {start:.1f} s | {cost:.4f} s | {plain[0] / cost:.0f} "
            f"| {spread:.4f} s | {plain[1] / spread:.0f} |",
            flush=True,
        )
    print(f"\nload average before and after: {LOAD_BEFORE:.1f}, {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        run_one(sys.argv[1], int(sys.argv[2]))
    else:
        main()
