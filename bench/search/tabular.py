"""Searches on tables: after so many trainings, how good is the cell with the best validation?"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from bench.search.plots import plot_regret
from bench.search.results import RESULTS
from bench.search.ridge import RidgePredictor
from bench.search.simulate import Run, simulate
from bench.search.tables import Table, from_columns, nasbench201

from strandline.cells.family import Plan
from strandline.search.algorithm import Algorithm, Observation
from strandline.search.cell_space import cell_space
from strandline.search.registry import make_algorithm
from strandline.search.space import Candidate, Space
from strandline.spec.records import TrialState

HERE = Path(__file__).parent
QUERIES = (25, 50, 100)
RIDGE = "ridge-predictor-rerun"
"""The reference's, with more seeds than it had there."""
ALGORITHMS = {
    "predictor-evolution": 1000,
    RIDGE: 1000,
    "local-search": 200,
    "regularized-evolution": 200,
    "reinforce": 200,
    "ppo": 40,
    "random": 200,
    "tpe": 40,
}
"""And how many seeds each is run with, at most."""
SIGNALS = {
    ("cifar10", "full"): ("cifar10_val", "cifar10_test"),
    ("cifar100", "full"): ("cifar100_val", "cifar100_test"),
    ("cifar10", "12ep"): ("cifar10_val_12ep", "cifar10_test"),
    ("cifar100", "12ep"): ("cifar100_val_12ep", "cifar100_test"),
}
SKELETON = Plan(image_size=32, labels=10, filters=16, cells=5)
"""NAS-Bench-201's network, for the sizes of its cells."""
FIRST_SEED = 1000


@dataclass(frozen=True)
class Job:
    """One search on one table."""

    path: Path
    choices: tuple[str, ...] | None
    algorithm: str
    signal: str
    test: str
    seed: int
    queries: int


@cache
def load(path: Path, choices: tuple[str, ...] | None, columns: tuple[str, ...] = ()) -> Table:
    if choices is not None:
        return from_columns(path, choices, columns)
    return nasbench201(path, cell_space("nasbench201", SKELETON).structure)


def search(job: Job) -> list[float]:
    """Return the test result of the best-by-validation cell after 1, 2, … distinct trainings."""
    table = load(job.path, job.choices, (job.signal, job.test))
    signal, test = table.columns[job.signal], table.columns[job.test]
    algorithm = _make(job, table.space)
    best, found = -1, []
    for number in range(job.queries):
        candidate = algorithm.suggest(number, ())
        if candidate is None:
            break
        row = table.row(candidate)
        if best < 0 or signal[row] > signal[best]:
            best = row
        found.append(float(test[best]))
        algorithm.observe(Observation(number, candidate, float(signal[row])))
    return found


def _make(job: Job, space: Space) -> Algorithm | RidgePredictor:
    if job.algorithm == RIDGE:
        return RidgePredictor(space, job.seed)
    return make_algorithm(job.algorithm, space, job.seed)


def compare(options: Any, pool: ProcessPoolExecutor) -> Iterator[str]:
    """Compare algorithms with one another and with the reference's searchers."""
    path = options.table or options.data / "nasbench201.parquet"
    if not path.is_file():
        yield f"there is no {path}: name a table with --table, or the development data with --data"
        return
    names = options.algorithms.split(",") if options.algorithms else list(ALGORITHMS)
    signals = SIGNALS
    choices = None
    if options.table:
        choices = tuple(options.choices.split(","))
        signals = {(options.table.stem, options.signal): (options.signal, options.test)}
    for (dataset, kind), (signal, test) in signals.items():
        if options.signals and f"{dataset}-{kind}" not in options.signals.split(","):
            continue
        curves = {}
        for name in names:
            seeds = min(options.seeds, ALGORITHMS.get(name, 40))
            jobs = [
                Job(path, choices, name, signal, test, FIRST_SEED + seed, max(QUERIES))
                for seed in range(seeds)
            ]
            curves[name] = list(pool.map(search, jobs, chunksize=4))
        reference = _reference(options.data, dataset, kind) if not options.table else {}
        yield from _table(dataset, kind, curves, reference)
        if options.write and not options.table and not options.algorithms:
            best = float(load(path, None).columns[test].max())
            plot_regret(
                HERE / f"{dataset}-{kind}.svg", f"{dataset}, searching on {kind}", curves, best
            )


def _table(
    dataset: str,
    kind: str,
    curves: Mapping[str, Sequence[Sequence[float]]],
    reference: Mapping[str, Mapping[int, tuple[float, float, int]]],
) -> Iterator[str]:
    yield f"{dataset}, searching on {kind}: test accuracy after so many distinct trainings\n"
    yield "| algorithm | seeds | " + " | ".join(map(str, QUERIES)) + " |"
    yield "| --- | --- |" + " --- |" * len(QUERIES)
    for name, runs in curves.items():
        cells = []
        for queries in QUERIES:
            mean, error = summarise([run[min(queries, len(run)) - 1] for run in runs])
            RESULTS.setdefault(f"{dataset}-{kind}", {}).setdefault(name, {})[queries] = [
                round(mean, 4),
                round(error, 4),
                len(runs),
            ]
            cells.append(f"{mean:.3f} ± {error:.3f}")
        yield f"| {name} | {len(runs)} | " + " | ".join(cells) + " |"
    for name, rows in reference.items():
        cells = [f"{rows[q][0]:.3f} ± {rows[q][1]:.3f}" if q in rows else "" for q in QUERIES]
        yield f"| *reference: {name}* | {rows[50][2]} | " + " | ".join(cells) + " |"
    ours = RESULTS[f"{dataset}-{kind}"].get("predictor-evolution")
    if ours and reference:
        yield ""
        yield from _significance(ours, reference)
    yield ""


def _significance(
    ours: Mapping[int, Sequence[float]],
    reference: Mapping[str, Mapping[int, tuple[float, float, int]]],
) -> Iterator[str]:
    for queries in (50, 100):
        mean, error, _ = ours[queries]
        apart = {
            name: (mean - rows[queries][0]) / math.hypot(error, rows[queries][1])
            for name, rows in reference.items()
        }
        worst = min(apart, key=lambda name: apart[name])
        yield (
            f"predictor-evolution at {queries}: {apart[worst]:+.1f} standard errors of the "
            f"difference from {worst}, the nearest of the reference"
        )


def _reference(
    data: Path, dataset: str, kind: str
) -> dict[str, dict[int, tuple[float, float, int]]]:
    found: dict[str, dict[int, tuple[float, float, int]]] = {}
    with (data / "nasbench201-reference.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if (row["dataset"], row["search_signal"]) != (dataset, kind):
                continue
            if row["counting"] == "distinct_cells":
                cell = (float(row["test_mean"]), float(row["test_se"]), int(row["seeds"]))
                found.setdefault(row["method"], {})[int(row["queries"])] = cell
    return found


def summarise(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and its standard error."""
    array = np.asarray(values)
    return float(array.mean()), float(array.std(ddof=1) / math.sqrt(len(array)))


# ---------------------------------------------------------------- both signals


MIXED_BUDGETS = (10, 25, 50)
"""In full trainings."""


@dataclass(frozen=True)
class MixedJob:
    """A search that may train briefly first, until its budget of epochs is spent.

    Attributes:
        early_stopping: the rule by which cells go on to the full training.
    """

    path: Path
    dataset: str
    early_stopping: str
    seed: int
    epochs: float

    @property
    def mixed(self) -> bool:
        """Whether there are short trainings at all."""
        return self.early_stopping != "none"


def search_mixed(job: MixedJob) -> list[float]:
    """Return the test result of the best fully trained cell at each of the budgets."""
    table = load(job.path, None)
    long, short = table.epochs
    full = table.columns[f"{job.dataset}_val"]
    brief = table.columns[f"{job.dataset}_val_12ep"]
    # ImageNet16-120 has no test column: there the best by validation is judged by it.
    test = table.columns.get(f"{job.dataset}_test", full)

    def curve(candidate: Candidate) -> list[tuple[float, float]]:
        row = table.row(candidate)
        if not job.mixed:
            return [(float(full[row]), float(long))]
        # The two trainings had schedules of their own: the full one starts from nothing.
        return [(float(brief[row]), float(short)), (float(full[row]), float(long))]

    run = simulate(
        table.space,
        curve,
        algorithm="predictor-evolution",
        seed=job.seed,
        budget={"deviceHours": job.epochs / 3600},
        early_stopping={"name": job.early_stopping},
    )
    return [_best_within(run, table, test, budget * long) for budget in MIXED_BUDGETS]


def _best_within(run: Run, table: Table, test: Any, epochs: float) -> float:
    full = [
        (trial.metrics["value"], table.row(trial.candidate))
        for _, busy, trial in run.ended
        if busy <= epochs and trial.state is TrialState.COMPLETED
    ]
    return float(test[max(full, key=lambda pair: pair[0])[1]]) if full else math.nan


def compare_mixed(options: Any, pool: ProcessPoolExecutor) -> Iterator[str]:
    """Compare searching on both signals with searching on full trainings, at equal cost."""
    path = options.data / "nasbench201.parquet"
    if not path.is_file():
        yield f"there is no {path}: name the development data with --data"
        return
    yield "| dataset | cost in full trainings | full alone | both signals | difference in errors |"
    yield "| --- | --- | --- | --- | --- |"
    rules = options.rules.split(",")
    for dataset in options.datasets.split(","):
        alone, *sides = (
            _run_mixed(options, pool, path, dataset, rule) for rule in ("none", *rules)
        )
        for rule, side in zip(rules, sides, strict=True):
            yield from _compare_mixed(f"{dataset}, {rule}", alone, side)


def _run_mixed(
    options: Any, pool: ProcessPoolExecutor, path: Path, dataset: str, rule: str
) -> list[list[float]]:
    epochs = (max(MIXED_BUDGETS) + 1) * 200.0
    seeds = range(FIRST_SEED, FIRST_SEED + options.seeds)
    jobs = [MixedJob(path, dataset, rule, seed, epochs) for seed in seeds]
    return list(pool.map(search_mixed, jobs, chunksize=4))


def _compare_mixed(
    name: str, alone: Sequence[Sequence[float]], mixed: Sequence[Sequence[float]]
) -> Iterator[str]:
    for place, budget in enumerate(MIXED_BUDGETS):
        one, one_error = summarise([run[place] for run in alone])
        two, two_error = summarise([run[place] for run in mixed])
        apart = (two - one) / (math.hypot(one_error, two_error) or math.inf)
        yield (
            f"| {name} | {budget} | {one:.3f} ± {one_error:.3f} "
            f"| {two:.3f} ± {two_error:.3f} | {apart:+.1f} |"
        )
