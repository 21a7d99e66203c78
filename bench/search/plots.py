"""Regret against the number of trainings, drawn beside the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "strandline"  # the same drawing is the same file


def plot_regret(
    path: Path,
    title: str,
    curves: Mapping[str, Sequence[Sequence[float]]],
    best: float,
) -> None:
    """Draw each algorithm's mean regret with a band of one standard error."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for name, runs in curves.items():
        length = min(map(len, runs))
        regret = best - np.array([run[:length] for run in runs])
        mean, error = regret.mean(0), regret.std(0, ddof=1) / len(runs) ** 0.5
        queries = np.arange(1, length + 1)
        axes.plot(queries, mean, label=name)
        axes.fill_between(queries, mean - error, mean + error, alpha=0.2)
    axes.set(
        title=title, xlabel="distinct trainings", ylabel="mean regret of test accuracy, points"
    )
    axes.set_yscale("log")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def plot_problems(path: Path, problems: Mapping[str, Mapping[str, NDArray[np.float64]]]) -> None:
    """Draw mean regrets against evaluations, one small plot a problem.

    Args:
        problems: by problem and searcher, [seeds, evaluations].
    """
    from matplotlib import pyplot as plt

    columns = min(3, len(problems))
    rows = -(-len(problems) // columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(4 * columns, 3 * rows), layout="constrained", squeeze=False
    )
    for axes, (name, searchers) in zip(grid.flat, problems.items(), strict=False):
        for place, (searcher, runs) in enumerate(searchers.items()):
            mean = runs.mean(0)
            style = ("-", "--", ":")[place // 10 % 3]
            axes.plot(np.arange(1, len(mean) + 1), mean, style, label=searcher, linewidth=1)
        axes.set(title=name, xlabel="evaluations", ylabel="mean regret")
        axes.set_yscale("log")
        axes.grid(alpha=0.3)
    for axes in list(grid.flat)[len(problems) :]:
        axes.set_axis_off()
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize="small")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
