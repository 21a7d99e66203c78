"""From images as a client has them to a cell network's logits, in one graph.

`images` is uint8 [N, H, W, 3] of any size; resizing and normalisation are in the graph, so
that whoever predicts only decodes. Training resizes with the same node (`resize_model`) and
normalises with the same numbers.
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, TensorProto, helper
from torch import nn

from strandline.cells.family import Plan
from strandline.zoo.cells.export import network_model
from strandline.zoo.extractor import add_core, add_resized, images_input
from strandline.zoo.graphs import GraphParts, finish_model

MIDDLE, SPREAD = 128.0, 64.0
"""A network sees (pixel - MIDDLE) / SPREAD of pixels in 0..255."""


def resize_model(size: int) -> ModelProto:
    """Return `images` -> `resized`, uint8 [N, size, size, 3]."""
    parts = GraphParts.empty()
    parts.node("Identity", [add_resized(parts, size)], "resized")
    shape: list[str | int] = ["N", size, size, 3]
    output = helper.make_tensor_value_info("resized", TensorProto.UINT8, shape)
    return finish_model(parts, images_input(), output)


def image_model(network: nn.Module, plan: Plan) -> ModelProto:
    """Return `images` -> `logits`, float32 [N, labels], of the network as it predicts."""
    parts = GraphParts.empty()
    resized = add_resized(parts, plan.image_size)
    value = parts.node("Transpose", [resized], "channels_first", perm=[0, 3, 1, 2])
    value = parts.node("Cast", [value], "floats", to=TensorProto.FLOAT)
    middle = parts.constant("middle", np.array(MIDDLE, np.float32))
    spread = parts.constant("spread", np.array(SPREAD, np.float32))
    value = parts.node("Sub", [value, middle], "centred")
    value = parts.node("Div", [value, spread], "pixels")
    parts.node("Identity", [add_core(parts, network_model(network, plan), value, "net.")], "logits")
    shape: list[str | int] = ["N", plan.labels]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)
    return finish_model(parts, images_input(), output)
