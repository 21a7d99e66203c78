"""Run a Strandline graph in torch: `images` uint8 [N, H, W, 3] -> `scores` [N, labels].

This file needs torch and safetensors only. `strandline export --format safetensors` puts
a copy of it beside the weights, as `model.py`:

    from model import load
    scores = load("model.safetensors")(images)

The operators mean what ONNX says (operator set 18, onnx.ai/onnx/operators); the graph is
kept in the weights' metadata as JSON, so nothing is pickled.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Value = Tensor | list[int]
"""A tensor, or the whole numbers (shapes, axes) that a graph has as constants."""

Attributes = dict[str, Any]


class TorchGraph(nn.Module):
    """A graph as a torch module, its weights being buffers; it is for inference.

    Attributes:
        description: what besides weights makes the graph, as plain JSON values: `nodes`
            (op, inputs, output, attributes), `integers` (constants), `output`.
    """

    def __init__(self, description: dict[str, Any], weights: dict[str, Tensor]) -> None:
        super().__init__()
        unknown = sorted({node["op"] for node in description["nodes"]} - set(_OPERATORS))
        if unknown:
            raise ValueError(f"operators that are not known here: {', '.join(unknown)}")
        self.description = description
        self._buffer_names = {name: f"weight{i}" for i, name in enumerate(sorted(weights))}
        for name, buffer_name in self._buffer_names.items():
            self.register_buffer(buffer_name, weights[name])

    def forward(self, images: Tensor) -> Tensor:
        """Return scores [N, labels] of images, uint8 [N, H, W, 3] RGB."""
        values: dict[str, Value] = {"images": images, **self.description["integers"]}
        for name, buffer_name in self._buffer_names.items():
            values[name] = getattr(self, buffer_name)
        for node in self.description["nodes"]:
            inputs = [values[name] if name else None for name in node["inputs"]]
            values[node["output"]] = _OPERATORS[node["op"]](inputs, node["attributes"])
        result = values[self.description["output"]]
        assert isinstance(result, Tensor)
        return result

    def weights(self) -> dict[str, Tensor]:
        """Return the weights under their names in the graph."""
        return {name: getattr(self, buffer) for name, buffer in self._buffer_names.items()}


def load(path: str) -> TorchGraph:
    """Load what `strandline export --format safetensors` wrote."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        description = json.loads(file.metadata()["strandline_graph"])
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 – no mapping
    return TorchGraph(description, weights).eval()


# ---------------------------------------------------------------- operators


def _resize(inputs: list[Any], attributes: Attributes) -> Tensor:
    """Antialiased linear, on uint8 [N, H, W, C].

    ONNX Runtime computes this with weights in fixed point: where a value lies right between
    two gray levels it may go the other way: for one value in a hundred at most when images
    are made smaller, for one in ten when they are enlarged (measured on noise).
    """
    images, sizes = inputs[0], inputs[3]
    if attributes.get("axes") != [1, 2] or attributes.get("mode") != "linear":
        raise ValueError("only linear resizing of [N, H, W, C] is known here")
    if attributes.get("exclude_outside", 0):
        raise ValueError("only resizing that goes on beyond the edges is known here")
    height, width = sizes
    antialias = bool(attributes.get("antialias", 0))
    value: Tensor = images.permute(0, 3, 1, 2).float()
    # Across first, then down, rounded after each, as ONNX Runtime and Pillow do it.
    for size in (width, height):
        value = value @ _resize_weights(value, size, antialias)
        if not images.is_floating_point():
            value = (value + 0.5).floor().clamp(0, 255)
        value = value.transpose(2, 3)
    return value.permute(0, 2, 3, 1).to(images.dtype)


def _resize_weights(value: Tensor, size: int, antialias: bool) -> Tensor:
    """Return how much each place on the last axis counts for each new one: [old, `size`].

    What a filter has beyond an edge counts for the edge (ONNX, Resize, `exclude_outside` 0);
    torch's own resizing leaves it out, as Pillow does.
    """
    old = value.shape[-1]
    # No filter reaches further than one whole axis to either side.
    places = torch.arange(3 * old, device=value.device, dtype=torch.float64) - old
    # A tensor, so that what is traced holds for images of other sizes.
    scale = torch.as_tensor(old, dtype=torch.float64) / size
    centers = (torch.arange(size, device=value.device, dtype=torch.float64) + 0.5) * scale
    width = scale.clamp(min=1.0) if antialias else 1.0
    weights = (1 - ((places[:, None] + 0.5 - centers) / width).abs()).clamp(min=0)
    weights = weights / weights.sum(0)
    before, behind = weights[:old].sum(0), weights[2 * old :].sum(0)
    index = torch.arange(old, device=value.device)[:, None]
    beyond = before * (index == 0) + behind * (index == old - 1)
    return (weights[old : 2 * old] + beyond).float()


def _conv(inputs: list[Any], attributes: Attributes) -> Tensor:
    value, weight = inputs[:2]
    bias = inputs[2] if len(inputs) > 2 else None
    strides = attributes.get("strides", [1, 1])
    dilations = attributes.get("dilations", [1, 1])
    if attributes.get("auto_pad") == "SAME_UPPER":
        # Resizing comes first, so sizes are the same for all images: kept when first seen.
        kernel = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilations, strict=True)]
        sizes = zip(value.shape[2:], kernel, strides, strict=True)
        totals = [max((math.ceil(s / t) - 1) * t + k - s, 0) for s, k, t in sizes]
        attributes["pads"] = [t // 2 for t in totals] + [t - t // 2 for t in totals]
        del attributes["auto_pad"]
    top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
    if (top, left) == (bottom, right):
        padding = [top, left]
    else:
        value, padding = functional.pad(value, [left, right, top, bottom]), [0, 0]
    groups = attributes.get("group", 1)
    return functional.conv2d(value, weight, bias, strides, padding, dilations, groups)


def _window(attributes: Attributes) -> tuple[list[int], list[int], list[int]]:
    """Return the kernel, strides and padding of a pooling, [down, across] each."""
    top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
    if (top, left) != (bottom, right) or attributes.get("auto_pad", "NOTSET") != "NOTSET":
        raise ValueError("only pooling that is padded alike on both sides is known here")
    return attributes["kernel_shape"], attributes.get("strides", [1, 1]), [top, left]


def _max_pool(inputs: list[Any], attributes: Attributes) -> Tensor:
    return functional.max_pool2d(
        inputs[0],
        *_window(attributes),
        dilation=attributes.get("dilations", [1, 1]),
        ceil_mode=bool(attributes.get("ceil_mode", 0)),
    )


def _average_pool(inputs: list[Any], attributes: Attributes) -> Tensor:
    return functional.avg_pool2d(
        inputs[0],
        *_window(attributes),
        ceil_mode=bool(attributes.get("ceil_mode", 0)),
        count_include_pad=bool(attributes.get("count_include_pad", 0)),
    )


def _batch_normalization(inputs: list[Any], attributes: Attributes) -> Tensor:
    value, scale, bias, mean, variance = inputs
    epsilon = attributes.get("epsilon", 1e-5)
    return functional.batch_norm(value, mean, variance, scale, bias, eps=epsilon)


def _pad(inputs: list[Any], attributes: Attributes) -> Tensor:
    if attributes.get("mode", "constant") != "constant" or any(inputs[2:]):
        raise ValueError("only padding with zeros, of all axes, is known here")
    pads: list[int] = inputs[1]
    ends = zip(pads[: len(pads) // 2], pads[len(pads) // 2 :], strict=True)
    # ONNX has all beginnings first; torch has pairs, of the last axis first.
    return functional.pad(inputs[0], [size for pair in reversed([*ends]) for size in pair])


def _gemm(inputs: list[Any], attributes: Attributes) -> Tensor:
    a = inputs[0].t() if attributes.get("transA") else inputs[0]
    b = inputs[1].t() if attributes.get("transB") else inputs[1]
    product: Tensor = attributes.get("alpha", 1.0) * (a @ b)
    if len(inputs) > 2:
        product = product + attributes.get("beta", 1.0) * inputs[2]
    return product


def _slice(inputs: list[Any], attributes: Attributes) -> Tensor:
    value: Tensor = inputs[0]
    starts, ends = inputs[1:3]
    axes = inputs[3] if len(inputs) > 3 else list(range(len(starts)))
    steps = inputs[4] if len(inputs) > 4 else [1] * len(starts)
    for index, axis in enumerate(axes):
        step = steps[index]
        if step > 0:
            value = value[
                (slice(None),) * (axis % value.ndim) + (_span(starts, ends, index, step),)
            ]
        elif (step, starts[index]) == (-1, -1) and ends[index] <= -(2**31):
            value = value.flip(axis)
        else:
            raise ValueError("of backward slices only whole reversals are known here")
    return value


def _span(starts: list[int], ends: list[int], index: int, step: int) -> slice:
    end = ends[index]
    return slice(starts[index], None if end >= 2**31 - 1 else end, step)


def _clip(inputs: list[Any], attributes: Attributes) -> Tensor:
    low, high = [*inputs[1:], None, None][:2]
    return torch.clamp(inputs[0], min=low, max=high)


def _cast(inputs: list[Any], attributes: Attributes) -> Tensor:
    kinds = {1: torch.float32, 2: torch.uint8, 6: torch.int32, 7: torch.int64, 11: torch.float64}
    value: Tensor = inputs[0]
    return value.to(kinds[attributes["to"]])


def _reshape(inputs: list[Any], attributes: Attributes) -> Tensor:
    value: Tensor = inputs[0]
    shape: list[int] = inputs[1]
    return value.reshape([value.shape[i] if n == 0 else n for i, n in enumerate(shape)])


def _flatten(inputs: list[Any], attributes: Attributes) -> Tensor:
    if attributes.get("axis", 1) != 1:
        raise ValueError("only flattening from axis 1 is known here")
    value: Tensor = inputs[0]
    return value.flatten(1)


def _axes(inputs: list[Any], attributes: Attributes) -> tuple[list[int], bool]:
    axes = inputs[1] if len(inputs) > 1 and inputs[1] is not None else attributes.get("axes")
    everything = list(range(inputs[0].ndim))
    return axes if axes is not None else everything, bool(attributes.get("keepdims", 1))


def _reduce(measure: Callable[[Tensor, list[int], bool], Tensor]) -> _Operator:
    return lambda inputs, attributes: measure(inputs[0], *_axes(inputs, attributes))


def _unary(function: Callable[[Tensor], Tensor]) -> _Operator:
    return lambda inputs, attributes: function(inputs[0])


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> _Operator:
    return lambda inputs, attributes: function(inputs[0], inputs[1])


_Operator = Callable[[list[Any], Attributes], Tensor]

_OPERATORS: dict[str, _Operator] = {
    "Abs": _unary(torch.abs),
    "Add": _binary(torch.add),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_normalization,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": lambda inputs, attributes: torch.cat(inputs, attributes["axis"]),
    "Conv": _conv,
    "Div": _binary(torch.div),
    "Erf": _unary(torch.erf),
    "Exp": _unary(torch.exp),
    "Flatten": _flatten,
    "Gemm": _gemm,
    "GlobalAveragePool": _unary(lambda value: value.mean((2, 3), keepdim=True)),
    "HardSigmoid": lambda inputs, attributes: torch.clamp(
        attributes.get("alpha", 0.2) * inputs[0] + attributes.get("beta", 0.5), 0, 1
    ),
    "HardSwish": _unary(functional.hardswish),
    "Identity": _unary(lambda value: value),
    "MatMul": _binary(torch.matmul),
    "Max": _binary(torch.maximum),
    "MaxPool": _max_pool,
    "Mul": _binary(torch.mul),
    "Neg": _unary(torch.neg),
    "Pad": _pad,
    "Pow": _binary(torch.pow),
    "ReduceL2": _reduce(lambda value, axes, keep: value.square().sum(axes, keep).sqrt()),
    "ReduceMax": _reduce(lambda value, axes, keep: value.amax(axes, keep)),
    "ReduceMean": _reduce(lambda value, axes, keep: value.mean(axes, keep)),
    "ReduceSum": _reduce(lambda value, axes, keep: value.sum(axes, keep)),
    "ReduceSumSquare": _reduce(lambda value, axes, keep: value.square().sum(axes, keep)),
    "Relu": _unary(torch.relu),
    "Reshape": _reshape,
    "Resize": _resize,
    "Sigmoid": _unary(torch.sigmoid),
    "Sign": _unary(torch.sign),
    "Slice": _slice,
    "Softmax": lambda inputs, attributes: torch.softmax(inputs[0], attributes.get("axis", -1)),
    "Sqrt": _unary(torch.sqrt),
    "Sub": _binary(torch.sub),
    "Tanh": _unary(torch.tanh),
    "Transpose": lambda inputs, attributes: inputs[0].permute(attributes["perm"]),
}
