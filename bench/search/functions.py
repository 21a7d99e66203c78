"""Hyperparameter searches on functions and real models, ours against other packages'.

Every searcher is run from the same seeds on every problem, with the same noise for the same
evaluation. After k evaluations it is judged by the true value of the candidate that looked
best to it: its regret is what the best there is has over that. Differences at the end are
tested by Wilcoxon's signed-rank test on the regrets, paired by seed, and the p-values of one
of our algorithms against all others on all problems are corrected together (Holm 1979).
"""

from __future__ import annotations

import json
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from bench.search.plots import plot_problems
from bench.search.problems import (
    LEVELS,
    REAL_SPACES,
    Problem,
    list_snapped,
    snap,
    synthetic,
    train,
)
from bench.search.results import RESULTS
from bench.search.rivals import RIVALS, Evaluate, missing
from bench.search.significance import LEVEL, holm
from numpy.typing import NDArray
from scipy.stats import rankdata, wilcoxon

from strandline.search.algorithm import Observation
from strandline.search.registry import make_algorithm
from strandline.search.space import Candidate, Space, candidate_key

HERE = Path(__file__).parent
Floats = NDArray[np.float64]
OURS = (
    "random", "quasi-random", "tpe", "gaussian-process", "cma-es", "predictor-evolution",
    "regularized-evolution",
)  # fmt: skip
BUDGET = 30
CHECKPOINTS = (12, 20, 30)
FIRST_SEED = 3000
MOST_SEEDS = 40
# These take seconds a search and more; they are run when they are asked for by name.
SLOW = ("Optuna GP", "Nevergrad NGOpt")
TESTED = ("gaussian-process", "predictor-evolution", "tpe")


@dataclass(frozen=True)
class Job:
    """One search on one problem."""

    problem: str
    searcher: str
    seed: int
    tables: Path


def search(job: Job) -> list[float]:
    """Return the regret after 1, 2, … evaluations."""
    logging.getLogger("optuna").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")  # what samplers say of conditional spaces, each time
    problem = load(job.problem, job.tables)
    rng = np.random.default_rng([job.seed, 77])
    noise = problem.noise * rng.standard_normal(BUDGET)
    seen: list[float] = []
    regrets: list[float] = []

    def evaluate(candidate: Candidate) -> float:
        true = problem.value(candidate)
        value = true + float(noise[min(len(seen), BUDGET - 1)])
        better = not seen or value > max(seen)
        seen.append(value)
        regrets.append(problem.best - true if better else regrets[-1])
        return value

    if job.searcher in RIVALS:
        RIVALS[job.searcher](problem.space, evaluate, BUDGET, job.seed)
    else:
        _search_ours(job.searcher, problem.space, evaluate, job.seed)
    return [max(0.0, regret) for regret in regrets[:BUDGET]]


def _search_ours(name: str, space: Space, evaluate: Evaluate, seed: int) -> None:
    algorithm = make_algorithm(name, space, seed)
    for number in range(BUDGET):
        candidate = algorithm.suggest(number, ())
        assert candidate is not None
        algorithm.observe(Observation(number, candidate, evaluate(candidate)))


# ---------------------------------------------------------------- problems


@cache
def load(name: str, tables: Path) -> Problem:
    """Return a problem; a real one by its table."""
    for problem in synthetic():
        if problem.name == name:
            return problem
    space = REAL_SPACES[name]
    table: dict[str, float] = json.loads(_table_path(name, tables).read_text())

    def value(candidate: Mapping[str, Any]) -> float:
        return table[candidate_key(snap(space, candidate))]

    return Problem(name, space, value, max(table.values()))


def _table_path(name: str, tables: Path) -> Path:
    text = (HERE / "problems.py").read_bytes() + name.encode()
    return tables / f"{sha256(text).hexdigest()[:16]}.json"


def _make_table(name: str, tables: Path, pool: ProcessPoolExecutor) -> int:
    """Train all there is of a real problem, unless that was done; return how many that is."""
    path, candidates = _table_path(name, tables), list(list_snapped(REAL_SPACES[name]))
    if not path.is_file():
        scores = pool.map(train, [name] * len(candidates), candidates, chunksize=16)
        pairs = zip(map(candidate_key, candidates), scores, strict=True)
        path.write_text(json.dumps(dict(pairs)))
    return len(candidates)


# ---------------------------------------------------------------- comparing


def compare_functions(options: Any, pool: ProcessPoolExecutor) -> Iterator[str]:
    """Compare searchers problem by problem, and over all."""
    tables = options.cache or Path(tempfile.gettempdir()) / "strandline-bench-search"
    tables.mkdir(parents=True, exist_ok=True)
    for name in REAL_SPACES:
        count = _make_table(name, tables, pool)
        yield f"{name}: {count} configurations trained, {LEVELS} levels a continuous parameter"
    yield ""
    fast = [name for name in (*OURS, *RIVALS) if name not in SLOW]
    searchers = options.algorithms.split(";") if options.algorithms else fast
    for name in RIVALS:
        if name in searchers and (reason := missing(name)):
            searchers.remove(name)
            yield f"{name} is left out: {reason}\n"
    problems = [problem.name for problem in synthetic()] + list(REAL_SPACES)
    if options.problems:
        problems = options.problems.split(";")
    seeds = min(options.seeds, MOST_SEEDS)
    regrets: dict[str, dict[str, Floats]] = {}
    for problem in problems:
        regrets[problem] = {
            searcher: _run(problem, searcher, seeds, tables, pool, options.resume)
            for searcher in searchers
        }
        yield from _describe(problem, regrets[problem])
    yield from _rank(regrets)
    for tested in TESTED:
        if tested in searchers:
            yield from _test(tested, regrets)
    if options.write:
        real = {name: runs for name, runs in regrets.items() if name in REAL_SPACES}
        exact = {name: runs for name, runs in regrets.items() if name not in REAL_SPACES}
        for kind, shown in (("real", real), ("synthetic", exact)):
            if shown:
                plot_problems(HERE / f"functions-{kind}.svg", shown)


def _run(
    problem: str, searcher: str, seeds: int, tables: Path, pool: ProcessPoolExecutor, resume: bool
) -> Floats:
    """Return regrets [seeds, evaluations]; those of an earlier run if it is to be resumed."""
    name = sha256(f"{problem}/{searcher}/{seeds}/{BUDGET}".encode()).hexdigest()[:16]
    path = tables / f"run-{name}.json"
    if resume and path.is_file():
        return np.array(json.loads(path.read_text()))
    jobs = [Job(problem, searcher, FIRST_SEED + seed, tables) for seed in range(seeds)]
    found = list(pool.map(search, jobs, chunksize=4))
    path.write_text(json.dumps(found))
    return np.array(found)


def _describe(problem: str, regrets: Mapping[str, Floats]) -> Iterator[str]:
    yield f"{problem}: mean regret after so many evaluations (median at the end)\n"
    yield "| searcher | seeds | " + " | ".join(map(str, CHECKPOINTS)) + " | median |"
    yield "| --- | --- |" + " --- |" * (len(CHECKPOINTS) + 1)
    for searcher, runs in regrets.items():
        cells = []
        for at in CHECKPOINTS:
            values = runs[:, at - 1]
            error = float(values.std(ddof=1) / len(values) ** 0.5)
            cells.append(f"{values.mean():.3g} ± {error:.2g}")
            entry = RESULTS.setdefault("functions", {}).setdefault(problem, {})
            entry.setdefault(searcher, {})[at] = [float(values.mean()), error, len(values)]
        median = float(np.median(runs[:, -1]))
        yield f"| {searcher} | {len(runs)} | {' | '.join(cells)} | {median:.3g} |"
    yield ""


def _rank(regrets: Mapping[str, Mapping[str, Floats]]) -> Iterator[str]:
    """Yield the mean rank of each searcher's regret, over seeds and problems."""
    searchers = list(next(iter(regrets.values())))
    yield "Mean rank over seeds and problems (1 is best), after so many evaluations\n"
    yield "| searcher | " + " | ".join(map(str, CHECKPOINTS)) + " |"
    yield "| --- |" + " --- |" * len(CHECKPOINTS)
    columns = []
    for at in CHECKPOINTS:
        ranks = [
            rankdata(np.stack([runs[name][:, at - 1] for name in searchers]), axis=0).mean(1)
            for runs in regrets.values()
        ]
        columns.append(np.mean(ranks, axis=0))
    for place in np.argsort(columns[-1]):
        cells = " | ".join(f"{column[place]:.2f}" for column in columns)
        yield f"| {searchers[place]} | {cells} |"
    yield ""


def _test(tested: str, regrets: Mapping[str, Mapping[str, Floats]]) -> Iterator[str]:
    """Yield on how many problems our algorithm is significantly better and worse than each."""
    others = [name for name in next(iter(regrets.values())) if name != tested]
    pairs = [(problem, other) for other in others for problem in regrets]
    signs, values = [], []
    for problem, other in pairs:
        apart = regrets[problem][other][:, -1] - regrets[problem][tested][:, -1]
        signs.append(float(np.sign(np.median(apart)) or np.sign(apart.mean())))
        values.append(float(wilcoxon(apart).pvalue) if np.any(apart) else 1.0)
    significant = dict(zip(pairs, holm(values), strict=True))
    yield (
        f"{tested} against each, of {len(regrets)} problems after {BUDGET} evaluations "
        f"(signed ranks, Holm over {len(pairs)} tests, {LEVEL:.0%})\n"
    )
    yield "| searcher | better than it | no difference seen | worse than it, and where |"
    yield "| --- | --- | --- | --- |"
    for other in others:
        chosen = [(p, s) for (p, o), s in zip(pairs, signs, strict=True) if o == other]
        told = [(p, s) for p, s in chosen if significant[p, other]]
        worse = [p for p, s in told if s < 0]
        better = len(told) - len(worse)
        where = f"{len(worse)}: {'; '.join(worse)}" if worse else "0"
        yield f"| {other} | {better} | {len(chosen) - len(told)} | {where} |"
    yield ""
