"""ONNX graphs, built node by node from a network given as data.

Building them directly takes milliseconds, gives the same bytes with every version of
torch, and leaves no node that the exporter of a framework put in for its own reasons.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import (
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    checker,
    helper,
    numpy_helper,
)

from strandline.zoo.blocks import Conv, Floats, Network, Stage, output_size

# 18 is the first with `antialias` in Resize; runtimes of 2023 and later know both.
OPSET = 18
_IR_VERSION = 9


@dataclass
class GraphParts:
    """Nodes and initializers of a graph under construction, with names of their own."""

    nodes: list[NodeProto]
    initializers: list[TensorProto]

    @classmethod
    def empty(cls) -> GraphParts:
        """Start with nothing."""
        return cls([], [])

    def constant(self, name: str, value: npt.NDArray[Any]) -> str:
        """Add an initializer once and return its name."""
        if all(known.name != name for known in self.initializers):
            self.initializers.append(numpy_helper.from_array(value, name))
        return name

    def node(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add a node with one output and return that output's name."""
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=output, **attributes))
        return output


def add_pixels_input(parts: GraphParts, source: str, mean: Floats) -> str:
    """Add the subtraction of the mean from float32 pixels [N, 3, H, W] in 0..255."""
    mean_name = parts.constant("mean", mean.reshape(1, 3, 1, 1))
    return parts.node("Sub", [source, mean_name], "centred")


def add_stages(parts: GraphParts, source: str, stages: Sequence[Stage], first: int = 0) -> str:
    """Add the stages, numbered from `first`, and return the name of their output."""
    low = parts.constant("clip_low", np.array(0, np.float32))
    high = parts.constant("clip_high", np.array(6, np.float32))
    value = source
    for stage_index, stage in enumerate(stages, start=first):
        for block_index, block in enumerate(stage):
            name = f"stage{stage_index}.block{block_index}"
            start = value
            for conv_index, conv in enumerate(block.convs):
                value = _add_conv(parts, value, conv, f"{name}.conv{conv_index}")
                if conv.relu6:
                    value = parts.node("Clip", [value, low, high], f"{value}.relu6")
            if block.residual:
                value = parts.node("Add", [value, start], f"{name}.sum")
    return value


def add_pooling(parts: GraphParts, source: str, output: str) -> str:
    """Add the mean over all positions: [N, C, H, W] -> [N, C]."""
    pooled = parts.node("GlobalAveragePool", [source], f"{output}.pooled")
    return parts.node("Flatten", [pooled], output, axis=1)


def _add_conv(parts: GraphParts, source: str, conv: Conv, name: str) -> str:
    weight = parts.constant(f"{name}.weight", conv.weight)
    bias = parts.constant(f"{name}.bias", conv.bias)
    kernel = conv.weight.shape[2]
    return parts.node(
        "Conv",
        [source, weight, bias],
        name,
        kernel_shape=[kernel, kernel],
        strides=[conv.stride, conv.stride],
        group=conv.groups,
        auto_pad="SAME_UPPER",
    )


def network_graph(network: Network) -> ModelProto:
    """Build `pixels`, float32 [N, 3, H, W] in 0..255 -> `features`, float32 [N, dim]."""
    parts = GraphParts.empty()
    value = add_pixels_input(parts, "pixels", network.mean)
    value = add_stages(parts, value, network.stages)
    add_pooling(parts, value, "features")
    dim = network.stages[-1][-1].convs[-1].weight.shape[0]
    return finish_model(
        parts,
        helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["N", 3, "H", "W"]),
        helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", dim]),
    )


def map_graph(network: Network, cut: int, resolution: int) -> ModelProto:
    """Build `pixels` -> the feature map after the first `cut` stages, flattened.

    The output `features` is float32 [N, C * H * W] for images of `resolution` pixels.
    """
    stages = network.stages[:cut]
    parts = GraphParts.empty()
    value = add_stages(parts, add_pixels_input(parts, "pixels", network.mean), stages)
    parts.node("Flatten", [value], "features", axis=1)
    size = output_size(stages, resolution)
    width = stages[-1][-1].convs[-1].weight.shape[0] * size * size
    pixels: list[str | int] = ["N", 3, resolution, resolution]
    return finish_model(
        parts,
        helper.make_tensor_value_info("pixels", TensorProto.FLOAT, pixels),
        helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", width]),
    )


def finish_model(
    parts: GraphParts, graph_input: ValueInfoProto, graph_output: ValueInfoProto
) -> ModelProto:
    """Return the checked model with one input and one output."""
    graph = helper.make_graph(
        parts.nodes, "strandline", [graph_input], [graph_output], parts.initializers
    )
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(
        graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="strandline"
    )
    checker.check_model(model)
    return model
