"""The training of one network from nothing, an epoch at a time.

An epoch is a function of the weights before it, the seed and its number: a training that
goes on from a checkpoint ends with the very same weights as one that was not disturbed (on
the same kind of machine, with as many threads and processes).

Stochastic gradient descent with Nesterov's momentum and a cosine schedule (Loshchilov and
Hutter, arXiv 1608.03983), as NASNet (arXiv 1707.07012, appendix A) and DARTS train; no
decay on biases and normalisation (He et al., arXiv 1812.01187).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from strandline.learn.features import Rows
from strandline.learn.heads.contract import Floats
from strandline.learn.scratch.batches import Batch, batches_in_epoch, draw_batches, images_of_step
from strandline.learn.scratch.pixels import Pixels
from strandline.learn.scratch.ranks import ALONE, Ranks
from strandline.learn.scratch.recipe import ScratchRecipe
from strandline.learn.scratch.shared_norm import share_norms
from strandline.learn.scratch.statistics import renew_statistics
from strandline.learn.transfer_data import Targets
from strandline.spec.errors import CorruptArtifactError, UnusableDataError
from strandline.spec.networks import Schedule
from strandline.spec.records import Task
from strandline.zoo.cells.image_graph import MIDDLE, SPREAD
from strandline.zoo.cells.network import CellNetwork, StackedNetwork
from strandline.zoo.cells.registry import build_network

_MOMENTUM = 0.9
LONGEST_GRADIENT = 5.0
_AUXILIARY_WEIGHT = 0.4
_SCORED_IMAGES = 256
_SETTLING_IMAGES = 512
_WEIGHT, _VELOCITY = "weight/", "velocity/"


class Fitting:
    """A network and its optimizer.

    Attributes:
        epochs_done: of the schedule.
        loss: mean over the last epoch; NaN before the first.

    Args:
        pixels: uint8 [n, S, S, 3] of all images.
        targets: their truth.
        rows: the images to learn from.
        seed: of weights, batches and what is dropped.
        threads: of torch on a CPU; as it is set if None.
        ranks: this process among those that learn together.

    Raises:
        UnusableDataError: more processes than images in a batch.
    """

    def __init__(
        self,
        recipe: ScratchRecipe,
        pixels: Pixels,
        targets: Targets,
        rows: Rows,
        task: Task,
        labels: int,
        seed: int,
        threads: int | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self._schedule: Schedule = recipe.schedule
        self._pixels, self._rows, self._seed, self._ranks = pixels, rows, seed, ranks
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._targets = torch.from_numpy(np.asarray(targets)).to(self._device)
        self._batch = images_of_step(len(rows), self._schedule)
        if ranks.count > self._batch:
            raise UnusableDataError(f"{ranks.count} workers cannot share {self._batch} images")
        with self._random(0):
            network = build_network(recipe.family.value, recipe.cell, recipe.plan(labels))
        self.network: CellNetwork = network.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # the stubs know no memory format with a device
        self._aim = self._make_aim(task)
        self._optimizer = make_optimizer(self.network.parameters(), self._schedule)
        self.epochs_done = 0
        self.loss = math.nan

    @property
    def finished(self) -> bool:
        """Return whether the schedule was gone through."""
        return self.epochs_done >= self._schedule.epochs

    def run_epoch(self) -> None:
        """Learn from every training image once."""
        schedule, epoch = self._schedule, self.epochs_done
        steps = batches_in_epoch(len(self._rows), schedule)
        total = torch.zeros((), device=self._device)
        self.network.train()
        rng = np.random.default_rng([self._seed, epoch])
        with self._random(epoch + 1):
            batches = draw_batches(self._pixels, self._rows, schedule, rng, self._ranks)
            for step, batch in enumerate(batches):
                done = epoch + step / steps
                self.network.set_progress(done / schedule.epochs)
                set_rate(self._optimizer, learning_rate(schedule, done))
                total += self._learn(batch)
        self.epochs_done += 1
        self.loss = float(self._ranks.add_up(total)) / steps

    def settle(self) -> None:
        """Take the statistics of normalisation anew, for the weights as they are.

        Training does not look at them, so it goes on as it would have.
        """
        count = min(_SETTLING_IMAGES, len(self._rows))
        # Spread over all: rows may be in the order of their labels.
        chosen = self._rows[np.linspace(0, len(self._rows) - 1, count).astype(int)]
        pieces = -(-count // _SCORED_IMAGES)
        batches = (chosen[piece::pieces] for piece in range(pieces))
        own = (batch[self._ranks.share(len(batch))] for batch in batches)
        with torch.backends.cudnn.flags(allow_tf32=False):
            renew_statistics(self.network, (self._images(self._pixels[rows]) for rows in own))

    def logits(self, rows: Rows) -> Floats:
        """Return logits of some of the images, float32 [m, labels]; each process scores a part."""
        logits = torch.zeros(len(rows), self.network.plan.labels)
        part = self._ranks.share(len(rows))
        for start in range(part.start, part.stop, _SCORED_IMAGES):
            some = slice(start, min(start + _SCORED_IMAGES, part.stop))
            logits[some] = torch.from_numpy(self.score(self._pixels[rows[some]]))
        if self._ranks.count > 1:  # the others' places hold zeros, so nothing is rounded
            logits = self._ranks.add_up(logits.to(self._device)).cpu()
        return logits.numpy()

    def score(self, pixels: Pixels) -> Floats:
        """Return logits of images as they are, uint8 [m, S, S, 3] -> float32 [m, labels]."""
        self.network.eval()
        found = []
        # As exactly as the exported graph computes, on a GPU too.
        with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
            for start in range(0, len(pixels), _SCORED_IMAGES):
                some = self._images(pixels[start : start + _SCORED_IMAGES])
                found.append(self.network(some).cpu().numpy())
        return np.concatenate(found)

    def to_bytes(self) -> bytes:
        """Return the weights and the optimizer's state as safetensors."""
        from safetensors.torch import save

        tensors = {f"{_WEIGHT}{name}": each for name, each in self.network.state_dict().items()}
        for name, parameter in self.network.named_parameters():
            velocity = self._optimizer.state[parameter].get("momentum_buffer")
            if velocity is not None:
                tensors[f"{_VELOCITY}{name}"] = velocity
        kept = {name: each.detach().cpu().contiguous() for name, each in tensors.items()}
        kept["epochs"] = torch.tensor([self.epochs_done])
        kept["loss"] = torch.tensor([self.loss], dtype=torch.float64)
        content: bytes = save(kept)
        return content

    def load_bytes(self, content: bytes) -> None:
        """Take up what `to_bytes` returned for the same recipe.

        Raises:
            CorruptArtifactError: it is something else.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            tensors = load(content)
            weights = {n.removeprefix(_WEIGHT): t for n, t in tensors.items() if _WEIGHT in n}
            self.network.load_state_dict(weights)
            for name, parameter in self.network.named_parameters():
                if (velocity := tensors.get(f"{_VELOCITY}{name}")) is not None:
                    if velocity.shape != parameter.shape:
                        raise ValueError(f"{name} has the shape {tuple(velocity.shape)}")
                    self._optimizer.state[parameter]["momentum_buffer"] = torch.empty_like(
                        parameter
                    ).copy_(velocity)
            self.epochs_done = int(tensors["epochs"][0])
            self.loss = float(tensors["loss"][0])
        except (SafetensorError, KeyError, IndexError, ValueError, RuntimeError) as error:
            raise CorruptArtifactError(
                f"the checkpoint does not fit the network ({error}): start the trial anew"
            ) from error

    def _make_aim(self, task: Task) -> nn.Module:
        """Return what gives the loss of images; of several processes it averages gradients."""
        aim = _Aim(self.network, task, self._schedule)
        if self._ranks.count == 1:
            return aim
        from torch.nn.parallel import DistributedDataParallel

        self.network.set_share(self._ranks.share(self._batch), self._batch)
        share_norms(self.network, self._ranks)
        self.network.to(self._device)
        self._freeze_what_leads_nowhere(aim)
        # All have the same statistics already, and what is alike needs no sending.
        return DistributedDataParallel(aim, forward_sync_buffers=False)

    def _freeze_what_leads_nowhere(self, aim: nn.Module) -> None:
        """Tell of weights whose operation no other one reads: no gradient of theirs will come."""
        side = self.network.plan.image_size
        blank = torch.zeros(2, 3, side, side, device=self._device)
        weights = list(self.network.parameters())
        self.network.eval()
        loss = aim(blank, self._targets[:1].repeat_interleave(2, 0))
        found = torch.autograd.grad(loss, weights, allow_unused=True)
        for weight, gradient in zip(weights, found, strict=True):
            weight.requires_grad_(gradient is not None)

    def _learn(self, batch: Batch) -> Tensor:
        """Do a step; return this process's part of the loss."""
        chosen = torch.from_numpy(batch.rows).to(self._device, non_blocking=True)
        with self._precision():
            loss: Tensor = self._aim(self._images(batch.pixels), self._targets[chosen])
        part = len(batch.rows) / self._batch
        self._optimizer.zero_grad(set_to_none=True)
        # Gradients are averaged over processes: each counts by its images.
        torch.autograd.backward(loss * (part * self._ranks.count))
        nn.utils.clip_grad_norm_(self.network.parameters(), LONGEST_GRADIENT)
        self._optimizer.step()
        return loss.detach() * part

    def _images(self, pixels: Pixels) -> Tensor:
        return normalise(pixels, self._device)

    def _precision(self) -> AbstractContextManager[object]:
        """Half precision where it is quicker: CPUs mostly emulate it."""
        if self._device.type == "cuda":
            return torch.autocast("cuda", dtype=torch.bfloat16)
        return nullcontext()

    def _random(self, stage: int) -> AbstractContextManager[None]:
        return seeded(self._seed, stage)


class _Aim(nn.Module):
    """The loss of a network, that of its auxiliary head included."""

    def __init__(self, network: CellNetwork, task: Task, schedule: Schedule) -> None:
        super().__init__()
        self._network, self._task, self._schedule = network, task, schedule

    def forward(self, images: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of images [b, 3, S, S], a scalar."""
        network = self._network
        if isinstance(network, StackedNetwork) and network.auxiliary is not None:
            logits, second = network.forward_auxiliary(images)
            return self._distance(logits, targets) + _AUXILIARY_WEIGHT * self._distance(
                second, targets
            )
        return self._distance(network(images), targets)

    def _distance(self, logits: Tensor, targets: Tensor) -> Tensor:
        return distance(logits, targets, self._task, self._schedule)


def normalise(pixels: Pixels, device: torch.device) -> Tensor:
    """Return float images [b, 3, S, S], channels last in memory as uint8 [b, S, S, 3] come."""
    writable = np.require(pixels, requirements=("C", "W"))  # what torch asks for
    images = torch.from_numpy(writable).permute(0, 3, 1, 2)
    real = torch.get_default_dtype()
    return images.to(device, non_blocking=True).to(real).sub_(MIDDLE).div_(SPREAD)


def distance(logits: Tensor, targets: Tensor, task: Task, schedule: Schedule) -> Tensor:
    """Return the loss of logits [b, labels], a scalar."""
    if task is Task.MULTILABEL:
        return functional.binary_cross_entropy_with_logits(logits, targets)
    smoothing = schedule.label_smoothing
    return functional.cross_entropy(logits, targets, label_smoothing=smoothing)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def learning_rate(schedule: Schedule, epoch: float) -> float:
    """Return the rate after so many epochs: a linear rise, then half a cosine down to 0."""
    rising = min(schedule.warmup_epochs, schedule.epochs / 2)
    if epoch < rising:
        return schedule.learning_rate * (epoch + 1e-2) / (rising + 1e-2)
    share = (epoch - rising) / (schedule.epochs - rising)
    return schedule.learning_rate * 0.5 * (1 + math.cos(math.pi * share))


def make_optimizer(weights: Iterable[nn.Parameter], schedule: Schedule) -> torch.optim.Optimizer:
    """Return the optimizer of a network's training."""
    parameters = list(weights)
    decayed = [each for each in parameters if each.ndim > 1]
    free = [each for each in parameters if each.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": schedule.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    return torch.optim.SGD(
        groups, lr=schedule.learning_rate, momentum=_MOMENTUM, nesterov=True, fused=True
    )


@contextmanager
def seeded(*seed: int) -> Iterator[None]:
    """Draw torch's random numbers from this seed inside, and go on as before afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
        yield
