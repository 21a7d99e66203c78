"""Architecture search from end to end, as a user does it: is what it finds worth the search?

Run: python bench/cells/run.py [--trials 80] (some ninety minutes on two cores; --home keeps it).

A Search with the preset `cells` looks at CIFAR-10 images on a small proxy and re-ranks its
best cells. The cell it chose and ten drawn at random are then trained alike, each as a
Training, and evaluated on the test images, which none of them has seen; the table has the
found one against the mean of the others with its 95% interval (Student's t over the cells),
and how far apart that interval and the found one's own are: by log loss, which the search
looks at, and by precision.
Last the found cell is trained larger on aerial images, through a `kill -9` of its job.

Everything but the scores of single images goes through the commands; it needs the
development data (STRANDLINE_TEST_DATA).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from scipy import stats

from strandline.bundle.runtime import Predictor
from strandline.cells.registry import family
from strandline.data.decode import decode_image
from strandline.learn.bootstrap import resampled_weights

DATA = Path(os.environ.get("STRANDLINE_TEST_DATA", "../shared/data"))
RANDOM_CELLS = 10
TRAIN_A_LABEL = 600  # of 1,000: the other 400 join the 200 test images, for narrower intervals
RESAMPLES = 10_000
API = "strandline.dev/v1alpha1"
BETTER = {"log_loss": -1, "precision_at_1": 1}

Floats = NDArray[np.float64]


class Home:
    """The commands in one STRANDLINE_HOME."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def run(self, *words: str) -> str:
        """Return what the command prints."""
        done = subprocess.run(
            [sys.executable, "-m", "strandline", *words],
            env={**os.environ, "STRANDLINE_HOME": str(self.path)},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return done.stdout

    def read(self, *words: str) -> Any:
        """Return what the command prints as JSON."""
        return json.loads(self.run(*words, "-o", "json"))

    def apply(self, kind: str, name: str, spec: dict[str, Any], wait: bool = True) -> float:
        """Apply a document, wait for its end, and return the seconds that took."""
        document = {"apiVersion": API, "kind": kind, "metadata": {"name": name}, "spec": spec}
        path = self.path / f"{kind}-{name}.yaml"
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        started = time.monotonic()
        self.run("apply", "-f", str(path))
        if wait:
            self.wait(kind, name)
        return time.monotonic() - started

    def wait(self, kind: str, name: str) -> None:
        """Wait until the object's job has ended well."""
        self.run("wait", f"{kind}/{name}", "--for=condition=Complete", "--timeout=5h")

    def judge(self, model: str, folder: Path) -> dict[str, Floats]:
        """Return the metrics of each image by itself, in order of path: [images] each."""
        exported = self.path / "exported" / model
        self.run("export", model, "--out", str(exported), "--force")
        predictor = Predictor(exported / f"{model}.bundle")
        paths = sorted(folder.glob("*/*"))
        truth = np.array([predictor.labels.index(path.parent.name) for path in paths])
        scores = np.array([predictor.scores(_decode(path)) for path in paths], np.float64)
        own = scores[np.arange(len(truth)), truth]
        return {
            "log_loss": -np.log(own),
            "precision_at_1": (scores.argmax(axis=1) == truth).astype(float),
        }

    def kill_job(self, name: str, epochs: int) -> int:
        """Kill -9 the job of a training after some epochs; return how many were over."""
        while True:
            found = self.read("get", "training", name)
            done = int(found.get("status", {}).get("epoch", 0))
            if done >= epochs:
                folder = self.path / "runs" / f"training-{found['metadata']['uid']}"
                os.killpg(int((folder / "pid").read_text()), signal.SIGKILL)
                return done
            time.sleep(1)


def main() -> None:
    """Run all of it and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, default=None)
    parser.add_argument("--family", default="nasnet")
    parser.add_argument("--trials", type=int, default=80)
    parser.add_argument("--images", type=int, help="that the search learns from (default: all)")
    parser.add_argument("--candidates", type=int, default=10, help="cells to re-rank")
    parser.add_argument("--time", default="1h")
    parser.add_argument("--size", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    home = Home(options.home or Path(tempfile.mkdtemp(prefix="bench-cells-")))
    home.path.mkdir(parents=True, exist_ok=True)
    print(f"home {home.path}, load {os.getloadavg()[0]:.1f}", flush=True)
    _unpack(home.path / "cifar")
    home.run("import", "cifar", str(home.path / "cifar"))
    network = {"imageSize": options.size, "filters": 8, "cells": 1}
    schedule = {"epochs": options.epochs}
    _search(home, options, network, schedule)
    _compare(home, options, network, schedule)
    _enlarge(home)


def _unpack(folder: Path) -> None:
    """Unpack the images, with more of them in the test split."""
    with zipfile.ZipFile(DATA / "cifar10.zip") as images:
        images.extractall(folder)
    for label in (folder / "train").iterdir():
        for image in sorted(label.iterdir())[TRAIN_A_LABEL:]:
            image.rename(folder / "test" / label.name / f"train-{image.name}")


def _search(
    home: Home, options: argparse.Namespace, network: dict[str, Any], schedule: dict[str, Any]
) -> None:
    seconds = home.apply(
        "Search",
        "cells",
        {
            "dataset": {"name": "cifar"},
            "space": {
                "preset": "cells",
                "family": options.family,
                "network": network,
                "schedule": {"epochs": 3},
                "images": options.images,
            },
            "algorithm": {"name": "predictor-evolution"},
            "budget": {"trials": options.trials, "time": options.time},
            "parallelism": 2,
            "seed": options.seed,
            "rerank": {"candidates": options.candidates, "schedule": schedule},
        },
    )
    status = home.read("get", "search", "cells")["status"]
    counts = {state: n for state, n in status["trials"].items() if n}
    print(f"\nsearch: {counts} in {seconds / 60:.1f} min with re-ranking")
    for each in status["reranked"]:
        print(f"  trial {each['number']}: {each['metric']} {each['value']:.4f} fully trained")
    home.run("search", "cell", "cells", "--draw", str(home.path / "cell.svg"), "--force")


def _compare(
    home: Home, options: argparse.Namespace, network: dict[str, Any], schedule: dict[str, Any]
) -> None:
    rng = np.random.default_rng(options.seed + 1000)
    kind = family(options.family)
    cells: dict[str, dict[str, Any]] = {"found": {"search": "cells"}}
    for number in range(RANDOM_CELLS):
        cells[f"random-{number}"] = {"family": options.family, "genotype": kind.sample(rng)}
    print("\n| cell | test log loss | test precision at 1 | training, s |")
    print("|---|---|---|---|")
    measured: dict[str, dict[str, dict[str, float]]] = {}
    judged: list[dict[str, Floats]] = []
    for name, cell in cells.items():
        seconds = home.apply(
            "Training",
            name,
            {
                "dataset": {"name": "cifar"},
                "cell": cell,
                "network": network,
                "schedule": schedule,
                "model": {"name": name},
            },
        )
        found = measured[name] = home.read("evaluate", name)["metrics"]
        judged.append(home.judge(name, home.path / "cifar" / "test"))
        for metric, values in judged[-1].items():
            assert abs(values.mean() - found[metric]["value"]) < 1e-4, metric
        shown = " | ".join(_shown(found[metric]) for metric in BETTER)
        print(f"| {name} | {shown} | {seconds:.0f} |", flush=True)
    for metric, better in BETTER.items():
        _tell_margin(metric, better, [each[metric] for each in measured.values()])
        values = better * np.array([each[metric] for each in judged])
        low, high = _margin_interval(values, options.seed)
        print(f"the margin's own interval, paired by image: {low:+.4f} to {high:+.4f}")


def _decode(path: Path) -> NDArray[np.uint8]:
    return decode_image(path.read_bytes()).pixels


def _shown(estimate: dict[str, float]) -> str:
    return f"{estimate['value']:.4f} ({estimate['low']:.4f}–{estimate['high']:.4f})"


def _tell_margin(metric: str, better: int, estimates: list[dict[str, float]]) -> None:
    """Print how the first cell stands to the mean of the others.

    Args:
        better: 1 when more is better, -1 when less is.
    """
    found, *rest = estimates
    others = [each["value"] for each in rest]
    mean, error = statistics.mean(others), statistics.stdev(others) / len(others) ** 0.5
    half = float(stats.t.ppf(0.975, len(others) - 1)) * error
    margin = better * (found["value"] - mean)
    gap = better * (found["low" if better > 0 else "high"] - mean) - half
    best = max(others) if better > 0 else min(others)
    print(
        f"\n{metric}: the random cells' mean is {mean:.4f} ± {half:.4f}, the best of them "
        f"{best:.4f}; the found one is {margin:.4f} better than the mean, and the two intervals "
        + (f"are {gap:.4f} apart" if gap > 0 else f"overlap by {-gap:.4f}")
    )


def _margin_interval(values: Floats, seed: int) -> tuple[float, float]:
    """Return the 95% interval of how far the first cell is from the mean of the others.

    Images and other cells are both resampled (percentile bootstrap): all cells answer the
    same images, so what is hard or easy for all of them cancels out.

    Args:
        values: [cells, images], more being better.
    """
    found, others = values[0], values[1:]
    size = len(found)
    cells = np.concatenate([*resampled_weights(np.arange(len(others)), RESAMPLES, seed)]) / len(
        others
    )
    margins: list[Floats] = []
    for images in resampled_weights(np.arange(size), RESAMPLES, seed + 1):
        drawn = cells[sum(map(len, margins)) :][: len(images)]
        margins.append((images @ found - (images @ others.T * drawn).sum(axis=1)) / size)
    low, high = np.quantile(np.concatenate(margins), [0.025, 0.975])
    return float(low), float(high)


def _enlarge(home: Home) -> None:
    home.run("import", "aerial", str(DATA / "ucmerced"))
    spec = {
        "dataset": {"name": "aerial"},
        "cell": {"search": "cells"},
        "network": {"imageSize": 48, "filters": 12, "cells": 2},
        "schedule": {"epochs": 12, "flips": "dihedral"},
        "model": {"name": "aerial"},
    }
    started = time.monotonic()
    home.apply("Training", "larger", spec, wait=False)
    killed = home.kill_job("larger", epochs=3)
    home.wait("Training", "larger")
    status = home.read("get", "training", "larger")["status"]
    found = home.read("evaluate", "aerial")["metrics"]["precision_at_1"]
    print(
        f"\nlarger, on aerial images: killed after epoch {killed}, {status['epoch']} epochs in "
        f"{(time.monotonic() - started) / 60:.1f} min, held out {status['value']:.4f}, test "
        f"{found['value']:.4f} ({found['low']:.4f}–{found['high']:.4f})"
    )


if __name__ == "__main__":
    main()
