"""Turn the graph of a bundle into torch: TorchScript, or safetensors with a small module.

The torch module runs the very nodes of the ONNX graph, resizing and calibration included,
and must give the golden scores before anything is handed out.
"""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import Tensor

from strandline.bundle.format import Bundle
from strandline.learn import torch_graph
from strandline.learn.torch_graph import TorchGraph
from strandline.spec.errors import FailedRunError, InvalidSpecError

# Every operator agrees within 1e-4. Resizing rounds to gray levels, though, and where a
# value lies between two the runtimes may choose differently: measured on 42 photographs,
# scores then differ by 0.0007 as a rule and 0.003 at most. Small images that are enlarged
# have more such values.
_TOLERANCE = 3e-2


def to_torchscript(bundle: Bundle) -> bytes:
    """Return the model as TorchScript: `torch.jit.load(file)(images)`.

    Raises:
        InvalidSpecError: the graph has operators that the torch module does not know.
        FailedRunError: torch gives other scores than the golden ones.
    """
    module = make_module(bundle)
    example = torch.from_numpy(bundle.golden()[0][0][None].copy())
    with warnings.catch_warnings(), torch.inference_mode():
        # TorchScript is on its way out, and still what many C++ and mobile runtimes load.
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(  # type: ignore[no-untyped-call]
            module, example, check_trace=False
        )
        buffer = io.BytesIO()
        torch.jit.save(traced, buffer)
        buffer.seek(0)
        _check_golden(bundle, torch.jit.load(buffer))  # type: ignore[no-untyped-call]
    return buffer.getvalue()


def to_safetensors(bundle: Bundle) -> bytes:
    """Return the weights as safetensors, with the graph as JSON in their metadata.

    Raises:
        as `to_torchscript`.
    """
    from safetensors.torch import save

    module = make_module(bundle)
    weights = {name: value.contiguous() for name, value in module.weights().items()}
    return bytes(save(weights, {"strandline_graph": json.dumps(module.description)}))


def module_source() -> str:
    """Return the source of the module that loads what `to_safetensors` gives."""
    return Path(torch_graph.__file__).read_text("utf-8")


def make_module(bundle: Bundle) -> TorchGraph:
    """Return the torch module of a bundle's graph, checked against the golden scores.

    Raises:
        as `to_torchscript`.
    """
    model = onnx.load_model_from_string(bytes(bundle.graph))
    description, weights = _take_apart(model)
    try:
        module = TorchGraph(description, weights).eval()
        with torch.inference_mode():
            _check_golden(bundle, module)
    except (ValueError, KeyError) as error:
        raise InvalidSpecError(
            f"this model cannot be expressed in torch ({error}): export it as `onnx` or "
            "`bundle` instead"
        ) from error
    return module


def _take_apart(model: ModelProto) -> tuple[dict[str, Any], dict[str, Tensor]]:
    integers: dict[str, list[int]] = {}
    weights: dict[str, Tensor] = {}
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if tensor.data_type == TensorProto.INT64:
            integers[tensor.name] = value.reshape(-1).tolist()
        else:
            weights[tensor.name] = torch.from_numpy(np.array(value))
    nodes = []
    for node in model.graph.node:
        if len(node.output) != 1:
            raise InvalidSpecError(f"torch export knows no {node.op_type} with several outputs")
        nodes.append(
            {
                "op": node.op_type,
                "inputs": list(node.input),
                "output": node.output[0],
                "attributes": {each.name: _plain(each) for each in node.attribute},
            }
        )
    output = model.graph.output[0].name
    return {"nodes": nodes, "integers": integers, "output": output}, weights


def _plain(attribute: onnx.AttributeProto) -> Any:
    value = helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode()
    return list(value) if not isinstance(value, int | float | str) else value


def _check_golden(bundle: Bundle, module: Any) -> None:
    images, expected = bundle.golden()
    found = [module(torch.from_numpy(each[None].copy()))[0].numpy() for each in images]
    gap = float(np.abs(np.stack(found) - expected).max())
    if not gap <= _TOLERANCE:
        raise FailedRunError(
            f"torch gives other scores than the bundle (by {gap:.2g}): export as `onnx` or "
            "`bundle` instead"
        )
