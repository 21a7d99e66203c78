"""Shared weights and the policy over children, trained in turns (ENAS, arXiv 1802.03268).

An epoch has two phases, as published (section 2.2). Each batch of training images is
learned from by a child that the controller draws, with the weights it shares with all
others. Then the controller is rewarded for children it draws: by how they do, with these
weights, on images that the weights never learn from. Those are a part of the training
images; what the Search scores its trials by stays unseen.

As everywhere here, an epoch is a function of the state before it, the seed and its number.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from strandline.learn.features import Rows
from strandline.learn.heads.contract import Floats
from strandline.learn.one_shot.children import POLICY, make_policy
from strandline.learn.scratch.batches import batches_in_epoch, draw_batches
from strandline.learn.scratch.fitting import (
    LONGEST_GRADIENT,
    distance,
    learning_rate,
    make_optimizer,
    normalise,
    seeded,
    set_rate,
)
from strandline.learn.scratch.pixels import Pixels, load_pixels
from strandline.learn.scratch.recipe import read_recipe, scratch_space
from strandline.learn.transfer_data import NEVER_SCORED, TransferData
from strandline.search.algorithm import Observation
from strandline.search.space import Candidate
from strandline.spec.errors import CorruptArtifactError, InvalidSpecError
from strandline.spec.networks import Network, Schedule
from strandline.spec.records import Scalar, Task
from strandline.spec.search_space import Space
from strandline.zoo.cells.network import CellNetwork
from strandline.zoo.cells.registry import build_network
from strandline.zoo.cells.weight_bank import WeightBank

_REWARD_SHARE = 0.2
_REWARD_IMAGES = 256
_RECALIBRATION_IMAGES = 1024
_BATCH = 256
_STATE = "state"


class Sharing:
    """Shared weights and their policy.

    Attributes:
        epochs_done: of `epochs`.
        loss: mean over the last epoch's batches; NaN before the first.
        reward: mean over the last epoch's rewards; NaN without any.
        seconds: spent so far; kept by whoever measures them.

    Args:
        data: with one fold to be scored by.
        space: of the Search, preset `cells`.
        settings: of its algorithm.
        threads: of torch on a CPU; as it is set if None.

    Raises:
        InvalidSpecError: parameters are searched that change how networks learn.
    """

    def __init__(
        self,
        data: TransferData,
        space: Space,
        settings: Mapping[str, Scalar],
        threads: int | None = None,
    ) -> None:
        if space.parameters:
            names = ", ".join(each.name for each in space.parameters)
            raise InvalidSpecError(
                f"networks that share weights learn alike: take {names} out of the space, or "
                "choose another algorithm"
            )
        if threads is not None:
            torch.set_num_threads(threads)
        self._data, self._space = data, space
        self._cells = scratch_space(space, len(data.labels))
        self.policy = make_policy(self._cells, data.seed, settings)
        self._schedule = (space.schedule or Schedule()).model_copy(
            update={"epochs": self.policy.epochs}
        )
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        size = (space.network or Network()).image_size
        self._pixels = load_pixels(data.open_store, data.images, size, data.cache_dir)
        self._targets = torch.from_numpy(np.asarray(data.targets)).to(self._device)
        self._bank = WeightBank()
        self._learned, self._rewarding = _divide(data)
        self._drawn = 0
        self.epochs_done = 0
        self.loss = self.reward = math.nan
        self.seconds = 0.0

    @property
    def epochs(self) -> int:
        """How many there are."""
        return self._schedule.epochs

    def run_epoch(self) -> None:
        """Train the weights on every image once, then the controller."""
        epoch, seed = self.epochs_done, self._data.seed
        with seeded(seed, epoch + 1):
            self.loss = self._train_weights(epoch)
            self.reward = self._train_policy(np.random.default_rng([seed, epoch, 1]))
        self.epochs_done += 1

    def child(self, candidate: Candidate) -> CellNetwork:
        """Build a network with copies of the shared weights, ready to be scored.

        Statistics of normalisation are its own: those of the bank are of all children.
        """
        with seeded(self._data.seed, 0):
            network = self._build(candidate)
        self._bank.copy_into(network)
        norms = [each for each in network.modules() if isinstance(each, nn.BatchNorm2d)]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean over all batches
        network.train()
        with torch.no_grad():
            for batch in _slices(self._learned[:_RECALIBRATION_IMAGES]):
                network(normalise(self._pixels[batch], self._device))
        return network.eval()

    def logits(self, network: CellNetwork, rows: Rows) -> Floats:
        """Return a child's logits of some of the images, float32 [m, labels]."""
        with torch.no_grad():
            found = [
                network(normalise(self._pixels[batch], self._device)).cpu().numpy()
                for batch in _slices(rows)
            ]
        return np.concatenate(found)

    def to_bytes(self) -> bytes:
        """Return weights, policy and progress as safetensors."""
        from safetensors.torch import save

        tensors = self._bank.export()
        tensors[POLICY] = torch.frombuffer(bytearray(self.policy.save()), dtype=torch.uint8)
        state = [self.epochs_done, self._drawn, self.loss, self.reward, self.seconds]
        tensors[_STATE] = torch.tensor(state, dtype=torch.float64)
        content: bytes = save(tensors)
        return content

    def load_bytes(self, content: bytes) -> None:
        """Take up what `to_bytes` returned for the same data, space and settings.

        Raises:
            CorruptArtifactError: it is something else.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            tensors = load(content)
            self.policy.load(tensors.pop(POLICY).numpy().tobytes())
            epochs, drawn, self.loss, self.reward, self.seconds = tensors.pop(_STATE).tolist()
            self._bank.take_up(tensors, self._device)
        except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
            raise CorruptArtifactError(
                f"the checkpoint holds no shared weights ({error}): search anew"
            ) from error
        self.epochs_done, self._drawn = int(epochs), int(drawn)

    # ------------------------------------------------------------ inside

    def _train_weights(self, epoch: int) -> float:
        schedule = self._schedule
        steps = batches_in_epoch(len(self._learned), schedule)
        rng = np.random.default_rng([self._data.seed, epoch])
        children = np.random.default_rng([self._data.seed, epoch, 2])
        total = torch.zeros((), device=self._device)
        for step, batch in enumerate(draw_batches(self._pixels, self._learned, schedule, rng)):
            done = epoch + step / steps
            network = self._build(self._choose(children))
            optimizer = make_optimizer(network, schedule)
            self._bank.lend(network, optimizer)
            network.train()
            network.set_progress(done / schedule.epochs)
            set_rate(optimizer, learning_rate(schedule, done))
            loss = self._loss(network, batch.pixels, batch.rows)
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(network.parameters(), LONGEST_GRADIENT)
            optimizer.step()
            total += loss.detach()
        return float(total) / steps

    def _train_policy(self, rng: np.random.Generator) -> float:
        rewards = []
        for _ in range(self.policy.rewards):
            candidate = self._draw()
            network = self._build(candidate)
            self._bank.lend(network)
            network.train()  # the statistics of the bank are of no child
            count = min(_REWARD_IMAGES, len(self._rewarding))
            rows = rng.choice(self._rewarding, count, replace=False)
            rewards.append(self._judge(network, rows))
            self.policy.observe(Observation(self._drawn, candidate, rewards[-1]))
        return float(np.mean(rewards)) if rewards else math.nan

    def _judge(self, network: CellNetwork, rows: Rows) -> float:
        """Return the share of images told right; with several labels an image, minus the loss."""
        with torch.no_grad():
            if self._data.task is Task.MULTILABEL:
                return -float(self._loss(network, self._pixels[rows], rows))
            logits = network(normalise(self._pixels[rows], self._device))
            right = logits.argmax(1) == self._targets[torch.from_numpy(rows).to(self._device)]
        return float(right.float().mean())

    def _loss(self, network: CellNetwork, pixels: Pixels, rows: Rows) -> Tensor:
        targets = self._targets[torch.from_numpy(rows).to(self._device)]
        logits = network(normalise(pixels, self._device))
        return distance(logits, targets, self._data.task, self._schedule)

    def _choose(self, rng: np.random.Generator) -> Candidate:
        """Return the child that learns from a batch: the policy's, or any."""
        return self._cells.sample(rng) if rng.random() < self.policy.uniform else self._draw()

    def _draw(self) -> Candidate:
        self._drawn += 1
        candidate = self.policy.suggest(self._drawn, ())
        assert candidate is not None, "it may repeat itself"
        return candidate

    def _build(self, candidate: Candidate) -> CellNetwork:
        recipe = read_recipe(self._space, candidate)
        plan = recipe.plan(len(self._data.labels))
        network = build_network(recipe.family.value, recipe.cell, plan)
        moved: CellNetwork = network.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # the stubs know no memory format with a device
        return moved


def _divide(data: TransferData) -> tuple[Rows, Rows]:
    """Return the training images that weights learn from, and those that reward the policy."""
    rows = np.random.default_rng(data.seed).permutation(np.flatnonzero(data.folds == NEVER_SCORED))
    count = max(1, round(_REWARD_SHARE * len(rows)))
    return rows[count:], rows[:count]


def _slices(rows: Rows) -> Iterator[Rows]:
    for start in range(0, len(rows), _BATCH):
        yield rows[start : start + _BATCH]
