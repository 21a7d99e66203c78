"""Shared weights and a controller that is rewarded, in turns (ENAS, arXiv 1802.03268).

An epoch has two phases, as published (section 2.2). Each batch of training images is
learned from by children that the controller draws, or chance does, with the weights they share
with all others. Then the controller is rewarded for children it draws: by their loss, with these
weights, on images that the weights never learn from. Before the warm-up is over chance draws all
children, and nobody is rewarded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from strandline.learn.one_shot.sharing import Sharing
from strandline.learn.scratch.batches import batches_in_epoch, draw_batches
from strandline.learn.scratch.recipe import scratch_space
from strandline.learn.transfer_data import TransferData
from strandline.search.algorithm import Observation
from strandline.search.enas import EnasSearch
from strandline.search.fair import draw_fairly
from strandline.search.space import Candidate
from strandline.spec.search_space import Space

_REWARD_IMAGES = 256


class ControlledSharing(Sharing[EnasSearch]):
    """Shared weights whose children a controller draws."""

    figure_names = ("train/loss", "train/reward")

    def __init__(
        self, data: TransferData, space: Space, policy: EnasSearch, threads: int | None = None
    ) -> None:
        super().__init__(data, space, policy, threads)
        self._cells = scratch_space(space, len(data.labels))

    def _train(self, epoch: int) -> Sequence[float]:
        loss = self._train_weights(epoch)
        if epoch < self._warmup:
            return loss, math.nan
        return loss, self._train_policy(np.random.default_rng([self._data.seed, epoch, 1]))

    def _train_weights(self, epoch: int) -> float:
        schedule = self._schedule
        steps = batches_in_epoch(len(self._learned), schedule)
        rng = np.random.default_rng([self._data.seed, epoch])
        children = np.random.default_rng([self._data.seed, epoch, 2])
        total = torch.zeros((), device=self._device)
        for step, batch in enumerate(draw_batches(self._pixels, self._learned, schedule, rng)):
            chosen = draw_fairly(self._cells, children, self._siblings(batch))
            if epoch >= self._warmup:
                chosen = [self._replace(each, children) for each in chosen]
            networks = [self._build(candidate) for candidate in chosen]
            total += self._learn(networks, batch, epoch + step / steps)
        return float(total) / steps

    def _train_policy(self, rng: np.random.Generator) -> float:
        rewards = []
        for _ in range(self.policy.rewards):
            candidate = self._draw()
            network = self._build(candidate)
            self._bank.lend(network)
            network.train()  # the statistics of the bank are of no child
            count = min(_REWARD_IMAGES, len(self._held_out))
            rows = rng.choice(self._held_out, count, replace=False)
            with torch.no_grad():
                loss = self._loss(network, self._pixels[rows], rows)
            # The share told right, as published, tells children apart less well.
            rewards.append(-float(loss))
            self.policy.observe(Observation(self._drawn, candidate, rewards[-1]))
        return float(np.mean(rewards)) if rewards else math.nan

    def _replace(self, candidate: Candidate, rng: np.random.Generator) -> Candidate:
        """Return a child that was drawn uniformly, or the policy's in its place."""
        return candidate if rng.random() < self.policy.uniform else self._draw()

    def _draw(self) -> Candidate:
        self._drawn += 1
        candidate = self.policy.suggest(self._drawn, ())
        assert candidate is not None, "it may repeat itself"
        return candidate
