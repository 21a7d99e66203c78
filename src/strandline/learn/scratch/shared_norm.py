"""Batch normalisation over the images of all processes that learn together.

`torch.nn.SyncBatchNorm` does the same on GPUs only. This one also runs on CPUs, and gives
every process the same statistics to the last bit: the moments of each process are put into
one tensor at a place of its own, so adding these up rounds nothing, and then combined.

Sources: Ioffe and Szegedy, arXiv 1502.03167, for the gradient; Chan, Golub and LeVeque 1983
for variances of parts combined without cancellation.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from strandline.learn.scratch.ranks import Ranks

_AXES = (0, 2, 3)


class SharedNorm(nn.BatchNorm2d):
    """A `BatchNorm2d` whose batch is that of all processes; its weights have the same names."""

    def __init__(self, alone: nn.BatchNorm2d, ranks: Ranks) -> None:
        super().__init__(
            alone.num_features,
            alone.eps,
            alone.momentum,
            affine=alone.affine,
            track_running_stats=alone.track_running_stats,
        )
        self.load_state_dict(alone.state_dict())
        self._ranks = ranks

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 – its name in torch
        """Return the states [n, c, h, w] normalised; in training all processes must call."""
        if not self.training:
            return super().forward(input)
        mean, variance, count = shared_moments(input, self._ranks)
        self._remember(mean, variance, count)
        normed: Tensor = _Normalise.apply(
            input, self.weight, self.bias, mean, variance, count, self.eps, self._ranks
        )
        return normed

    def _remember(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None, "it comes with the other two"
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            # Without momentum all batches count the same.
            rate = self.momentum
            if rate is None:
                rate = 1.0 / float(self.num_batches_tracked)
            self.running_mean.lerp_(mean, rate)
            self.running_var.lerp_(variance * (count / (count - 1)), rate)


def share_norms(network: nn.Module, ranks: Ranks) -> None:
    """Replace the network's batch normalisations by those over all processes."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.BatchNorm2d:
                setattr(parent, name, SharedNorm(child, ranks))


@torch.no_grad()
def shared_moments(states: Tensor, ranks: Ranks) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean [c] and biased variance [c] over all processes' states, and their number."""
    channels = states.shape[1]
    variance, mean = torch.var_mean(_precise(states), _AXES, correction=0)
    moments = mean.new_zeros(ranks.count, 2 * channels + 1)
    own = states.numel() // channels
    moments[ranks.rank, :channels] = mean
    moments[ranks.rank, channels:-1] = variance * own
    moments[ranks.rank, -1] = own
    ranks.add_up(moments)
    means, squares, counts = moments[:, :channels], moments[:, channels:-1], moments[:, -1:]
    count = counts.sum()
    mean = (means * counts).sum(0) / count
    variance = (squares + counts * (means - mean).square()).sum(0) / count
    return mean, variance, count


class _Normalise(torch.autograd.Function):
    """Normalise by moments that depend on all processes' states."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, *given: Any) -> Tensor:
        weight, bias, mean, variance, count, eps, ranks = given
        ctx.save_for_backward(states, weight, mean, torch.rsqrt(variance + eps), count)
        ctx.ranks = ranks
        return functional.batch_norm(states, mean, variance, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        states, weight, mean, scale, count = ctx.saved_tensors
        gradient = _precise(gradients[0])
        centred = (_precise(states) - _wide(mean)) * _wide(scale)
        sums = torch.stack([gradient.sum(_AXES), (gradient * centred).sum(_AXES)])
        own = (None, None) if weight is None else (sums[1].clone(), sums[0].clone())
        ctx.ranks.add_up(sums)
        shares = sums / count
        inner = gradient - _wide(shares[0]) - centred * _wide(shares[1])
        slope = scale if weight is None else scale * weight
        return (inner.mul_(_wide(slope)).to(states.dtype), *own, *([None] * 5))


def _precise(states: Tensor) -> Tensor:
    """Return half-precision states, which sums would not survive, as float32."""
    return states.float() if states.element_size() < 4 else states


def _wide(channels: Tensor) -> Tensor:
    return channels[None, :, None, None]
