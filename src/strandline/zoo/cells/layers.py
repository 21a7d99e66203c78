"""The layers that networks of cells are made of.

Cells apply ReLU before convolutions. A state that five operations read would be rectified
five times, so layers here expect it done: a cell rectifies each state once (`States`).

Sources: Zoph et al. 2018 (arXiv 1707.07012), appendix A, for factorized reduction and
ScheduledDropPath; He et al. 2015 (arXiv 1502.01852) for the initial weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from strandline.cells.tally import Shape
from strandline.spec.records import Scalar

Way = tuple[tuple[str, Scalar], ...]
"""Decisions and their values that together put an operation into a cell."""


class ConvNorm(nn.Sequential):
    """A convolution with "same" padding for odd kernels, then batch normalisation."""

    def __init__(
        self,
        channels_in: int,
        channels: int,
        kernel: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        groups: int = 1,
        dilation: int = 1,
    ) -> None:
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (dilation * (height - 1) // 2, dilation * (width - 1) // 2)
        super().__init__(
            nn.Conv2d(
                channels_in,
                channels,
                (height, width),
                stride,
                padding,
                dilation,
                groups,
                bias=False,
            ),
            nn.BatchNorm2d(channels),
        )


class Separable(nn.Sequential):
    """A depthwise and a pointwise convolution, normalised once at the end."""

    def __init__(
        self, channels_in: int, channels: int, kernel: int, stride: int = 1, dilation: int = 1
    ) -> None:
        padding = dilation * (kernel - 1) // 2
        super().__init__(
            nn.Conv2d(
                channels_in,
                channels_in,
                kernel,
                stride,
                padding,
                dilation,
                groups=channels_in,
                bias=False,
            ),
            nn.Conv2d(channels_in, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )


class TwiceSeparable(nn.Sequential):
    """Two separable convolutions with a ReLU between; the first one has the stride."""

    def __init__(self, channels_in: int, channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__(
            Separable(channels_in, channels, kernel, stride),
            nn.ReLU(inplace=True),
            Separable(channels, channels, kernel),
        )


class FactorizedReduction(nn.Module):
    """Half the size by two pointwise halves, the second one shifted by a pixel.

    Nothing is lost that a single 1x1 convolution with stride 2 would skip.
    """

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.even = nn.Conv2d(channels_in, channels - channels // 2, 1, 2, bias=False)
        # One channel cannot be halved.
        self.odd = nn.Conv2d(channels_in, channels // 2, 1, 2, bias=False) if channels > 1 else None
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, state: Tensor) -> Tensor:
        """Return [n, channels, ceil(h / 2), ceil(w / 2)]."""
        halves = [self.even(state)]
        if self.odd is not None:
            odd_sized = (state.shape[-1] % 2, state.shape[-2] % 2)
            if any(odd_sized):
                state = functional.pad(state, (0, odd_sized[0], 0, odd_sized[1]))
            halves.append(self.odd(state[:, :, 1:, 1:]))
        normed: Tensor = self.norm(torch.cat(halves, 1))
        return normed


class DropPath(nn.Module):
    """Drop a whole operation for some images, ever more often as training goes on.

    Attributes:
        rate: probability to drop at the end of training.
        share: which images of a batch of so many are given; None for a whole batch.
    """

    keep: Tensor

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.share: tuple[slice, int] | None = None
        # A tensor, so that a compiled network is not compiled again at every step; no part
        # of the weights, so that checkpoints hold at any progress.
        self.register_buffer("keep", torch.ones(()), persistent=False)

    def set_progress(self, fraction: float) -> None:
        """Take note of how much of the training is over."""
        self.keep.fill_(1 - self.rate * fraction)

    def forward(self, state: Tensor) -> Tensor:
        """Return the state with some images zeroed and the others scaled up, in training."""
        if not self.training:
            return state
        part, images = self.share or (slice(None), state.shape[0])
        # Drawn for the whole batch, so that who trains an image does not change its fate.
        kept = torch.rand(images, 1, 1, 1, device=state.device)[part] < self.keep
        return state * (kept / self.keep).to(state.dtype)


class States:
    """The states of a cell by name, each rectified at most once."""

    def __init__(self, states: dict[str, Tensor]) -> None:
        self._states = states
        self._rectified: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> Tensor:
        return self._states[name]

    def __setitem__(self, name: str, state: Tensor) -> None:
        self._states[name] = state

    def rectified(self, name: str) -> Tensor:
        """Return ReLU of the state."""
        if name not in self._rectified:
            self._rectified[name] = functional.relu(self._states[name])
        return self._rectified[name]


class Step(nn.Module):
    """One operation of a cell: which state it reads, and the layers it puts it through.

    Attributes:
        place: of the operation in the cell: what its result is added to, or one side of that.
        operation: its name; with place and source it tells whose weights these are.
        layers: None for an identity.
        rectify: the layers expect a rectified state.
        ways: each is a reason why it is there.
        gate: a scalar that the result is multiplied by; None for one.
    """

    def __init__(
        self,
        source: str,
        operation: str,
        layers: nn.Module | None,
        rectify: bool,
        drop_rate: float,
        *,
        place: str,
        ways: Sequence[Way],
    ) -> None:
        super().__init__()
        self.place = place
        self.ways = tuple(ways)
        self.gate: Tensor | None = None
        self.source = source
        self.operation = operation
        self.layers = layers
        self.rectify = rectify
        drops = drop_rate > 0 and layers is not None
        self.drop = DropPath(drop_rate) if drops else None

    def forward(self, states: States) -> Tensor:
        """Return the operation's result."""
        state = states.rectified(self.source) if self.rectify else states[self.source]
        if self.layers is not None:
            state = self.layers(state)
        if self.gate is not None:
            state = state * self.gate
        return state if self.drop is None else self.drop(state)


class Mixture(nn.Module):
    """All operations that could stand at one place: their results are added up.

    Each has the weight that its gate says (Liu et al., arXiv 1806.09055, equation 2).
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        super().__init__()
        self.steps = nn.ModuleList(steps)

    def forward(self, states: States) -> Tensor:
        """Return the sum."""
        first, *others = (step(states) for step in self.steps)
        total: Tensor = sum(others, first)
        return total


class AuxiliaryHead(nn.Module):
    """A second classifier on an inner state, which only training uses.

    Source: arXiv 1707.07012, appendix A, after Szegedy et al., CVPR 2015.
    """

    def __init__(self, shape: Shape, labels: int) -> None:
        super().__init__()
        pool = min(5, shape.size)
        pooled = (shape.size - pool) // 3 + 1
        self.layers = nn.Sequential(
            nn.ReLU(),
            nn.AvgPool2d(pool, 3),
            ConvNorm(shape.channels, 128, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(128, 768, pooled, bias=False),
            nn.BatchNorm2d(768),
            nn.ReLU(inplace=True),
            nn.Flatten(),
            nn.Linear(768, labels),
        )

    def forward(self, state: Tensor) -> Tensor:
        """Return logits [n, labels]."""
        logits: Tensor = self.layers(state)
        return logits


def initialise(network: nn.Module) -> None:
    """Set fresh weights: He's for convolutions, small ones for classifiers."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)
