"""Shared weights and the strengths of operations, both by gradients (DARTS, arXiv 1806.09055).

After the warm-up, for each batch of training images the strengths descend the loss of a batch
that the weights never learn from, then the weights descend the loss of theirs (algorithm 1 of
the paper, in its first-order form: the strengths do not look ahead to what the weights will
do).

The loss depends on strengths through a relaxation, of which there are two. `sampled`: a cell
is drawn, and the gradient of its gates passes straight through the draw to a softmax with
Gumbel noise, whose temperature falls (GDAS, arXiv 1910.04465). A step costs what a child
costs, the weights learn as they will be used, and every space whose cells add up operations
can be searched. `mixed`: all operations run at once, weighted by their odds, as published.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from strandline.learn.features import Rows
from strandline.learn.one_shot.sharing import Sharing
from strandline.learn.scratch.batches import batches_in_epoch, draw_batches
from strandline.learn.scratch.fitting import seeded
from strandline.learn.scratch.recipe import make_plan
from strandline.learn.transfer_data import TransferData
from strandline.search.darts import MIXED, DartsSearch, Strengths
from strandline.search.encoding import Floats
from strandline.search.space import Candidate
from strandline.spec.errors import InvalidSpecError
from strandline.spec.networks import CellFamily, Network
from strandline.spec.records import Scalar
from strandline.spec.search_space import Space
from strandline.zoo.cells.network import CellNetwork
from strandline.zoo.cells.registry import build_mixture
from strandline.zoo.cells.relaxation import fix_scales, open_gates

# Of the softmax with Gumbel noise, at the first and the last epoch that it is asked, as published.
_TEMPERATURES = (10.0, 0.1)


class RelaxedSharing(Sharing[DartsSearch]):
    """Shared weights whose children a relaxation of the architecture leads to.

    Raises:
        InvalidSpecError: the cells of the family cannot be relaxed like that.
    """

    figure_names = ("train/loss", "train/architecture_loss")

    def __init__(
        self, data: TransferData, space: Space, policy: DartsSearch, threads: int | None = None
    ) -> None:
        super().__init__(data, space, policy, threads)
        family, labels = space.family, len(data.labels)
        assert family is not None, "a rule of the spec"
        if family is CellFamily.MBCONV:
            raise InvalidSpecError(
                "darts cannot relax mbconv: all decisions about a stage set the same "
                "convolutions, so that no gradient tells them apart"
            )
        self._mixture: CellNetwork | None = None
        if policy.relaxation == MIXED:
            plan = make_plan(space.network or Network(), labels)
            with seeded(data.seed, 0):
                self._mixture = self._move(build_mixture(family.value, plan))

    def _train(self, epoch: int) -> Sequence[float]:
        schedule, seed = self._schedule, self._data.seed
        steps = batches_in_epoch(len(self._learned), schedule)
        held_out = np.random.default_rng([seed, epoch, 1])
        children = np.random.default_rng([seed, epoch, 2])
        totals = [torch.zeros((), device=self._device) for _ in self.figure_names]
        batches = draw_batches(
            self._pixels, self._learned, schedule, np.random.default_rng([seed, epoch])
        )
        warming = epoch < self._warmup
        for step, batch in enumerate(batches):
            if warming:
                totals[1] += math.nan
            else:
                count = min(schedule.batch_size, len(self._held_out))
                rows = held_out.choice(self._held_out, count, replace=False)
                totals[1] += self._move_strengths(rows, epoch, children)
            networks = self._learners(self._siblings(batch), warming, children)
            totals[0] += self._learn(networks, batch, epoch + step / steps)
        return [float(total) / steps for total in totals]

    def _move_strengths(self, rows: Rows, epoch: int, rng: np.random.Generator) -> Tensor:
        """Take a step down the loss of images held out; return it."""
        strengths = self.policy.strengths
        leaves = _leaves(strengths.weights, self._device)
        if self._mixture is not None:
            network, odds = self._mixture, {n: each.softmax(0) for n, each in leaves.items()}
        else:
            noise = strengths.noise(rng)
            candidate = strengths.likeliest(noise)
            network = self._build(candidate)
            shares = _noisy_shares(leaves, noise, self._temperature(epoch))
            odds = straight_through(shares, strengths, candidate)
        self._bank.lend(network)
        network.train()
        network.set_progress(0)  # a mixture still drops what it dropped for the last batch
        open_gates(network, _by_value(odds, strengths))
        loss = self._loss(network, self._pixels[rows], rows)
        # Of the strengths alone: the weights learn nothing from these images. None for a
        # decision that put nothing into the cell, which the stubs do not know.
        slopes: Sequence[Tensor | None] = torch.autograd.grad(
            loss, list(leaves.values()), allow_unused=True
        )
        self.policy.descend(
            {
                name: np.zeros(leaf.shape) if slope is None else slope.cpu().double().numpy()
                for (name, leaf), slope in zip(leaves.items(), slopes, strict=True)
            }
        )
        return loss.detach()

    def _learners(self, count: int, warming: bool, rng: np.random.Generator) -> list[CellNetwork]:
        """Return the networks that weights learn as: drawn ones, or the mixture of all."""
        strengths = self.policy.strengths
        if self._mixture is None:
            own, any_of_all = strengths.sample(rng, count), strengths.sample_uniform(rng, count)
            uniform = rng.random(count) < (1 if warming else self.policy.uniform)
            networks = [
                self._build(other if chance else mine)
                for mine, other, chance in zip(own, any_of_all, uniform, strict=True)
            ]
        else:
            odds = {n: torch.from_numpy(strengths.odds(n)).float() for n in strengths.weights}
            moved = {name: each.to(self._device) for name, each in odds.items()}
            open_gates(self._mixture, _by_value(moved, strengths))
            networks = [self._mixture]
        for network in networks:
            fix_scales(network)
        return networks

    def _temperature(self, epoch: int) -> float:
        first, last = _TEMPERATURES
        moved = epoch - self._warmup
        return first + (last - first) * moved / max(1, self.epochs - 1 - self._warmup)


def straight_through(
    shares: Mapping[str, Tensor], strengths: Strengths, candidate: Candidate
) -> dict[str, Tensor]:
    """Return one for each option that the candidate has, and the gradient of its share."""
    hard = {
        name: torch.tensor([float(_same(value, candidate[name])) for value in options])
        for name, options in strengths.options.items()
    }
    return {
        name: hard[name].to(share.device) + share - share.detach() for name, share in shares.items()
    }


def _same(one: Scalar, other: Scalar) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _leaves(weights: Mapping[str, Floats], device: torch.device) -> dict[str, Tensor]:
    return {
        name: torch.tensor(each, dtype=torch.float32, device=device, requires_grad=True)
        for name, each in weights.items()
    }


def _noisy_shares(
    leaves: Mapping[str, Tensor], noise: Mapping[str, Floats], temperature: float
) -> dict[str, Tensor]:
    return {
        name: functional.softmax(
            (leaf + torch.from_numpy(noise[name]).to(leaf)) / temperature, dim=0
        )
        for name, leaf in leaves.items()
    }


def _by_value(odds: Mapping[str, Tensor], strengths: Strengths) -> dict[str, dict[Scalar, Tensor]]:
    return {
        name: dict(zip(strengths.options[name], each.unbind(), strict=True))
        for name, each in odds.items()
    }
