"""One search of some hundred trials, once in peace and once with all that can happen to it.

`python -m strandline.testing.long_search ALGORITHM FOLDER [--ray] [--seed N] [--rule NAME]` runs
both in processes of their own, with a real catalog and store, and prints what either left and what
happened: processes killed in the middle, a suspension, an edit of the budget, connections
lost; with `--ray` workers of a real Ray killed as well.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from strandline.adapters.clock import SystemClock
from strandline.adapters.files import FileStore
from strandline.adapters.sql import SqlCatalog, open_catalog
from strandline.jobs.search import SearchProgress, run_search
from strandline.jobs.search_journal import Patience
from strandline.ports import TrialRunner
from strandline.search.engine import EndReason
from strandline.search.ledger import ENDED
from strandline.search.registry import make_algorithm
from strandline.search.scheduler import Population
from strandline.spec.records import Scalar
from strandline.spec.v1alpha1 import ONE_SHOT
from strandline.testing.algorithm_contract import MIXED, score
from strandline.testing.fake_clock import FakeClock
from strandline.testing.inline_runner import InlineRunner
from strandline.testing.outages import Flaky, Outage
from strandline.testing.searches import UID, CurveTrials, make_search_spec

TRIALS, FIRST_BUDGET, SUSPENDED_AT = 200, 120, 60
KILLS, RAY_KILLS = 8, 3
SETTINGS: Mapping[str, Mapping[str, Scalar]] = {"grid": {"points": 12}}
"""Where the defaults end before so many trials."""
SPECS: Mapping[str, Mapping[str, Any]] = {
    name: {"space": {"preset": "cells", "family": "nasbench201"}, "rerank": {}} for name in ONE_SHOT
}
"""What else a spec says of an algorithm; the space that is searched is the same."""
CALLS_BETWEEN_OUTAGES, OUTAGE_SECONDS = 97, 0.02
MARK = "STRANDLINE_TEST_MARK"
_LANES = ("ray::Lane", "ray::ResourceTrainable")
_PAUSE_SECONDS = 0.005
_LONGEST_QUIET_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the two searches left.

    Attributes:
        calm, hit: rows of the trials by number.
        kills: drivers that were killed before their search was over.
        workers: of a driver's workers, those that were killed.
        suspended: whether one search stopped because it was asked to.
        outages: connections lost by the last process alone.
    """

    calm: Sequence[Sequence[Any]]
    hit: Sequence[Sequence[Any]]
    kills: int
    workers: int
    suspended: bool
    outages: int


def compare(
    algorithm: str, folder: Path, seed: int, on_ray: bool = False, rule: str = "asha"
) -> Comparison:
    """Run both searches, trials ended early by `rule`."""
    calm = Place(folder / "calm", algorithm, on_ray, rule, outages=False)
    hit = Place(folder / "hit", algorithm, on_ray, rule)
    started = time.monotonic()
    _finish(lambda: calm.search(TRIALS))
    seconds = time.monotonic() - started
    rng = random.Random(seed)  # noqa: S311  # when to kill, no secret
    # A population without leave to start others lets its worst go on: a budget that is
    # raised later makes another search of it.
    made = make_algorithm(algorithm, MIXED, 0)
    edited = TRIALS if isinstance(made, Population) else FIRST_BUDGET
    suspended = _finish(lambda: hit.search(edited, SUSPENDED_AT))
    kills = workers = 0
    for number in range(RAY_KILLS if on_ray else KILLS):
        budget = edited if number % 2 else TRIALS
        process = _fork(partial(hit.search, budget), None)
        if on_ray:  # which starts for some seconds, and how many is not told beforehand
            hit.wait_for_trials(rng.randint(3, 25), process)
            workers += hit.kill_worker()
            time.sleep(rng.uniform(0.0, 0.05) * seconds)
        else:
            time.sleep(rng.uniform(0.0, 0.25) * seconds)
        kills += _kill(process)
        hit.wait_for_quiet()
    _finish(lambda: hit.search(edited))
    last = _finish(lambda: hit.search(TRIALS))
    stopped = suspended["reason"] == EndReason.STOPPED.value
    return Comparison(calm.rows(), hit.rows(), kills, workers, stopped, last["outages"])


class Place:
    """A catalog and a store in `folder`, and the search that runs on them."""

    def __init__(
        self, folder: Path, algorithm: str, on_ray: bool, rule: str, outages: bool = True
    ) -> None:
        self._folder, self._algorithm, self._on_ray = folder, algorithm, on_ray
        self._rule = rule
        self._outages = outages
        self._mark = uuid.uuid4().hex
        (folder / "runs").mkdir(parents=True)

    def search(self, trials: int, stop_at: int | None = None) -> Mapping[str, Any]:
        """Run the search, or go on with it; lose connections on the way."""
        os.environ[MARK] = self._mark
        clock, ended = SystemClock(), 0

        def count(seen: SearchProgress) -> None:
            nonlocal ended
            ended = sum(seen.counts[state] for state in ENDED)

        often = CALLS_BETWEEN_OUTAGES if self._outages else sys.maxsize
        outage = Outage(clock, often, OUTAGE_SECONDS)
        outcome = run_search(
            UID,
            make_search_spec(
                algorithm={
                    "name": self._algorithm,
                    "settings": SETTINGS.get(self._algorithm, {}),
                },
                earlyStopping={"name": self._rule},
                budget={"trials": trials},
                **SPECS.get(self._algorithm, {}),
            ),
            MIXED,
            (),
            CurveTrials(FakeClock(), score=_score, steps=3),
            catalog=Flaky(self._open_catalog(), outage),
            store=Flaky(FileStore(self._folder / "store"), outage),
            runner=self._make_runner(),
            clock=clock,
            keep_best=True,
            progress=count,
            stop_requested=lambda: stop_at is not None and ended >= stop_at,
            patience=Patience(clock, 60.0, lambda _: time.sleep(_PAUSE_SECONDS)),
        )
        return {"reason": outcome.reason.value, "outages": outage.count}

    def rows(self) -> list[list[Any]]:
        """Return all that the catalog knows of the trials, but times."""
        catalog = self._open_catalog()
        return [
            [
                trial.number,
                dict(trial.candidate),
                trial.state.value,
                trial.step,
                dict(trial.metrics),
                trial.parent,
                [[step, dict(m)] for step, m in catalog.list_metrics(UID, trial.number)],
            ]
            for trial in catalog.list_trials(UID)
        ]

    def wait_for_trials(self, count: int, process: int) -> None:
        """Wait until so many more trials have ended, or the process has."""
        catalog = self._open_catalog()

        def ended() -> int:
            return sum(trial.state in ENDED for trial in catalog.list_trials(UID))

        wanted = ended() + count
        over = os.WEXITED | os.WNOHANG | os.WNOWAIT
        while ended() < wanted and os.waitid(os.P_PID, process, over) is None:
            time.sleep(0.05)

    def kill_worker(self) -> bool:
        """Kill a process that runs trials; False when there is none."""
        names = _processes(self._mark)
        workers = [process for process, name in names if name.startswith(_LANES)]
        for process in workers[:1]:
            os.kill(process, signal.SIGKILL)
        return bool(workers)

    def wait_for_quiet(self) -> None:
        """Wait until no process of a driver that was killed is left."""
        give_up = time.monotonic() + _LONGEST_QUIET_SECONDS
        while _processes(self._mark):
            if time.monotonic() > give_up:
                raise TimeoutError("a killed driver's processes do not end")
            time.sleep(0.05)

    def _open_catalog(self) -> SqlCatalog:
        return open_catalog(f"sqlite:///{self._folder / 'catalog.sqlite'}")

    def _make_runner(self) -> TrialRunner:
        if not self._on_ray:
            return InlineRunner()
        from strandline.adapters.ray_tune import RayTuneRunner

        return RayTuneRunner(self._folder / "runs")


def _score(candidate: Mapping[str, Scalar]) -> float:
    """Score a candidate; some fail, as some always do."""
    value = score(candidate)
    if value > 2.5 and candidate.get("layers") == 3:
        raise ValueError("the kernel is singular")
    return value


# Forks of a process that has imported everything start at once, wherever the kill comes.


def _finish(body: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    """Run the body in a process of its own to its end; return what it said."""
    reading, writing = os.pipe()
    process = _fork(body, writing)
    os.close(writing)
    with os.fdopen(reading) as answer:
        said: Mapping[str, Any] = json.loads(answer.read() or "null")
    _, status = os.waitpid(process, 0)
    if status != 0:
        raise RuntimeError(f"the search ended with status {status}")
    return said


def _kill(process: int) -> bool:
    """Kill a process; False when it was over by then."""
    over, _ = os.waitpid(process, os.WNOHANG)
    if not over:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
    return not over


def _processes(mark: str) -> list[tuple[int, str]]:
    """Return number and name of the processes whose environment has the mark."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (entry / "environ").read_bytes():
                name = (entry / "cmdline").read_text().replace("\0", " ").strip()
                found.append((int(entry.name), name))
        except OSError:
            continue
    return [(process, name) for process, name in found if name]  # a zombie has none


def _fork(body: Callable[[], Mapping[str, Any]], answer: int | None) -> int:
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        said = json.dumps(body())
        if answer is not None:
            os.write(answer, said.encode())
        status = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


def main() -> None:
    """Compare the two, and print that as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("algorithm")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ray", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rule", default="asha")
    options = parser.parse_args()
    found = compare(options.algorithm, options.folder, options.seed, options.ray, options.rule)
    print(json.dumps(asdict(found)))


if __name__ == "__main__":
    main()
