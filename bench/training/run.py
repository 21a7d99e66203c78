"""How fast the training loop is, against a bare hand-written one on the same network.

Run: python bench/training/run.py [--rounds N] [--threads N] (minutes).

The bare loop is the least that learns: normalised float images that lie in memory, a random
batch, forward, loss, backward, optimizer's step. Ours reads stored bytes, shifts and mirrors
each image, normalises, clips gradients, follows a schedule and draws from seeds. The two
take turns, so that whatever else the machine does hits both; the ratio is the median over
the rounds, with the smallest and the largest.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from strandline.cells.family import Plan
from strandline.cells.registry import FAMILIES, family
from strandline.learn.scratch.fitting import Fitting
from strandline.learn.scratch.recipe import ScratchRecipe
from strandline.spec.networks import CellFamily, Network, Schedule
from strandline.spec.records import Task
from strandline.zoo.cells.registry import build_network

LABELS = 10
IMAGES = {"nasnet": 512, "darts": 512, "nasbench201": 1024, "mbconv": 512}


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--filters", type=int, default=8)
    chosen = options.parse_args()
    torch.set_num_threads(chosen.threads)
    print(f"load {os.getloadavg()[0]:.1f}, {chosen.threads} threads, {chosen.rounds} rounds")
    print("| network | ours, images/s | bare | bare, channels last | ours / the faster bare one |")
    print("|---|---|---|---|---|")
    for name in FAMILIES:
        print(_row(name, chosen.filters, chosen.rounds, chosen.threads), flush=True)


def _row(name: str, filters: int, rounds: int, threads: int) -> str:
    count = IMAGES[name]
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    targets = rng.integers(0, LABELS, count)
    cell = family(name).sample(rng)
    network = Network(filters=filters, cells=1)
    recipe = ScratchRecipe(CellFamily(name), cell, network, Schedule(epochs=1000))
    ours = Fitting(recipe, pixels, targets, np.arange(count), Task.MULTICLASS, LABELS, 0, threads)
    plan = recipe.plan(LABELS)
    batch = recipe.schedule.batch_size
    ways: dict[str, Callable[[], None]] = {
        "ours": ours.run_epoch,
        "bare": _bare(name, cell, plan, pixels, targets, batch, torch.contiguous_format),
        "last": _bare(name, cell, plan, pixels, targets, batch, torch.channels_last),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(rounds + 1):
        for way, run in ways.items():
            started = time.perf_counter()
            run()
            if turn:  # the first one warms up
                seconds[way].append(time.perf_counter() - started)
    seen = count // batch * batch
    speeds = {way: seen / statistics.median(found) for way, found in seconds.items()}
    ratios = [
        min(bare, last) / own
        for own, bare, last in zip(seconds["ours"], seconds["bare"], seconds["last"], strict=True)
    ]
    middle = statistics.median(ratios)
    return (
        f"| {name} | {speeds['ours']:.0f} | {speeds['bare']:.0f} | {speeds['last']:.0f} | "
        f"{middle:.3f} ({min(ratios):.3f}–{max(ratios):.3f}) |"
    )


def _bare(
    name: str,
    cell: object,
    plan: Plan,
    pixels: np.ndarray,
    targets: np.ndarray,
    batch: int,
    memory_format: torch.memory_format,
) -> Callable[[], None]:
    network: nn.Module = build_network(name, cell, plan)  # type: ignore[arg-type]
    network = network.to(memory_format=memory_format)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().sub(128).div(64)
    images = images.contiguous(memory_format=memory_format)
    truth = torch.from_numpy(targets)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, nesterov=True)

    def run() -> None:
        network.train()
        order = torch.randperm(len(images))
        for start in range(0, len(images) - batch + 1, batch):
            some = order[start : start + batch]
            loss = functional.cross_entropy(network(images[some]), truth[some])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()

    return run


if __name__ == "__main__":
    main()
