"""The torch module gives what ONNX Runtime gives: every head on a real backbone, and cells."""

import io
import itertools
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, compose, helper
from PIL import Image

from strandline.bundle.format import Bundle, open_bundle
from strandline.bundle.session import GraphSession
from strandline.cells.family import Plan
from strandline.cells.registry import FAMILIES, family
from strandline.learn import torch_graph
from strandline.learn.calibrate import identity_calibration
from strandline.learn.export_torch import make_module, to_safetensors, to_torchscript
from strandline.learn.heads.registry import REGISTRY, HeadChoice, fit_head
from strandline.learn.heads.scaling import KINDS
from strandline.learn.refit import finish_graph
from strandline.learn.torch_graph import TorchGraph
from strandline.spec.records import Task
from strandline.testing.bundles import LABELS, make_bundle
from strandline.zoo.cells.image_graph import image_model
from strandline.zoo.cells.registry import build_network
from strandline.zoo.extractor import FeaturePart, build_extractor, images_input
from strandline.zoo.graphs import GraphParts, finish_model

SIDE = 64
PARTS = [FeaturePart("efficientnet-lite0", SIDE, 8)]


def scene(seed: int, height: int, width: int) -> NDArray[np.uint8]:
    """A smooth picture with a little grain."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    grainy = np.clip(smooth + rng.integers(-9, 10, smooth.shape), 0, 255)
    return np.asarray(grainy, dtype=np.uint8)


@pytest.fixture(scope="module")
def extractor(tmp_path_factory: pytest.TempPathFactory) -> ModelProto:
    return build_extractor(PARTS, tmp_path_factory.mktemp("cache"))


def whole_bundle(extractor: ModelProto, head: str, scaling: str, task: Task, path: Path) -> Bundle:
    dim = extractor.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    blocks = (dim // 2, dim // 2)
    features = np.random.default_rng(0).gamma(1.0, 0.5, (60, 1, dim)).astype(np.float32)
    targets = (
        np.arange(60) % 3 if task is Task.MULTICLASS else np.eye(3, dtype="f4")[[0, 1, 2] * 20]
    )
    chosen = next(each for each in REGISTRY if each.name == head)
    choice = HeadChoice(head, scaling, "none", chosen.defaults)
    fitted = fit_head(choice, features, blocks, targets, task, 3, seed=0)
    behind = compose.add_prefix(
        fitted.to_onnx(), "head/", rename_inputs=False, rename_outputs=False
    )
    behind.ir_version = extractor.ir_version
    merged = compose.merge_models(extractor, behind, io_map=[("features", "features")])
    graph = finish_graph(merged, identity_calibration(3, task), task)
    golden = [scene(1, SIDE, SIDE), scene(2, SIDE, SIDE)]
    make_bundle(path, task, labels=LABELS, graph=graph.SerializeToString(), golden=golden)
    return open_bundle(path)


def load_scripted(bundle: Bundle) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # TorchScript is on its way out
        return torch.jit.load(io.BytesIO(to_torchscript(bundle)))  # type: ignore[no-untyped-call]


CASES = [
    *itertools.product([each.name for each in REGISTRY], KINDS[:1], [Task.MULTICLASS]),
    *itertools.product(["logistic"], KINDS[1:], [Task.MULTILABEL]),
]


@pytest.mark.slow
@pytest.mark.parametrize(("head", "scaling", "task"), CASES)
def test_every_head_and_scaling_scores_the_same_in_torch(
    extractor: ModelProto, head: str, scaling: str, task: Task, tmp_path: Path
) -> None:
    bundle = whole_bundle(extractor, head, scaling, task, tmp_path / "b")
    session = GraphSession(bundle.graph, 3, threads=1)
    module = make_module(bundle)
    # Of the size that the graph wants: resizing, which rounds otherwise, is tested apart.
    images = np.stack([scene(seed, SIDE, SIDE) for seed in (5, 6)])
    with torch.inference_mode():
        found = module(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(found, session.scores(images), atol=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_networks_of_cells_score_the_same_in_torch(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    # Of an odd size: strides of two go over its edge there.
    plan = Plan(image_size=17, labels=3, filters=4, cells=1)
    network = build_network(name, family(name).sample(np.random.default_rng(0)), plan)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0  # it normalises by what it saw last
    with torch.no_grad():
        network(torch.randn(8, 3, 17, 17) + 0.5)
    model = image_model(network, plan)
    graph = finish_graph(model, identity_calibration(3, Task.MULTICLASS), Task.MULTICLASS)
    golden = [scene(1, 17, 17), scene(2, 17, 17)]
    path = make_bundle(
        tmp_path / "b", labels=LABELS, graph=graph.SerializeToString(), golden=golden
    )
    bundle = open_bundle(path)
    images = np.stack([scene(seed, 17, 17) for seed in (5, 6, 7)])
    expected = GraphSession(bundle.graph, 3, threads=1).scores(images)
    assert np.ptp(expected, axis=0).max() > 1e-3
    (tmp_path / "model.safetensors").write_bytes(to_safetensors(bundle))
    for saved in (torch_graph.load(str(tmp_path / "model.safetensors")), load_scripted(bundle)):
        with torch.inference_mode():
            found = saved(torch.from_numpy(images)).numpy()
        np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.slow
def test_what_was_saved_takes_batches_and_other_sizes(
    extractor: ModelProto, tmp_path: Path
) -> None:
    bundle = whole_bundle(extractor, "logistic", KINDS[0], Task.MULTICLASS, tmp_path / "b")
    module = make_module(bundle)
    scripted = load_scripted(bundle)
    (tmp_path / "model.safetensors").write_bytes(to_safetensors(bundle))
    loaded = torch_graph.load(str(tmp_path / "model.safetensors"))
    for count, height, width in ((1, 33, 250), (3, SIDE, SIDE), (2, 130, 131)):
        images = torch.from_numpy(np.stack([scene(s, height, width) for s in range(count)]))
        with torch.inference_mode():
            expected = module(images).numpy()
            for saved in (scripted, loaded):
                np.testing.assert_allclose(saved(images).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("side", [16, 64, 96])
@pytest.mark.parametrize(("height", "width"), [(33, 250), (64, 64), (300, 301), (1, 500)])
def test_resizing_differs_by_single_gray_levels(side: int, height: int, width: int) -> None:
    parts = GraphParts.empty()
    sizes = parts.constant("sizes", np.array([side, side], np.int64))
    attributes: dict[str, Any] = {"mode": "linear", "antialias": 1, "axes": [1, 2]}
    parts.node("Resize", ["images", "", "", sizes], "resized", **attributes)
    parts.node("Cast", ["resized"], "scores", to=TensorProto.FLOAT)
    output = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", side, side, 3])
    model = finish_model(parts, images_input(), output)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    # Noise: what becomes of the edges is seen, too.
    images = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    (expected,) = session.run(None, {"images": images})
    nodes = [
        {"op": "Resize", "inputs": ["images", "", "", "sizes"], "output": "y"}
        | {"attributes": attributes}
    ]
    description = {"nodes": nodes, "integers": {"sizes": [side, side]}, "output": "y"}
    found = TorchGraph(description, {})(torch.from_numpy(images)).numpy()
    gap = np.abs(found.astype(np.float32) - expected)
    assert gap.max() <= 2
    assert gap.mean() < 0.15
