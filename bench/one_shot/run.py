"""Do shared weights tell which cell is better, and what does a score cost?

Run: python bench/one_shot/run.py [--families nasbench201,darts] [--cells 16] (half an hour).

For each family, weights are shared and a controller is trained on CIFAR-10 images. Cells
drawn at random are then scored with the shared weights, and each is trained alone on the
same images: Spearman's rank correlation of the two, with a 95% bootstrap interval over the
cells. As many cells drawn by the trained controller are trained alone as well: is what it
draws better than chance? Needs the development data (STRANDLINE_TEST_DATA).
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

import strandline
from strandline import compose
from strandline.jobs.train import TrainPlace, gather_evidence
from strandline.learn.one_shot.children import draw_children
from strandline.learn.one_shot.trials import ChildFactory, SharingFactory
from strandline.learn.scratch.recipe import scratch_space
from strandline.learn.scratch.trials import ScratchFactory
from strandline.learn.transfer_data import TransferData
from strandline.ports import Assignment, Trainable
from strandline.search.space import Candidate
from strandline.spec.settings import load_settings
from strandline.spec.v1alpha1 import SearchSpec
from strandline.testing.inline_runner import InlineRunner

Floats = NDArray[np.float64]
DATA = Path(os.environ.get("STRANDLINE_TEST_DATA", "../shared/data"))
METRIC = "val/precision_at_1"
RESAMPLES = 2000


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--families", default="nasbench201,darts")
    parser.add_argument("--cells", type=int, default=16)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--size", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=8, help="of each cell alone")
    parser.add_argument("--sharing", type=int, default=30, help="epochs of the shared weights")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    print(
        f"{options.images} images of {options.size} pixels, {options.sharing} epochs shared, "
        f"{options.epochs} alone, {options.cells} cells each; load {os.getloadavg()[0]:.1f}\n"
    )
    print(
        "| family | rank correlation | alone: random cells | alone: the controller's | s shared "
        "| s a score | s alone |\n| --- | --- | --- | --- | --- | --- | --- |"
    )
    with tempfile.TemporaryDirectory(prefix="bench-one-shot-") as home:
        for name in options.families.split(","):
            print(_row(name, Path(home), options), flush=True)


def _row(name: str, home: Path, options: argparse.Namespace) -> str:
    spec = SearchSpec.model_validate(
        {
            "dataset": {"name": "cifar"},
            "space": {
                "preset": "cells",
                "family": name,
                "network": {"imageSize": options.size, "filters": 8, "cells": 1},
                "schedule": {"epochs": options.epochs},
                "images": options.images,
            },
            "algorithm": {"name": "enas", "settings": {"epochs": options.sharing}},
            "rerank": {},
        }
    )
    data = _load(spec, home)
    settings = spec.algorithm.settings
    sharing = SharingFactory(data, spec.space, settings, threads=options.threads)
    started = time.monotonic()
    shared = _run(sharing(), {})[1]
    seconds = time.monotonic() - started
    labels = len(data.labels)
    rng = np.random.default_rng(1)
    space = scratch_space(spec.space, labels)
    drawn = [space.sample(rng) for _ in range(options.cells)]
    chosen = draw_children(shared, spec.space, labels, settings, 0, options.cells)
    scored, score_seconds = _judge(ChildFactory(sharing, shared)(), drawn)
    alone = ScratchFactory(data, spec.space, threads=options.threads)()
    own, own_seconds = _judge(alone, drawn)
    best, _ = _judge(alone, chosen)
    return (
        f"| {name} | {_correlation(scored, own)} | {_mean(own)} | {_mean(best)} | {seconds:.0f} "
        f"| {score_seconds:.1f} | {own_seconds:.1f} |"
    )


def _load(spec: SearchSpec, home: Path) -> TransferData:
    platform = compose.local(load_settings({"STRANDLINE_HOME": str(home)}))
    if not platform.catalog.list_dataset_versions("cifar"):
        strandline.import_dataset("cifar", DATA / "cifar10.zip", platform=platform)
    place = TrainPlace(
        store=platform.store,
        catalog=platform.catalog,
        clock=platform.clock,
        runner=InlineRunner(),
        open_store=compose.StoreOpener(platform.settings.store_url),
        cache_dir=platform.settings.cache_dir,
    )
    return gather_evidence(spec, place).approach.data


def _judge(trial: Trainable, cells: Sequence[Candidate]) -> tuple[Floats, float]:
    """Return what each cell gives in the end, and the seconds of one."""
    started = time.monotonic()
    values = [_run(trial, cell)[0] for cell in cells]
    return np.array(values), (time.monotonic() - started) / len(cells)


def _run(trial: Trainable, candidate: Candidate) -> tuple[float, bytes]:
    """Run a trial to its end; return its value and last checkpoint."""
    trial.reset(Assignment(0, candidate, 0, None))
    while True:
        report = trial.step()
        if report.done:
            return report.metrics.get(METRIC, 0.0), report.checkpoint or b""


def _correlation(one: Floats, other: Floats) -> str:
    found = stats.spearmanr(one, other).statistic
    rng = np.random.default_rng(0)
    places = rng.integers(0, len(one), (RESAMPLES, len(one)))
    drawn = [stats.spearmanr(one[each], other[each]).statistic for each in places]
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return f"{found:.2f} ({low:.2f}–{high:.2f})"


def _mean(values: Floats) -> str:
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():.3f} ± {half:.3f}"


if __name__ == "__main__":
    main()
