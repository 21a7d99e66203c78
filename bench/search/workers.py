"""Many workers in simulated time: what parallelism costs, and how ASHA scales."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from bench.search.simulate import simulate
from bench.search.tabular import FIRST_SEED, load, summarise

from strandline.search.space import Candidate, Float, Space

EVALUATIONS = (200, 400)
WORKERS = 100
PARALLEL_ALGORITHMS = ("predictor-evolution", "regularized-evolution", "local-search", "random")
MOST_SEEDS = 12
"""Of the usual algorithms, for all of them take long; those that are named get all asked for."""


@dataclass(frozen=True)
class Job:
    """One search by some workers."""

    path: Path
    dataset: str
    algorithm: str
    workers: int
    seed: int
    evaluations: tuple[int, ...]


def search(job: Job) -> list[float]:
    """Return the test result of the best-by-validation cell after so many evaluations."""
    table = load(job.path, None)
    signal = table.columns[f"{job.dataset}_val"]
    test = table.columns[f"{job.dataset}_test"]
    rng = np.random.default_rng(job.seed)

    def curve(candidate: Candidate) -> list[tuple[float, float]]:
        # Trainings differ in length as machines and cells do: by a factor of two, mostly.
        return [(float(signal[table.row(candidate)]), float(rng.lognormal(0.0, 0.35)))]

    run = simulate(
        table.space,
        curve,
        algorithm=job.algorithm,
        seed=job.seed,
        budget={"trials": max(job.evaluations)},
        workers=job.workers,
    )
    rows = [table.row(trial.candidate) for _, _, trial in run.ended]
    return [
        float(test[max(rows[:count], key=lambda row: signal[row])]) for count in job.evaluations
    ]


def compare_parallel(options: Any, pool: ProcessPoolExecutor) -> Iterator[str]:
    """Compare a hundred workers that wait for nobody with one, at equal evaluations.

    Quality is the share of what is between random search and the best that one worker finds
    of it; the share kept is that of many workers by that of one.
    """
    path = options.data / "nasbench201.parquet"
    if not path.is_file():
        yield f"there is no {path}: name the development data with --data"
        return
    counts = tuple(map(int, options.evaluations.split(","))) if options.evaluations else EVALUATIONS
    names = options.algorithms.split(",") if options.algorithms else PARALLEL_ALGORITHMS
    yield f"| dataset | algorithm | workers | {' | '.join(map(str, counts))} |"
    yield "| --- | --- | --- |" + " --- |" * len(counts)
    seeds = options.seeds if options.algorithms else min(options.seeds, MOST_SEEDS)
    for dataset in ("cifar10", "cifar100"):
        means: dict[tuple[str, int], list[float]] = {}
        for name in dict.fromkeys((*names, "random")):
            for workers in (1, WORKERS):
                jobs = [
                    Job(path, dataset, name, workers, FIRST_SEED + seed, counts)
                    for seed in range(seeds)
                ]
                found = list(pool.map(search, jobs, chunksize=2))
                cells = [summarise(column) for column in zip(*found, strict=True)]
                means[name, workers] = [mean for mean, _ in cells]
                shown = " | ".join(f"{mean:.3f} ± {error:.3f}" for mean, error in cells)
                yield f"| {dataset} | {name} | {workers} | {shown} |"
        for name in names:
            if name == "random":
                continue
            kept = [
                (many - random) / (one - random)
                for one, many, random in zip(
                    means[name, 1], means[name, WORKERS], means["random", 1], strict=True
                )
            ]
            yield f"| {dataset} | {name}, share kept | | {' | '.join(f'{k:.2f}' for k in kept)} |"


LINE = Space((Float("x", 0.0, 1.0),))
SCALES = (1, 100, 500)
TRIALS = 10_000
STEPS = 27


def scale_asha(options: Any, pool: ProcessPoolExecutor) -> Iterator[str]:
    """Measure how much faster more workers get through the same trials under ASHA.

    The rate is that until the last trial begins: after that workers run out of work, and what
    is left takes as long as the longest training however many there are.
    """
    yield f"{TRIALS:,} trials of up to {STEPS} steps\n"
    yield "| workers | trials an hour | speed-up | of ideal | hours in all | seconds it took |"
    yield "| --- | --- | --- | --- | --- | --- |"
    rates: dict[int, float] = {}
    for workers, rate, hours, took in pool.map(partial(_scale, FIRST_SEED), SCALES):
        rates[workers] = rate
        speed_up = rate / rates[1]
        yield (
            f"| {workers} | {rate:.0f} | {speed_up:.1f} | {speed_up / workers:.3f} "
            f"| {hours:.2f} | {took:.1f} |"
        )


def _scale(seed: int, workers: int) -> tuple[int, float, float, float]:
    rng = np.random.default_rng(seed)

    def curve(candidate: Candidate) -> list[tuple[float, float]]:
        quality, pace = float(str(candidate["x"])), float(rng.lognormal(0.0, 0.35)) * 60
        return [(quality * (1 - math.exp(-step / 9)), pace) for step in range(1, STEPS + 1)]

    started = time.perf_counter()
    run = simulate(
        LINE,
        curve,
        algorithm="random",
        seed=seed,
        budget={"trials": TRIALS},
        workers=workers,
        early_stopping={"name": "asha"},
    )
    done = TRIALS - workers
    rate = done / (run.ended[done - 1][0] / 3600)
    return workers, rate, run.seconds / 3600, time.perf_counter() - started
