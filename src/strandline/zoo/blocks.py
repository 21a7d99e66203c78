"""Convolutional networks as plain data: what export, splitting and fine-tuning share.

A network that is a torch module can be run and exported, but not cut in the middle,
frozen in front and merged again without knowing its code. Here it is a list of stages,
each a list of blocks of convolutions whose batch normalisation is folded into weight and
bias, so that one small builder (`graphs`) turns any part of it into ONNX nodes, in milliseconds
and without torch.

Padding is TensorFlow's SAME (as much as the stride needs, the odd pixel at the end),
which depends on the input size: graphs say `auto_pad=SAME_UPPER` and so hold for every
resolution.

Source of the folding: Jacob et al., CVPR 2018 (arXiv 1712.05877), section 3.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Conv:
    """A convolution with SAME padding, bias, and ReLU6 after it or not.

    Attributes:
        weight: float32 [out, in / groups, k, k].
        bias: float32 [out].
        groups: the number of input channels makes it depthwise.
        relu6: clip the output to [0, 6].
    """

    weight: Floats
    bias: Floats
    stride: int = 1
    groups: int = 1
    relu6: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Convolutions in a row; `residual` adds the block's input to its output."""

    convs: tuple[Conv, ...]
    residual: bool = False


Stage = tuple[Block, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A backbone: pixels minus `mean`, then the stages, then the mean over positions.

    Attributes:
        mean: float32 [3], subtracted from pixels in 0..255; the division by the standard
            deviation is folded into the first convolution.
        stages: from the stem to the last convolution.
    """

    mean: Floats
    stages: tuple[Stage, ...]


def fold_batch_norm(
    weight: Floats, scale: Floats, shift: Floats, mean: Floats, variance: Floats, epsilon: float
) -> tuple[Floats, Floats]:
    """Return the weight and bias of the convolution that does both.

    Args:
        weight: [out, in / groups, k, k]; the others are [out].
    """
    factor = scale.astype(np.float64) / np.sqrt(variance.astype(np.float64) + epsilon)
    folded = weight * factor[:, None, None, None]
    bias = shift - mean * factor
    return folded.astype(np.float32), bias.astype(np.float32)


def output_size(stages: Sequence[Stage], size: int) -> int:
    """Return height (= width) of the feature map for inputs of `size` pixels."""
    for stage in stages:
        for block in stage:
            for conv in block.convs:
                size = -(-size // conv.stride)
    return size
