"""Networks whose architecture has a gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from strandline.cells.family import Plan
from strandline.cells.registry import family
from strandline.search.space import Candidate
from strandline.spec.errors import InvalidSpecError
from strandline.spec.records import Scalar
from strandline.zoo.cells.layers import Mixture, Step
from strandline.zoo.cells.network import CellNetwork
from strandline.zoo.cells.registry import MIXABLE, build_mixture, build_network
from strandline.zoo.cells.relaxation import fix_scales, open_gates
from strandline.zoo.cells.weight_bank import WeightBank

PLAN = Plan(image_size=8, labels=3, filters=2, cells=1)
RELAXABLE = ("nasbench201", "nasnet", "darts")
Odds = dict[str, dict[Scalar, Tensor]]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The networks are too small to be divided among cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_images() -> Tensor:
    return torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def make_logits(name: str) -> dict[str, Tensor]:
    rng = np.random.default_rng(1)
    return {
        choice.name: torch.tensor(rng.normal(size=len(choice.values)), requires_grad=True)
        for choice in family(name).choices
    }


def by_value(name: str, odds: Mapping[str, Tensor]) -> Odds:
    return {
        choice.name: dict(zip(choice.values, odds[choice.name].unbind(), strict=True))
        for choice in family(name).choices
    }


def chosen(name: str, candidate: Candidate) -> Odds:
    """Odds of one for what the candidate is, else of zero."""
    return {
        choice.name: {
            value: torch.tensor(float(value == candidate[choice.name])) for value in choice.values
        }
        for choice in family(name).choices
    }


def loss_of(network: CellNetwork, odds: Odds) -> Tensor:
    open_gates(network, odds)
    loss: Tensor = network(make_images()).square().sum()
    return loss


@pytest.mark.parametrize("name", MIXABLE)
def test_the_gradient_of_a_mixture_is_that_of_finite_differences(name: str) -> None:
    torch.manual_seed(0)
    network = build_mixture(name, PLAN).double().train()
    logits = make_logits(name)

    def compute() -> Tensor:
        return loss_of(network, by_value(name, {n: e.softmax(0) for n, e in logits.items()}))

    found = torch.autograd.grad(compute(), list(logits.values()))
    pairs = list(zip(logits.values(), found, strict=True))
    for leaf, gradient in pairs[:: len(pairs) // 3]:
        expected = [_difference(compute, leaf, place) for place in (0, 1)]
        assert gradient[:2].tolist() == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("name", RELAXABLE)
def test_the_gradient_of_a_drawn_cell_is_that_of_its_gates(name: str) -> None:
    candidate = family(name).sample(np.random.default_rng(3))
    torch.manual_seed(0)
    network = build_network(name, candidate, PLAN).double().train()
    shares = {
        choice.name: torch.ones(len(choice.values), dtype=torch.float64, requires_grad=True)
        for choice in family(name).choices
    }

    def compute() -> Tensor:
        return loss_of(network, by_value(name, shares))

    # None for the decisions that have no step, which the stubs do not know.
    found: Sequence[Tensor | None] = torch.autograd.grad(
        compute(), list(shares.values()), allow_unused=True
    )
    assert any(each is not None and each.abs().sum() > 0 for each in found)
    pairs = list(zip(family(name).choices, found, strict=True))
    for choice, gradient in pairs[:: len(pairs) // 6]:
        place = choice.values.index(candidate[choice.name])
        expected = _difference(compute, shares[choice.name], place)
        told = 0.0 if gradient is None else float(gradient[place])
        assert told == pytest.approx(expected, rel=1e-4, abs=1e-6)


def _difference(compute: Callable[[], Tensor], leaf: Tensor, place: int) -> float:
    width = 1e-5
    with torch.no_grad():
        leaf[place] += width
        above = float(compute())
        leaf[place] -= 2 * width
        below = float(compute())
        leaf[place] += width
    return (above - below) / (2 * width)


@pytest.mark.parametrize("name", MIXABLE)
def test_a_mixture_that_is_sure_of_a_cell_computes_what_the_cell_does_with_shared_weights(
    name: str,
) -> None:
    torch.manual_seed(0)
    bank, mixture = WeightBank(), build_mixture(name, PLAN)
    bank.lend(mixture)
    mixture.eval()
    for seed in range(5):
        candidate = family(name).sample(np.random.default_rng(seed))
        child = build_network(name, candidate, PLAN)
        before = len(bank)
        bank.lend(child)
        assert len(bank) == before, "a mixture holds all that a child needs"
        open_gates(mixture, chosen(name, candidate))
        images = make_images().float()
        with torch.no_grad():
            assert torch.allclose(mixture(images), child.eval()(images), atol=1e-5)


def test_cells_whose_states_have_other_widths_are_not_mixed() -> None:
    with pytest.raises(InvalidSpecError, match="choose nasbench201 or darts"):
        build_mixture("nasnet", PLAN)


def test_a_mixture_has_every_operation_at_every_edge() -> None:
    steps = {
        name: [each for each in build_mixture(name, PLAN).modules() if isinstance(each, Step)]
        for name in MIXABLE
    }
    assert len(steps["nasbench201"]) == 3 * 6 * 4
    assert len(steps["darts"]) == 5 * 14 * 7
    assert any(isinstance(each, Mixture) for each in build_mixture("darts", PLAN).modules())


def test_scales_that_would_undo_gates_do_not_learn() -> None:
    network = build_network("darts", family("darts").sample(np.random.default_rng(0)), PLAN)
    fix_scales(network)
    fixed = {name for name, each in network.named_parameters() if not each.requires_grad}
    assert fixed
    assert all(".steps." in name for name in fixed)
    assert all(each.ndim == 1 for name, each in network.named_parameters() if name in fixed)
