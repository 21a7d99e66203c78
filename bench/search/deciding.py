"""How long an algorithm takes to decide, and how much it keeps, after ten thousand trials."""

from __future__ import annotations

import statistics
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from strandline.cells.family import Plan
from strandline.search.algorithm import Observation
from strandline.search.cell_space import cell_space
from strandline.search.registry import ALGORITHMS, make_algorithm
from strandline.search.space import Categorical, Condition, Float, Int, Space

OBSERVED = 10_000
ASKED = 21
MIXED = Space(
    (
        Categorical("head", ("linear", "mlp", "kernel")),
        Float("rate", 1e-5, 1.0, log=True),
        Float("decay", 1e-6, 1e-1, log=True),
        Int("layers", 1, 8, when=Condition("head", ("mlp",))),
        Int("width", 16, 1024, log=True, when=Condition("head", ("mlp",))),
        Float("gamma", 1e-3, 1e3, log=True, when=Condition("head", ("kernel",))),
    )
)
NASNET = Plan(image_size=32, labels=10, filters=32, cells=6)


def measure(options: Any, pool: ProcessPoolExecutor) -> Iterator[str]:
    """Measure each algorithm, a trial told between any two suggestions, as in a search."""
    names = options.algorithms.split(",") if options.algorithms else list(ALGORITHMS)
    yield (
        "| algorithm | hyperparameters: median, worst ms | NASNet cells: median, worst ms "
        "| MB kept | state, MB |"
    )
    yield "| --- | --- | --- | --- | --- |"
    for name, rows in zip(names, pool.map(_measure_both, names), strict=True):
        (one, one_worst, kept, state), (two, two_worst, *_) = rows
        yield (
            f"| {name} | {one:.1f}, {one_worst:.1f} | {two:.1f}, {two_worst:.1f} "
            f"| {kept:.1f} | {state:.1f} |"
        )


def _measure_both(name: str) -> list[tuple[float, float, float, float]]:
    spaces = [MIXED, cell_space("nasnet", NASNET)]
    return [partial(_measure, name)(space) for space in spaces]


def _measure(name: str, space: Space) -> tuple[float, float, float, float]:
    rng = np.random.default_rng(0)
    told = [space.sample(rng) for _ in range(OBSERVED)]
    values = rng.normal(size=OBSERVED + ASKED)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    algorithm = make_algorithm(name, space, 0)
    for number, candidate in enumerate(told):
        algorithm.observe(Observation(number, candidate, float(values[number])))
    algorithm.suggest(OBSERVED, ())
    kept = (tracemalloc.get_traced_memory()[0] - before) / 1e6
    tracemalloc.stop()
    took = []
    for number in range(OBSERVED, OBSERVED + ASKED):
        started = time.perf_counter()
        suggested = algorithm.suggest(number, ())
        took.append((time.perf_counter() - started) * 1e3)
        assert suggested is not None
        algorithm.observe(Observation(number, suggested, float(values[number])))
    return statistics.median(took), max(took), kept, len(algorithm.save()) / 1e6
