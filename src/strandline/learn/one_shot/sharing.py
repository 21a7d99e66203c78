"""Weights that all children of a search share, trained along with a policy over children.

How policy and weights are trained in turns is what the algorithms differ in: `ControlledSharing`
and `RelaxedSharing`. Common to them: the weights learn from most of the training images, the
policy from the rest; what the Search scores its trials by stays unseen by both.

As everywhere here, an epoch is a function of the state before it, the seed and its number.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from strandline.learn.features import Rows
from strandline.learn.heads.contract import Floats
from strandline.learn.one_shot.children import POLICY, OneShotAlgorithm
from strandline.learn.scratch.batches import Batch
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
from strandline.learn.scratch.recipe import read_recipe
from strandline.learn.scratch.statistics import renew_statistics
from strandline.learn.transfer_data import NEVER_SCORED, TransferData
from strandline.search.space import Candidate
from strandline.spec.errors import CorruptArtifactError, InvalidSpecError
from strandline.spec.networks import Network, Schedule
from strandline.spec.search_space import Space
from strandline.zoo.cells.network import CellNetwork
from strandline.zoo.cells.registry import build_network
from strandline.zoo.cells.weight_bank import WeightBank

_HELD_OUT_SHARE = 0.2
_RECALIBRATION_IMAGES = 1024
_BATCH = 256
# Of a batch, for each child.
_FEWEST_IMAGES = 2
_STATE = "state"


P = TypeVar("P", bound=OneShotAlgorithm)


class Sharing(ABC, Generic[P]):
    """Shared weights and their policy.

    Attributes:
        epochs_done: of `epochs`.
        figures: means over the last epoch, in the order of `figure_names`; NaN before the first.
        seconds: spent so far; kept by whoever measures them.

    Args:
        data: with one fold to be scored by.
        space: of the Search, preset `cells`.
        policy: over its candidates, as it is made.
        threads: of torch on a CPU; as it is set if None.

    Raises:
        InvalidSpecError: parameters are searched that change how networks learn.
    """

    figure_names: tuple[str, ...]

    def __init__(
        self, data: TransferData, space: Space, policy: P, threads: int | None = None
    ) -> None:
        if space.parameters:
            names = ", ".join(each.name for each in space.parameters)
            raise InvalidSpecError(
                f"networks that share weights learn alike: take {names} out of the space, or "
                "choose another algorithm"
            )
        if threads is not None:
            torch.set_num_threads(threads)
        self._data, self._space, self.policy = data, space, policy
        self._schedule = (space.schedule or Schedule()).model_copy(update={"epochs": policy.epochs})
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        size = (space.network or Network()).image_size
        self._pixels = load_pixels(data.open_store, data.images, size, data.cache_dir)
        self._targets = torch.from_numpy(np.asarray(data.targets)).to(self._device)
        self._bank = WeightBank()
        self._learned, self._held_out = _divide(data)
        self._drawn = 0  # candidates of the policy, over all epochs
        self.epochs_done = 0
        self.figures = [math.nan for _ in self.figure_names]
        self.seconds = 0.0

    @property
    def epochs(self) -> int:
        """How many there are."""
        return self._schedule.epochs

    def run_epoch(self) -> None:
        """Train the weights on every image of theirs once, and the policy."""
        with seeded(self._data.seed, self.epochs_done + 1):
            self.figures = list(self._train(self.epochs_done))
        self.epochs_done += 1

    def metrics(self) -> Mapping[str, float]:
        """Return the figures of the last epoch that there are, by name."""
        named = zip(self.figure_names, self.figures, strict=True)
        return {name: value for name, value in named if not math.isnan(value)}

    def child(self, candidate: Candidate) -> CellNetwork:
        """Build a network with copies of the shared weights, ready to be scored.

        Statistics of normalisation are its own: those of the bank are of all children.
        """
        with seeded(self._data.seed, 0):
            network = self._build(candidate)
        self._bank.copy_into(network)
        some = _slices(self._learned[:_RECALIBRATION_IMAGES])
        renew_statistics(network, (normalise(self._pixels[rows], self._device) for rows in some))
        return network

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
        state = [self.epochs_done, self._drawn, self.seconds, *self.figures]
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
            epochs, drawn, self.seconds, *self.figures = tensors.pop(_STATE).tolist()
            self._bank.take_up(tensors, self._device)
        except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
            raise CorruptArtifactError(
                f"the checkpoint holds no shared weights ({error}): search anew"
            ) from error
        self.epochs_done, self._drawn = int(epochs), int(drawn)

    # ------------------------------------------------------------ for the ways to train

    @abstractmethod
    def _train(self, epoch: int) -> Sequence[float]:
        """Train weights and policy for an epoch; return the figures."""

    def _learn(self, networks: Sequence[CellNetwork], batch: Batch, done: float) -> Tensor:
        """Let shared weights learn from a batch, after so many epochs.

        The networks divide its images among them. Weights that several have move along the
        mean of what those ask for: what serves one child alone mostly harms the next one
        (Chu et al., arXiv 1907.01845).

        Returns the loss before, without a gradient.
        """
        schedule, images = self._schedule, len(batch.rows)
        learning: dict[str, nn.Parameter] = {}
        users: Counter[str] = Counter()
        total = torch.zeros((), device=self._device)
        for network, part in zip(networks, _shares(images, len(networks)), strict=True):
            lent = self._bank.lend(network)
            learning |= lent
            users.update(lent.keys())
            network.train()
            network.set_progress(done / schedule.epochs)
            loss = self._loss(network, batch.pixels[part], batch.rows[part])
            torch.autograd.backward(loss)
            total += loss.detach() * ((part.stop - part.start) / images)
        for name, parameter in learning.items():
            if parameter.grad is not None:
                parameter.grad /= users[name]
        optimizer = make_optimizer(learning.values(), schedule)
        self._bank.lend_velocities(learning, optimizer)
        set_rate(optimizer, learning_rate(schedule, done))
        nn.utils.clip_grad_norm_(learning.values(), LONGEST_GRADIENT)
        optimizer.step()
        optimizer.zero_grad()  # the bank's: whoever comes next adds to them
        return total

    def _loss(self, network: CellNetwork, pixels: Pixels, rows: Rows) -> Tensor:
        targets = self._targets[torch.from_numpy(rows).to(self._device)]
        logits = network(normalise(pixels, self._device))
        return distance(logits, targets, self._data.task, self._schedule)

    @property
    def _warmup(self) -> int:
        """The epochs in which it is too early for a policy."""
        return int(self.policy.warmup * self.epochs)

    def _siblings(self, batch: Batch) -> int:
        """Return how many children divide a batch: each needs images to normalise over."""
        return max(1, min(self.policy.siblings, len(batch.rows) // _FEWEST_IMAGES))

    def _build(self, candidate: Candidate) -> CellNetwork:
        recipe = read_recipe(self._space, candidate)
        plan = recipe.plan(len(self._data.labels))
        return self._move(build_network(recipe.family.value, recipe.cell, plan))

    def _move(self, network: CellNetwork) -> CellNetwork:
        moved: CellNetwork = network.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # the stubs know no memory format with a device
        return moved


def _divide(data: TransferData) -> tuple[Rows, Rows]:
    """Return the training images that weights learn from, and those that the policy does."""
    rows = np.random.default_rng(data.seed).permutation(np.flatnonzero(data.folds == NEVER_SCORED))
    count = max(1, round(_HELD_OUT_SHARE * len(rows)))
    return rows[count:], rows[:count]


def _shares(images: int, networks: int) -> Iterator[slice]:
    """Yield which images of a batch each network learns from."""
    bounds = np.linspace(0, images, networks + 1).astype(int).tolist()
    for start, stop in pairwise(bounds):
        yield slice(start, stop)


def _slices(rows: Rows) -> Iterator[Rows]:
    for start in range(0, len(rows), _BATCH):
        yield rows[start : start + _BATCH]
