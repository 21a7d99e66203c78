"""Processes that learn one network together do what one alone does, up to rounding."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import distributed, nn
from torch.multiprocessing.spawn import spawn

from strandline.learn.heads.contract import Floats
from strandline.learn.scratch.fitting import Fitting
from strandline.learn.scratch.ranks import ALONE, Ranks
from strandline.learn.scratch.recipe import read_recipe, scratch_space
from strandline.learn.scratch.shared_norm import SharedNorm
from strandline.spec.errors import UnusableDataError
from strandline.spec.records import Scalar, Task
from strandline.spec.search_space import Space

IMAGES, BATCH, EPOCHS = 20, 10, 2
# Numbers of 64 bits here: only the order of sums differs, so what differs is the last digits.
# In 32 bits the same differences start at the seventh digit and double every few steps.
TOLERANCE = 1e-9


@dataclass(frozen=True)
class Case:
    """What is learned: all that is random or shared has a part in one of them."""

    family: str
    network: Mapping[str, Any]
    schedule: Mapping[str, Any]
    cell: Mapping[str, Scalar] | None = None
    task: Task = Task.MULTICLASS
    counts: tuple[int, ...] = (2,)


# Nothing reads node 2, so the weights of what leads there get no gradient.
DEAD_ENDS: Mapping[str, Scalar] = {
    "op_0_1": "nor_conv_3x3",
    "op_0_2": "nor_conv_1x1",
    "op_1_2": "nor_conv_3x3",
    "op_0_3": "skip_connect",
    "op_1_3": "nor_conv_1x1",
    "op_2_3": "none",
}
CASES = {
    "nasnet": Case("nasnet", {"dropPath": 0.3, "auxiliary": True}, {"cutout": 0.25}),
    "nasbench201": Case("nasbench201", {}, {"flips": "dihedral"}, DEAD_ENDS, counts=(2, 3)),
    "darts": Case("darts", {"dropPath": 0.2}, {}, task=Task.MULTILABEL),
    "mbconv": Case("mbconv", {"dropPath": 0.2}, {"labelSmoothing": 0.0}, counts=(2, 3)),
}


def make_space(case: Case) -> Space:
    return Space.model_validate(
        {
            "preset": "cells",
            "family": case.family,
            "network": {"imageSize": 8, "filters": 2, "cells": 1, **case.network},
            "schedule": {
                "epochs": EPOCHS,
                "batchSize": BATCH,
                "learningRate": 0.02,
                **case.schedule,
            },
        }
    )


def make_candidate(space: Space) -> dict[str, Scalar]:
    return scratch_space(space, 3).sample(np.random.default_rng(3))


def make_fitting(case: Case, ranks: Ranks) -> Fitting:
    """A network for images of one colour each, which is easy to learn."""
    rng = np.random.default_rng(1)
    targets = np.arange(IMAGES) % 3
    pixels = rng.integers(0, 120, (IMAGES, 8, 8, 3), dtype=np.uint8)
    pixels[np.arange(IMAGES), :, :, targets] += 120
    truth = targets if case.task is Task.MULTICLASS else np.eye(3)[targets]
    space = make_space(case)
    recipe = read_recipe(space, case.cell or make_candidate(space))
    return Fitting(recipe, pixels, truth, np.arange(IMAGES), case.task, 3, 0, 1, ranks)


def learn(case: Case, ranks: Ranks) -> tuple[Fitting, list[float], Floats]:
    fitting = make_fitting(case, ranks)
    losses = []
    for _ in range(EPOCHS):
        fitting.run_epoch()
        losses.append(fitting.loss)
        fitting.settle()
    return fitting, losses, fitting.logits(np.arange(IMAGES))


def learn_together(rank: int, count: int, folder: str) -> None:
    """Learn all cases as one of several processes; each leaves what it has."""
    torch.set_default_dtype(torch.float64)
    place = f"file://{folder}/meet-{count}"
    distributed.init_process_group("gloo", init_method=place, rank=rank, world_size=count)
    for name in (name for name, case in CASES.items() if count in case.counts):
        fitting, losses, logits = learn(CASES[name], Ranks(rank, count))
        weights = {f"weight/{n}": each for n, each in fitting.network.state_dict().items()}
        found = {"losses": torch.tensor(losses, dtype=torch.float64)}
        found |= {"logits": torch.from_numpy(logits), **weights}
        kept = {n: each.contiguous() for n, each in found.items()}
        save_file(kept, Path(folder, f"{name}-{count}-{rank}"))
        Path(folder, f"{name}-{count}-{rank}.checkpoint").write_bytes(fitting.to_bytes())
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what two and three processes left."""
    folder = tmp_path_factory.mktemp("together")
    for count in (2, 3):
        spawn(learn_together, (count, str(folder)), nprocs=count)  # type: ignore[no-untyped-call]
    return folder


@pytest.mark.parametrize("name", CASES)
@pytest.mark.usefixtures("double")
def test_one_two_and_three_processes_have_the_same_losses(name: str, together: Path) -> None:
    _, losses, logits = learn(CASES[name], ALONE)
    for count in CASES[name].counts:
        found = load_file(together / f"{name}-{count}-0")
        assert found["losses"].tolist() == pytest.approx(losses, rel=TOLERANCE)
        assert np.allclose(found["logits"].numpy(), logits, atol=TOLERANCE)
    assert losses[1] != losses[0]


@pytest.fixture
def double() -> Iterator[None]:
    """Numbers of 64 bits."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.mark.parametrize(("name", "count"), [("nasnet", 2), ("nasbench201", 3)])
def test_all_processes_hold_the_same_network_to_the_last_bit(
    name: str, count: int, together: Path
) -> None:
    first, *others = (load_file(together / f"{name}-{count}-{rank}") for rank in range(count))
    for other in others:
        assert first.keys() == other.keys()
        assert all(torch.equal(first[key], other[key]) for key in first)


@pytest.mark.usefixtures("double")
def test_what_several_processes_kept_goes_on_in_one(together: Path) -> None:
    fitting = make_fitting(CASES["nasnet"], ALONE)
    fitting.load_bytes((together / "nasnet-2-0.checkpoint").read_bytes())
    assert fitting.finished
    found = load_file(together / "nasnet-2-0")
    assert np.allclose(found["logits"].numpy(), fitting.logits(np.arange(IMAGES)), atol=TOLERANCE)


def test_shares_of_a_batch_are_even_and_each_image_is_in_one() -> None:
    shares = [range(10)[Ranks(rank, 4).share(10)] for rank in range(4)]
    assert [len(share) for share in shares] == [2, 3, 2, 3]
    assert [image for share in shares for image in share] == list(range(10))


def test_more_processes_than_images_in_a_batch_are_refused() -> None:
    with pytest.raises(UnusableDataError, match="11 workers cannot share 10 images"):
        make_fitting(CASES["nasbench201"], Ranks(0, 11))


@pytest.mark.parametrize("affine", [True, False])
def test_a_shared_normalisation_alone_is_the_one_of_torch(affine: bool) -> None:
    torch.manual_seed(0)
    plain = nn.BatchNorm2d(5, affine=affine)
    shared = SharedNorm(plain, ALONE)
    images = torch.randn(4, 5, 3, 3) * 3 + 2
    results = []
    for norm in (plain, shared):
        given = images.clone().requires_grad_()
        out = norm(given)
        torch.autograd.backward((out * torch.arange(out.numel()).reshape(out.shape)).sum())
        assert given.grad is not None
        results.append([out, given.grad, *(each.grad for each in norm.parameters())])
    for one, other in zip(*results, strict=True):
        assert one is not None
        assert other is not None
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-3)
    for name, buffer in plain.named_buffers():
        assert torch.allclose(dict(shared.named_buffers())[name].float(), buffer.float())
    assert not math.isnan(float(results[1][1].sum()))
