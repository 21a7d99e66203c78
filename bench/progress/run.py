"""How far the forecasts of a search's best value can be trusted.

Run: python bench/progress/run.py [--seeds 8] [--fit] (some minutes).

Searches by random, tpe and predictor-evolution on functions and on NAS-Bench-201 (where the
development data is there) are looked at after 20, 40 and 80 trials: lies the best value after
twice and four times as many inside the 80% interval? `--fit` prints the quantiles of the
gains over the problems of one half; they are the constants of `strandline.search.forecast`.
README.md says which of them was changed later.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.search.problems import synthetic  # after the path
from bench.search.tabular import load

from strandline.search.algorithm import Observation
from strandline.search.forecast import best_so_far, forecast, unit_of
from strandline.search.registry import make_algorithm
from strandline.search.space import Candidate, Space

DATA = Path(os.environ.get("STRANDLINE_TEST_DATA", "../shared/data"))
ALGORITHMS = ("random", "tpe", "predictor-evolution")
FITTED = ("branin", "ackley5", "conditional")
TABLE = "nasbench201"
SEEN, LONGEST = (20, 40, 80), 160


@dataclass(frozen=True)
class Job:
    """One search."""

    problem: str
    algorithm: str
    seed: int


def main() -> None:
    """Print the quantiles of one half, or the table of both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--fit", action="store_true")
    options = parser.parse_args()
    names = [problem.name for problem in synthetic()]
    if (DATA / "nasbench201.parquet").is_file():
        names.append(TABLE)
    if options.fit:
        names = [name for name in names if _is_fitted(name)]
    jobs = [Job(n, a, seed) for n in names for a in ALGORITHMS for seed in range(options.seeds)]
    with ProcessPoolExecutor() as pool:
        found = dict(zip(jobs, pool.map(_search, jobs, chunksize=4), strict=True))
    if options.fit:
        _print_quantiles(list(found.values()))
        return
    print(
        "| problem | algorithm | forecasts | inside, x2 | inside, x4 | below | above "
        "| over the middle | off |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    halves = {"fitted": True, "held out": False}
    for half, fitted in halves.items():
        chosen = [name for name in names if _is_fitted(name) == fitted]
        for algorithm in ALGORITHMS:
            for name in chosen:
                runs = [
                    v
                    for job, v in found.items()
                    if (job.problem, job.algorithm) == (name, algorithm)
                ]
                print(_row(name, algorithm, runs))
        for algorithm in ALGORITHMS:
            runs = [
                v
                for job, v in found.items()
                if job.problem in chosen and job.algorithm == algorithm
            ]
            print(_row(f"**all {half}**", algorithm, runs))


def _is_fitted(name: str) -> bool:
    return name.removesuffix(", noisy") in FITTED


def _print_quantiles(searches: Sequence[Sequence[float]]) -> None:
    for doublings in (1, 2):
        gains = [
            (best_so_far(values)[seen * 2**doublings - 1] - best_so_far(values)[seen - 1]) / unit
            for values in searches
            for seen in SEEN
            if seen * 2**doublings <= LONGEST and (unit := unit_of(values[:seen])) > 0
        ]
        print(doublings, np.round(np.quantile(gains, [0.1, 0.5, 0.9]), 3), len(gains))


def _row(name: str, algorithm: str, searches: Sequence[Sequence[float]]) -> str:
    inside: dict[int, list[bool]] = {2: [], 4: []}
    below = above = 0
    over: list[float] = []
    off: list[float] = []
    for values in searches:
        best = best_so_far(values)
        for seen in SEEN:
            for times in (2, 4):
                told = forecast(values[:seen], times * seen) if times * seen <= LONGEST else None
                if told is None:
                    continue
                came = float(best[times * seen - 1])
                slack = 1e-9 * max(1.0, abs(came))
                inside[times].append(told.low - slack <= came <= told.high + slack)
                below += came < told.low - slack
                above += came > told.high + slack
                over.append(float(came > told.middle + slack))
                spread = float(best[seen - 1] - np.mean(values[:seen]))
                off.append(abs(came - told.middle) / spread)
    count = sum(map(len, inside.values()))
    shares = [f"{np.mean(each):.0%}" if each else "–" for each in inside.values()]
    shares += [str(below), str(above), f"{np.mean(over):.0%}", f"{np.median(off):.1%}"]
    return f"| {name} | {algorithm} | {count} | {' | '.join(shares)} |"


def _search(job: Job) -> list[float]:
    """Return the values of a search in the order they came."""
    space, value = _problem(job.problem)
    algorithm = make_algorithm(job.algorithm, space, 5000 + job.seed)
    rng = np.random.default_rng(job.seed)
    values: list[float] = []
    for number in range(LONGEST):
        candidate = algorithm.suggest(number, ())
        assert candidate is not None, "the spaces are larger"
        values.append(value(candidate, rng))
        algorithm.observe(Observation(number, candidate, values[-1]))
    return values


@cache
def _problem(name: str) -> tuple[Space, Callable[[Candidate, np.random.Generator], float]]:
    if name == TABLE:
        table = load(DATA / "nasbench201.parquet", None)
        column = table.columns["cifar10_val"]
        return table.space, lambda candidate, rng: float(column[table.row(candidate)])
    problem = next(each for each in synthetic() if each.name == name)
    return (
        problem.space,
        lambda candidate, rng: problem.value(candidate) + rng.normal(0, problem.noise),
    )


if __name__ == "__main__":
    main()
