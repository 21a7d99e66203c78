"""Networks of cells: what was counted is what is built, trained, dropped and exported."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from strandline.cells.darts import DARTS_V2
from strandline.cells.family import Candidate, Counts, Plan
from strandline.cells.mbconv import MOBILENET_V2
from strandline.cells.nasnet import NASNET_A
from strandline.cells.registry import FAMILIES, family
from strandline.spec.errors import InvalidSpecError
from strandline.zoo.cells.export import export_network
from strandline.zoo.cells.layers import DropPath
from strandline.zoo.cells.network import CellNetwork, StackedNetwork
from strandline.zoo.cells.registry import NETWORKS, build_network

SMALL = Plan(image_size=16, labels=5, filters=4, cells=1)
# Odd sizes and filters, other stems and channels: where arithmetic goes wrong first.
PLANS = (
    Plan(8, 2, 2, 1),
    Plan(9, 7, 5, 1),
    Plan(33, 3, 6, 1, "imagenet"),
    Plan(8, 3, 4, 2, stem_filters=5, auxiliary=True),
    Plan(32, 2, 3, 1, "imagenet", channels_in=1),
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small are slower on several threads, far slower on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@contextmanager
def counted_multiply_adds(network: nn.Module) -> Iterator[list[int]]:
    """Count what convolutions and linear layers really do in each forward pass."""
    found: list[int] = []

    def record(module: nn.Module, _: Any, output: Tensor) -> None:
        bias = module.bias is not None
        if isinstance(module, nn.Conv2d):
            by_output = module.weight[0].numel()
        else:
            assert isinstance(module, nn.Linear)
            by_output = module.in_features
        found.append(output.numel() * (by_output + bias))

    layers = [each for each in network.modules() if isinstance(each, nn.Conv2d | nn.Linear)]
    handles = [layer.register_forward_hook(record) for layer in layers]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def measure(network: CellNetwork, device: str = "cpu") -> Counts:
    plan = network.plan
    images = torch.zeros(1, plan.channels_in, plan.image_size, plan.image_size, device=device)
    with counted_multiply_adds(network.eval()) as found, torch.no_grad():
        assert network(images).shape == (1, plan.labels)
    parameters = sum(
        each.numel()
        for name, each in network.named_parameters()
        if not name.startswith("auxiliary.")
    )
    return Counts(parameters, sum(found))


def check_counts(name: str, draws: int) -> None:
    rng = np.random.default_rng(7)
    for number in range(draws):
        candidate = family(name).sample(rng)
        plan = PLANS[number % len(PLANS)] if number < draws // 5 else PLANS[0]
        network = build_network(name, candidate, plan)
        assert measure(network) == family(name).count(candidate, plan), candidate


@pytest.mark.parametrize("name", FAMILIES)
def test_networks_are_as_large_as_counted(name: str) -> None:
    check_counts(name, 25)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_a_thousand_networks_are_as_large_as_counted(name: str) -> None:
    check_counts(name, 1000)


@pytest.mark.parametrize(
    ("name", "candidate", "plan"),
    [
        ("nasnet", NASNET_A, Plan(224, 1000, 44, 4, "imagenet", auxiliary=True)),
        ("darts", DARTS_V2, Plan(224, 1000, 48, 4, "imagenet", auxiliary=True)),
        ("mbconv", MOBILENET_V2, Plan(224, 1000, 16, 1, "imagenet")),
    ],
    ids=["nasnet-a", "darts-v2", "mobilenet-v2"],
)
def test_published_networks_are_as_large_as_counted(
    name: str, candidate: Candidate, plan: Plan
) -> None:
    with torch.device("meta"):
        network = build_network(name, candidate, plan)
    assert measure(network, "meta") == family(name).count(candidate, plan)


def make(name: str, seed: int = 0, plan: Plan = SMALL) -> CellNetwork:
    """Build a random network whose batch normalisation has seen other data than zeros."""
    candidate = family(name).sample(np.random.default_rng(seed))
    torch.manual_seed(seed)
    network = build_network(name, candidate, plan)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            module.momentum = 0.5
    with torch.no_grad():
        for _ in range(4):
            network.train()(make_images(16, plan) * 2 + 0.5)
    return network.eval()


def make_images(count: int, plan: Plan = SMALL) -> Tensor:
    return torch.randn(count, plan.channels_in, plan.image_size, plan.image_size)


def test_every_space_has_a_network() -> None:
    assert list(NETWORKS) == list(FAMILIES)


def test_an_unknown_space_or_a_wrong_candidate_builds_nothing() -> None:
    with pytest.raises(InvalidSpecError, match="enas"):
        build_network("enas", {}, SMALL)
    with pytest.raises(InvalidSpecError, match="op_0_1"):
        build_network("nasbench201", {}, SMALL)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(
    "seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)]
)
def test_exported_networks_give_the_same_logits(name: str, seed: int) -> None:
    network, stream = make(name, seed), io.BytesIO()
    export_network(network, SMALL, stream)
    session = onnxruntime.InferenceSession(stream.getvalue(), providers=["CPUExecutionProvider"])
    for count in (1, 3):
        images = make_images(count)
        with torch.no_grad():
            expected = network(images).numpy()
        (logits,) = session.run(["logits"], {"images": images.numpy()})
        assert np.ptp(expected) > 1e-3
        np.testing.assert_allclose(logits, expected, atol=1e-4, rtol=0)


def test_exporting_leaves_the_network_in_training_and_the_file_whole(tmp_path: Path) -> None:
    network = make("nasbench201").train()
    export_network(network, SMALL, tmp_path / "cell.onnx")
    assert network.training
    assert [each.name for each in tmp_path.iterdir()] == ["cell.onnx"]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_few_steps_of_training_lower_the_loss(name: str) -> None:
    network = make(name, plan=Plan(16, 3, 4, 1, drop_path=0.1)).train()
    network.set_progress(0.5)
    images, labels = make_images(12), torch.arange(12) % 3
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    losses = []
    for _ in range(15):
        loss = nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("name", FAMILIES)
def test_both_memory_formats_give_the_same_logits(name: str) -> None:
    network, images = make(name), make_images(2)
    with torch.no_grad():
        plain = network(images)
        turned = network.to(memory_format=torch.channels_last)(
            images.to(memory_format=torch.channels_last)
        )
    torch.testing.assert_close(turned, plain, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_weights_follow_from_the_seed_and_load_into_another_network(name: str) -> None:
    network, same, images = make(name), make(name), make_images(2)
    candidate = family(name).sample(np.random.default_rng(0))
    other = build_network(name, candidate, Plan(16, 5, 4, 1, drop_path=0.3)).eval()
    other.load_state_dict(network.state_dict())
    with torch.no_grad():
        assert torch.equal(network(images), same(images))
        assert torch.equal(network(images), other(images))


def test_cells_that_are_one_though_an_operation_is_called_otherwise_are_one_network() -> None:
    wide = {"reduction_0_combine": "concat", "reduction_1_first": "block_0"}
    images = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    for name in ("reduction_0_first_op", "reduction_1_first_op"):
        pair = [{**NASNET_A, **wide, name: each} for each in ("identity", "conv_1x1")]
        assert len({family("nasnet").canonical(each) for each in pair}) == 1
        logits = []
        for candidate in pair:
            torch.manual_seed(1)
            logits.append(build_network("nasnet", candidate, SMALL).eval()(images))
        torch.testing.assert_close(logits[0], logits[1], rtol=0, atol=0)


@pytest.mark.parametrize("name", FAMILIES)
def test_paths_drop_more_often_in_later_cells_and_later_in_training(name: str) -> None:
    network = make(name, plan=Plan(16, 5, 4, 2, drop_path=0.4)).train()
    drops = [each for each in network.modules() if isinstance(each, DropPath)]
    rates = [drop.rate for drop in drops]
    assert rates == sorted(rates)
    assert 0 < rates[0] < rates[-1]
    assert rates[-1] == pytest.approx(0.4) or name == "mbconv"  # its last block may not add
    assert all(drop.keep == 1 for drop in drops)
    network.set_progress(0.5)
    assert [float(drop.keep) for drop in drops] == pytest.approx([1 - r / 2 for r in rates])
    with pytest.raises(InvalidSpecError):
        network.set_progress(1.5)


def test_dropping_a_path_keeps_the_mean_and_drops_whole_images() -> None:
    torch.manual_seed(0)
    drop = DropPath(0.25)
    drop.set_progress(1.0)
    dropped = drop.train()(torch.ones(4000, 2, 2, 2))
    by_image = dropped.flatten(1)
    assert by_image.unique().tolist() == pytest.approx([0, 4 / 3])
    assert (by_image.min(1).values == by_image.max(1).values).all()
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.05)
    assert torch.equal(drop.eval()(torch.ones(3, 1, 1, 1)), torch.ones(3, 1, 1, 1))


@pytest.mark.parametrize("name", ["nasnet", "darts"])
@pytest.mark.parametrize("image_size", [8, 32])
def test_the_auxiliary_head_is_trained_along_and_never_used(name: str, image_size: int) -> None:
    plan = Plan(image_size, 5, 4, 1, auxiliary=True)
    network = make(name, plan=plan)
    assert isinstance(network, StackedNetwork)
    logits, auxiliary = network.train().forward_auxiliary(make_images(2, plan))
    assert logits.shape == auxiliary.shape == (2, 5)
    loss = logits.sum() + auxiliary.square().sum()
    loss.backward()  # type: ignore[no-untyped-call]
    assert network.auxiliary is not None
    assert all(each.grad is not None for each in network.auxiliary.parameters())
    plain = make(name)
    assert isinstance(plain, StackedNetwork)
    with pytest.raises(InvalidSpecError, match="no auxiliary head"):
        plain.forward_auxiliary(make_images(1))


def test_a_cell_without_a_way_from_input_to_output_still_answers() -> None:
    candidate = dict.fromkeys(family("nasbench201").sample(np.random.default_rng(0)), "none")
    network = build_network("nasbench201", candidate, SMALL).eval()
    logits = network(make_images(3))
    assert torch.equal(logits[0], logits[1])
    assert torch.isfinite(logits).all()
