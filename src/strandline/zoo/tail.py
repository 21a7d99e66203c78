"""The last stages of a backbone as a torch module, to be fine-tuned.

Batch normalisation is folded and so stays as it was learned: with a few dozen images a
class its statistics would rather be hurt than improved by fine-tuning.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from strandline.zoo.blocks import Block, Conv, Floats, Stage


class Tail(nn.Module):
    """Feature map [N, C, H, W] at the cut -> features [N, dim]."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(TailBlock(block) for stage in stages for block in stage)

    def forward(self, feature_map: Tensor) -> Tensor:
        value = feature_map
        for block in self.blocks:
            value = block(value)
        return value.mean(dim=(2, 3))

    def to_stage(self) -> Stage:
        """Return the present weights as data, for building a graph."""
        return tuple(block.to_block() for block in self.blocks if isinstance(block, TailBlock))


class TailBlock(nn.Module):
    """One block: convolutions in a row, with the input added at the end or not."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.convs = nn.ModuleList(SameConv(conv) for conv in block.convs)
        self.residual = block.residual

    def forward(self, value: Tensor) -> Tensor:
        start = value
        for conv in self.convs:
            value = conv(value)
        return value + start if self.residual else value

    def to_block(self) -> Block:
        """Return the present weights as data."""
        convs = tuple(conv.to_conv() for conv in self.convs if isinstance(conv, SameConv))
        return Block(convs, self.residual)


class SameConv(nn.Module):
    """A convolution with TensorFlow's SAME padding, then ReLU6 or not."""

    def __init__(self, conv: Conv) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.from_numpy(conv.weight.copy()))
        self.bias = nn.Parameter(torch.from_numpy(conv.bias.copy()))
        self.stride, self.groups, self.relu6 = conv.stride, conv.groups, conv.relu6

    def forward(self, value: Tensor) -> Tensor:
        kernel = self.weight.shape[2]
        if self.stride == 1:
            padding = kernel // 2
        else:
            value = self._padded(value, kernel)
            padding = 0
        value = functional.conv2d(
            value, self.weight, self.bias, self.stride, padding, groups=self.groups
        )
        return functional.relu6(value) if self.relu6 else value

    def to_conv(self) -> Conv:
        """Return the present weights as data."""
        return Conv(_array(self.weight), _array(self.bias), self.stride, self.groups, self.relu6)

    def _padded(self, value: Tensor, kernel: int) -> Tensor:
        """Pad as much as the stride needs, the odd pixel at the bottom and right."""
        height, width = (
            max((-(-size // self.stride) - 1) * self.stride + kernel - size, 0)
            for size in value.shape[2:]
        )
        sides = (width // 2, width - width // 2, height // 2, height - height // 2)
        return functional.pad(value, sides)


def _array(tensor: Tensor) -> Floats:
    return tensor.detach().to("cpu", torch.float32).contiguous().numpy().astype(np.float32)
