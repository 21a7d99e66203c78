"""Builders of small, valid bundles and of graphs for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from strandline.bundle.contents import Receipt
from strandline.bundle.format import BundleContents, write_bundle
from strandline.spec.records import Task, digest_of
from strandline.spec.scorecard import Scorecard
from strandline.testing.scorecards import make_scorecard

LABELS = ("cliff", "dune", "reef")


def make_graph(
    labels: int = 3, task: Task = Task.MULTICLASS, side: int = 8, seed: int = 0
) -> ModelProto:
    """Return `images` -> `scores`: stretch to a square, mean color, one linear layer."""
    rng = np.random.default_rng(seed)
    sizes = np.array([side, side], np.int64)
    constants = {
        "sizes": sizes,
        "axes": np.array([1, 2], np.int64),
        "scale": np.array(1 / 255, np.float32),
        "weight": rng.normal(0, 12, (3, labels)).astype(np.float32),
        "bias": np.full(labels, -3.0, np.float32),
    }
    if task is Task.MULTILABEL:
        activation = helper.make_node("Sigmoid", ["logits"], ["scores"])
    else:
        activation = helper.make_node("Softmax", ["logits"], ["scores"], axis=1)
    nodes = [
        helper.make_node(
            "Resize",
            ["images", "", "", "sizes"],
            ["small"],
            mode="linear",
            antialias=1,
            axes=[1, 2],
        ),
        helper.make_node("Cast", ["small"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "scale"], ["scaled"]),
        helper.make_node("ReduceMean", ["scaled", "axes"], ["means"], keepdims=0),
        helper.make_node("Gemm", ["means", "weight", "bias"], ["logits"]),
        activation,
    ]
    return finish(nodes, constants, labels)


def finish(nodes: list[NodeProto], constants: dict[str, Any], labels: int) -> ModelProto:
    """Return the model of these nodes with a bundle's input and output."""
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", "H", "W", 3])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", labels])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def make_pixels(seed: int = 0, height: int = 12, width: int = 16) -> NDArray[np.uint8]:
    """Return an image, uint8 [height, width, 3]: a tint with a little noise."""
    rng = np.random.default_rng(seed)
    tint = rng.integers(0, 200, 3)
    return (tint + rng.integers(0, 56, (height, width, 3))).astype(np.uint8)


def make_receipt() -> Receipt:
    """Return how an imagined model came about."""
    return Receipt(
        dataset="coast",
        dataset_version=1,
        dataset_digest=digest_of(b"coast"),
        seed=0,
        candidate={"head": "logistic", "strength": 1.0},
        trials=({"number": 0, "state": "completed"},),
    )


def make_contents(task: Task = Task.MULTICLASS, **changes: Any) -> BundleContents:
    """Return the contents of a small bundle; `changes` replace fields."""
    labels = changes.get("labels", LABELS)
    scorecard: Scorecard = changes.get("scorecard") or make_scorecard(task, labels)
    settings: dict[str, Any] = {
        "name": "coast",
        "task": task,
        "labels": labels,
        "graph": make_graph(len(labels), task).SerializeToString(),
        "abstention": scorecard.abstention.chosen,
        "scorecard": scorecard,
        "receipt": make_receipt(),
        "card": "# coast\n",
        "golden": [make_pixels(seed) for seed in range(3)],
        "calibration": {"scale": [1.0] * len(labels), "bias": [0.0] * len(labels)},
    }
    return BundleContents(**{**settings, **changes})


def make_bundle(path: Path, task: Task = Task.MULTICLASS, **changes: Any) -> Path:
    """Write a small bundle to `path` and return it."""
    write_bundle(path, make_contents(task, **changes))
    return path
