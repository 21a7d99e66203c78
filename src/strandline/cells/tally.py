"""Parameters and multiply-adds of layers, added up without making them.

Convention (as in the papers whose figures the tests compare): convolutions and linear
layers count in both, a bias being one more for each of its outputs; the scale and shift of
batch normalisation count as parameters only; activation, pooling, addition of branches and
global averaging count nothing.
"""

from __future__ import annotations

from typing import NamedTuple

from strandline.cells.family import Counts


class Shape(NamedTuple):
    """A square feature map."""

    channels: int
    size: int

    def strided(self, channels: int, stride: int) -> Shape:
        """Return the shape after a layer with "same" padding: sizes round up."""
        return Shape(channels, -(-self.size // stride))


class Tally:
    """A running total over the layers of a network."""

    def __init__(self) -> None:
        self._parameters = 0
        self._multiply_adds = 0

    def conv(
        self,
        channels_in: int,
        out: Shape,
        kernel: tuple[int, int],
        groups: int = 1,
        bias: bool = False,
        positions: int | None = None,
    ) -> None:
        """Add a convolution with output `out`; `positions` when that is not square."""
        weights = channels_in // groups * out.channels * kernel[0] * kernel[1]
        weights += out.channels if bias else 0
        self._parameters += weights
        self._multiply_adds += weights * (positions or out.size * out.size)

    def batch_norm(self, channels: int) -> None:
        """Add a batch normalisation with scale and shift."""
        self._parameters += 2 * channels

    def conv_norm(self, before: Shape, channels: int, kernel: int, stride: int = 1) -> Shape:
        """Add a square convolution with "same" padding and its normalisation."""
        out = before.strided(channels, stride)
        self.conv(before.channels, out, (kernel, kernel))
        self.batch_norm(channels)
        return out

    def separable(self, before: Shape, channels: int, kernel: int, stride: int = 1) -> Shape:
        """Add a depthwise and a pointwise convolution with one normalisation at the end."""
        middle = before.strided(before.channels, stride)
        self.conv(before.channels, middle, (kernel, kernel), groups=before.channels)
        return self.conv_norm(middle, channels, 1)

    def factorized(self, before: Shape, channels: int) -> Shape:
        """Add a factorized reduction: two pointwise halves at stride 2, then normalisation."""
        out = before.strided(channels, 2)
        self.conv(before.channels, out, (1, 1))
        self.batch_norm(channels)
        return out

    def linear(self, features: int, outputs: int) -> None:
        """Add a linear layer with bias."""
        self._parameters += features * outputs + outputs
        self._multiply_adds += features * outputs + outputs

    def counts(self) -> Counts:
        """Return the total so far."""
        return Counts(self._parameters, self._multiply_adds)
