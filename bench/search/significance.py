"""Which differences are more than chance, of all those that are looked at together."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from bench.search.tabular import RIDGE
from scipy.stats import norm

LEVEL = 0.05
DEFAULT = "predictor-evolution"
QUERIES = (50, 100)
HERE = Path(__file__).parent


def holm(values: Sequence[float]) -> list[bool]:
    """Return which p-values are significant when all are looked at (Holm 1979)."""
    passed = [False] * len(values)
    for rank, place in enumerate(np.argsort(values)):
        if values[place] > LEVEL / (len(values) - rank):
            break
        passed[place] = True
    return passed


def compare_with_reference(options: Any, pool: ProcessPoolExecutor) -> Iterator[str]:
    """Compare results.json with every row of the reference, in standard errors."""
    path = options.data / "nasbench201-reference.csv"
    if not path.is_file() or not (HERE / "results.json").is_file():
        yield f"there is no {path} or no results.json: measure nasbench201 first, with --write"
        return
    apart = _differences(json.loads((HERE / "results.json").read_text()), path)
    values = [2 * float(norm.sf(abs(z))) for z in apart.values()]
    passed = dict(zip(apart, holm(values), strict=True))
    columns = [(key, at) for key in dict.fromkeys(key for _, key, _ in apart) for at in QUERIES]
    yield f"{len(apart)} comparisons; *: significant at {LEVEL:.0%} after Holm's correction\n"
    yield "| reference | " + " | ".join(f"{key} @{at}" for key, at in columns) + " |"
    yield "| --- |" + " --- |" * len(columns)
    for method in dict.fromkeys(method for method, _, _ in apart):
        cells = [
            f"{apart[method, key, at]:+.1f}{'*' if passed[method, key, at] else ''}"
            if (method, key, at) in apart
            else "–"
            for key, at in columns
        ]
        yield f"| {method} | " + " | ".join(cells) + " |"


def _differences(results: Any, reference: Path) -> dict[tuple[str, str, int], float]:
    apart: dict[tuple[str, str, int], float] = {}
    for key, found in results.items():
        if DEFAULT in found and RIDGE in found:
            for queries in QUERIES:
                ours, theirs = (found[name][str(queries)] for name in (DEFAULT, RIDGE))
                error = math.hypot(ours[1], theirs[1])
                apart[RIDGE, key, queries] = (ours[0] - theirs[0]) / error
    with reference.open(newline="") as file:
        for row in csv.DictReader(file):
            key, queries = f"{row['dataset']}-{row['search_signal']}", int(row["queries"])
            ours = results.get(key, {}).get(DEFAULT, {}).get(str(queries))
            if ours and row["counting"] == "distinct_cells" and queries in QUERIES:
                mean, error = float(row["test_mean"]), float(row["test_se"])
                apart[row["method"], key, queries] = (ours[0] - mean) / math.hypot(ours[1], error)
    return apart
