"""What searches with shared weights find, and whether their scores tell which cell is better.

Run: python bench/one_shot/run.py [--families nasbench201,darts] [--cells 40]

For each family, CIFAR-10 images are searched on in several ways: `enas`, and differentiable
search (`darts`) by drawn cells and by mixtures as published, each with and without the limit
on skip connections. Cells drawn at random are scored with each way's shared weights, and
compared with what they reach alone: Spearman's rank correlation, with a 95% bootstrap interval
over the cells. As many cells as each way would try are looked at as well, its best guess among
them: is what it draws better than chance? Needs the development data (STRANDLINE_TEST_DATA).

What a cell of `nasbench201` reaches alone stands in the published table (200 epochs on all of
CIFAR-10 at 32 pixels); cells of other families are trained, on the images of the search.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq  # type: ignore[import-untyped]  # none published
from numpy.typing import NDArray
from scipy import stats

import strandline
from strandline import compose
from strandline.cells.nasbench201 import EDGES, OPERATIONS, edge_name
from strandline.jobs.train import TrainPlace, gather_evidence
from strandline.learn.one_shot.children import draw_children
from strandline.learn.one_shot.trials import ChildFactory, SharingFactory
from strandline.learn.scratch.recipe import scratch_space
from strandline.learn.scratch.trials import ScratchFactory
from strandline.learn.transfer_data import TransferData
from strandline.ports import Assignment, Trainable
from strandline.search.darts import count_skips
from strandline.search.space import Candidate, Space
from strandline.spec.records import Scalar
from strandline.spec.settings import load_settings
from strandline.spec.v1alpha1 import NamedChoice, SearchSpec
from strandline.testing.inline_runner import InlineRunner

Floats = NDArray[np.float64]
DATA = Path(os.environ.get("STRANDLINE_TEST_DATA", "../shared/data"))
METRICS = ("val/precision_at_1", "val/log_loss")
RESAMPLES = 2000
FREE = 99
"""A limit on skip connections that is none."""
WAYS: Mapping[str, tuple[str, Mapping[str, Scalar]]] = {
    "enas": ("enas", {}),
    "sampled": ("darts", {}),
    "sampled-unguarded": ("darts", {"skips": FREE}),
    "mixed": ("darts", {"relaxation": "mixed"}),
    "mixed-unguarded": ("darts", {"relaxation": "mixed", "skips": FREE}),
}


class Table:
    """What the cells of NAS-Bench-201 give that were trained by themselves, percent right."""

    def __init__(self) -> None:
        columns = [edge_name(*edge) for edge in EDGES]
        read = pq.read_table(DATA / "nasbench201.parquet", columns=[*columns, "cifar10_test"])
        rows = zip(*(read[name].to_pylist() for name in columns), strict=True)
        self._known = dict(zip(rows, read["cifar10_test"].to_pylist(), strict=True))
        self._columns = columns

    def judge(self, cells: Sequence[Candidate]) -> Floats:
        """Return the value of each cell."""
        keys = [tuple(OPERATIONS.index(str(cell[n])) for n in self._columns) for cell in cells]
        return np.array([self._known[key] for key in keys])


@dataclass
class Alone:
    """What cells give that are trained by themselves, each once."""

    trial: Trainable
    space: Space
    known: dict[str, float] = field(default_factory=dict)

    def judge(self, cells: Sequence[Candidate]) -> Floats:
        """Return the value of each cell."""
        for cell in cells:
            key = self.space.canonical(cell)
            if key not in self.known:
                self.known[key] = _run(self.trial, cell)[0][0]
        return np.array([self.known[self.space.canonical(cell)] for cell in cells])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--families", default="nasbench201,darts")
    parser.add_argument("--cells", type=int, default=40)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--size", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=8, help="of each cell alone")
    parser.add_argument("--sharing", type=int, default=30, help="epochs of the shared weights")
    parser.add_argument("--mixed", type=int, default=30, help="the same, of mixtures")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    print(
        f"{options.images} images of {options.size} pixels, {options.sharing} epochs shared "
        f"({options.mixed} of mixtures), {options.epochs} alone, {options.cells} cells each, "
        f"seed {options.seed}; load {os.getloadavg()[0]:.1f}\n"
    )
    print(
        "| family | way | rank correlation: precision | log loss | alone: its cells "
        "| its best guess | skips of the guess | skips of its cells | s shared | s a score |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    )
    with tempfile.TemporaryDirectory(prefix="bench-one-shot-") as home:
        for name in options.families.split(","):
            _compare(name, Path(home), options)


def _compare(family: str, home: Path, options: argparse.Namespace) -> None:
    """Print the rows of a family."""
    spec = _spec(family, options)
    data = _load(spec, home)
    space = scratch_space(spec.space, len(data.labels))
    rng = np.random.default_rng(1)
    drawn = [space.sample(rng) for _ in range(options.cells)]
    alone: Table | Alone = (
        Table()
        if family == "nasbench201"
        else Alone(ScratchFactory(data, spec.space, threads=options.threads)(), space)
    )
    own = alone.judge(drawn)
    print(f"| {family} | random | | | {_mean(own)} | | | {_skips(drawn)} | | |", flush=True)
    shared: dict[str, tuple[bytes, float]] = {}  # the limit of a mixture holds in reading only
    for way in options.ways.split(","):
        name, settings = WAYS[way]
        epochs = options.mixed if way.startswith("mixed") else options.sharing
        chosen = NamedChoice(name=name, settings={**settings, "epochs": epochs})
        factory = SharingFactory(data, spec.space, chosen, threads=options.threads)
        trained = "mixed" if way.startswith("mixed") else way
        if trained not in shared:
            started = time.monotonic()
            shared[trained] = (_run(factory(), {})[1], time.monotonic() - started)
        content, seconds = shared[trained]
        scored, each = _score(ChildFactory(factory, content)(), drawn)
        cells = draw_children(
            content, spec.space, len(data.labels), chosen, options.seed, options.cells
        )
        values = alone.judge(cells)
        guess = f"{values[0]:.4g} | {_skips(cells[:1])}" if name == "darts" else "|"
        print(
            f"| {family} | {way} | {_correlation(scored[:, 0], own)} "
            f"| {_correlation(-scored[:, 1], own)} | {_mean(values)} | {guess} "
            f"| {_skips(cells)} | {seconds:.0f} | {each:.1f} |",
            flush=True,
        )


def _spec(family: str, options: argparse.Namespace) -> SearchSpec:
    return SearchSpec.model_validate(
        {
            "dataset": {"name": "cifar"},
            "space": {
                "preset": "cells",
                "family": family,
                "network": {"imageSize": options.size, "filters": 8, "cells": 1},
                "schedule": {"epochs": options.epochs},
                "images": options.images,
            },
            "algorithm": {"name": "enas"},
            "rerank": {},
            "seed": options.seed,
        }
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
        groups=InlineRunner(),
        open_store=compose.StoreOpener(platform.settings.store_url),
        cache_dir=platform.settings.cache_dir,
    )
    return gather_evidence(spec, place).approach.data


def _skips(cells: Sequence[Candidate]) -> str:
    """Return how many skip connections a cell has on average, and the most."""
    found = [max(count_skips(cell).values(), default=0) for cell in cells]
    return f"{np.mean(found):.1f} (most {max(found)})" if len(found) > 1 else str(found[0])


def _score(trial: Trainable, cells: Sequence[Candidate]) -> tuple[Floats, float]:
    """Return what each cell gives in the end, [n, metrics], and the seconds of one."""
    started = time.monotonic()
    values = [_run(trial, cell)[0] for cell in cells]
    return np.array(values), (time.monotonic() - started) / len(cells)


def _run(trial: Trainable, candidate: Candidate) -> tuple[list[float], bytes]:
    """Run a trial to its end; return its metrics and last checkpoint."""
    trial.reset(Assignment(0, candidate, 0, None))
    while True:
        report = trial.step()
        if report.done:
            metrics = [report.metrics.get(name, 0.0) for name in METRICS]
            return metrics, report.checkpoint or b""


def _correlation(one: Floats, other: Floats) -> str:
    found = stats.spearmanr(one, other).statistic
    rng = np.random.default_rng(0)
    places = rng.integers(0, len(one), (RESAMPLES, len(one)))
    drawn = [stats.spearmanr(one[each], other[each]).statistic for each in places]
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return f"{found:.2f} ({low:.2f}–{high:.2f})"


def _mean(values: Floats) -> str:
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():.4g} ± {half:.2g}"


if __name__ == "__main__":
    main()
