"""How long an algorithm takes to decide, and how much it keeps, after ten thousand trials.

Milliseconds are those of the processor: on a machine that has nothing else to do they are the
clock's, for one thread does all the work; on one that has, they do not count the waiting.
"""

from __future__ import annotations

import statistics
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from bench.search.results import RESULTS

from strandline.cells.family import Plan
from strandline.search.algorithm import Observation
from strandline.search.cell_space import cell_space
from strandline.search.registry import ALGORITHMS, make_algorithm
from strandline.search.space import Categorical, Condition, Float, Int, Space

OBSERVED = 10_000
ASKED = 15
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
PLAN = Plan(image_size=32, labels=10, filters=32, cells=6)
CELLS = ("nasbench201", "nasnet", "darts", "mbconv")
LARGEST = "nasnet"
"""The space whose memory is measured: tracing it makes everything slower."""
LIMIT_MS = 50.0


@dataclass(frozen=True)
class Cost:
    """What deciding costs after `OBSERVED` trials.

    Attributes:
        peak: MB at most while all trials are told and one is asked for; None if not traced.
        state: MB that `save` gives.
    """

    median: float
    worst: float
    peak: float | None
    kept: float | None
    state: float


def measure(options: Any, pool: ProcessPoolExecutor) -> Iterator[str]:
    """Measure each algorithm, a trial told between any two suggestions, as in a search."""
    names = options.algorithms.split(",") if options.algorithms else list(ALGORITHMS)
    spaces = ["hyperparameters", *CELLS]
    yield f"median (worst) processor milliseconds of {ASKED} suggestions, {OBSERVED:,} trials\n"
    columns = " | ".join(spaces)
    yield f"| algorithm | {columns} | MB kept, {LARGEST} | MB at most | state, MB |"
    yield "| --- |" + " --- |" * (len(spaces) + 3)
    jobs = [(name, space) for name in names for space in spaces]
    found = pool.map(_measure, *zip(*jobs, strict=True))
    for name in names:
        costs = dict(zip(spaces, islice(found, len(spaces)), strict=True))
        RESULTS.setdefault("deciding", {})[name] = {
            space: [round(cost.median, 2), round(cost.worst, 2)] for space, cost in costs.items()
        }
        memory = costs[LARGEST]
        shown = " | ".join(map(_describe, costs.values()))
        yield f"| {name} | {shown} | {memory.kept:.1f} | {memory.peak:.1f} | {memory.state:.1f} |"
    yield ""
    yield f"**Bold**: above {LIMIT_MS:.0f} ms."


def _describe(cost: Cost) -> str:
    bold = "**" if cost.median > LIMIT_MS else ""
    return f"{bold}{cost.median:.1f}{bold} ({cost.worst:.0f})"


def _measure(name: str, kind: str) -> Cost:
    space = MIXED if kind == "hyperparameters" else cell_space(kind, PLAN)
    rng = np.random.default_rng(0)
    told = [space.sample(rng) for _ in range(OBSERVED)]
    values = rng.normal(size=OBSERVED + ASKED)
    peak, kept = None, None
    if kind == LARGEST:
        tracemalloc.start()
    algorithm = make_algorithm(name, space, 0)
    for number, candidate in enumerate(told):
        algorithm.observe(Observation(number, candidate, float(values[number])))
    algorithm.suggest(OBSERVED, ())
    if kind == LARGEST:
        kept, peak = (each / 1e6 for each in tracemalloc.get_traced_memory())
        tracemalloc.stop()
    took = []
    for number in range(OBSERVED, OBSERVED + ASKED):
        started = time.process_time()
        suggested = algorithm.suggest(number, ())
        took.append((time.process_time() - started) * 1e3)
        if suggested is None:  # all of a small space was tried
            break
        algorithm.observe(Observation(number, suggested, float(values[number])))
    return Cost(statistics.median(took), max(took), peak, kept, len(algorithm.save()) / 1e6)
