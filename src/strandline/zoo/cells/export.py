"""Networks of cells as ONNX, for any number of images at the planned size.

The graph takes `images`, float32 [N, channels_in, S, S] normalised as in training, and
gives `logits`, float32 [N, labels]. The auxiliary head and ScheduledDropPath, which only
training uses, are not in it.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import BinaryIO

import torch
from onnx import ModelProto
from torch import nn

from strandline.cells.family import Plan
from strandline.durable import replacing
from strandline.zoo.graphs import OPSET


def export_network(network: nn.Module, plan: Plan, target: Path | BinaryIO) -> None:
    """Write the network as it predicts; a file is there whole or not at all.

    Args:
        network: of `build_network` with this plan; its mode is left as it was.
        target: a path, or a stream that takes bytes.
    """
    data = network_model(network, plan).SerializeToString()
    if isinstance(target, Path):
        with replacing(target) as stream:
            stream.write(data)
    else:
        target.write(data)


def network_model(network: nn.Module, plan: Plan) -> ModelProto:
    """Return the network's graph as it predicts."""
    was_training = network.training
    weights = next(network.parameters())
    shape = (2, plan.channels_in, plan.image_size, plan.image_size)
    example = torch.zeros(shape, device=weights.device)
    network.eval()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's advice to its own authors
            program = torch.onnx.export(
                network,
                (example,),
                input_names=["images"],
                output_names=["logits"],
                opset_version=OPSET,
                dynamo=True,
                dynamic_shapes={"images": {0: torch.export.Dim("N", min=1)}},
                verbose=False,
            )
    finally:
        network.train(was_training)
    assert program is not None
    return program.model_proto
