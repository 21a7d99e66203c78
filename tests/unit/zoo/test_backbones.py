from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet

from strandline.spec.errors import CorruptArtifactError, InvalidSpecError, MissingExtraError
from strandline.zoo import efficientnet_lite
from strandline.zoo.backbones import (
    EFFORTS,
    REGISTRY,
    core_graph,
    describe_backbone,
    load_backbone,
    names,
)
from strandline.zoo.graph_cache import load_graph


def _pixels(count: int, size: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (count, 3, size, size)).astype(np.float32)


def _reference(name: str, pixels: np.ndarray) -> np.ndarray:
    """Return the features that the weights' own package computes, at its resolution."""
    model = EfficientNet.from_name(name)
    path = efficientnet_lite.weights_file(name)
    model.load_state_dict(torch.load(path, weights_only=True))
    model.eval()
    with torch.no_grad():
        maps = model.extract_features(torch.from_numpy((pixels - 127) / 128))
    features: np.ndarray = maps.mean((2, 3)).numpy()
    return features


@pytest.mark.parametrize("name", [offer.name for offer in REGISTRY])
def test_a_graph_gives_the_features_of_the_original_network(name: str, tmp_path: Path) -> None:
    backbone = load_backbone(name, tmp_path)
    pixels = _pixels(2, backbone.native_resolution)
    graph = core_graph(backbone, backbone.native_resolution, tmp_path)
    features = onnxruntime.InferenceSession(graph).run(None, {"pixels": pixels})[0]
    assert features.shape == (2, backbone.dim)
    np.testing.assert_allclose(features, _reference(name, pixels), atol=2e-5)


def test_every_preset_has_backbones_and_more_effort_has_more() -> None:
    tried = [names(effort) for effort in EFFORTS]
    assert all(set(less) <= set(more) for less, more in itertools.pairwise(tried))
    assert tried[0]


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(InvalidSpecError, match="balanced"):
        names("extreme")


@pytest.mark.parametrize("name", ["resnet9000", "", "../secrets", "timm:../x", "timm:a b"])
def test_an_unknown_backbone_is_refused_with_what_there_is(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidSpecError):
        load_backbone(name, tmp_path)


@pytest.mark.parametrize("resolution", [0, 31, 5000])
def test_a_resolution_that_makes_no_sense_is_refused(resolution: int, tmp_path: Path) -> None:
    backbone = describe_backbone("efficientnet-lite0", tmp_path)
    with pytest.raises(InvalidSpecError, match="resolution"):
        core_graph(backbone, resolution, tmp_path)


def test_a_missing_weights_package_is_named_with_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = efficientnet_lite.Variant("no_such_package", 1.0, 224)
    monkeypatch.setitem(efficientnet_lite.VARIANTS, "efficientnet-lite0", missing)
    with pytest.raises(MissingExtraError, match=r"strandline\[train\]"):
        describe_backbone("efficientnet-lite0", tmp_path)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "weights.pth")
    with pytest.raises(CorruptArtifactError, match="has no tensor"):
        efficientnet_lite.load_network("efficientnet-lite0", tmp_path / "weights.pth")


def test_a_damaged_cached_graph_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"\xff" * 50)
    with pytest.raises(CorruptArtifactError, match=r"bad\.onnx.*delete it"):
        load_graph(tmp_path / "bad.onnx")


def test_a_cached_graph_is_used_without_importing_torch(tmp_path: Path) -> None:
    load_backbone("efficientnet-lite0", tmp_path)
    program = (
        "import sys; from pathlib import Path\n"
        "from strandline.zoo.backbones import load_backbone\n"
        "from strandline.zoo.extractor import FeaturePart, build_extractor\n"
        f"cache = Path({str(tmp_path)!r})\n"
        "load_backbone('efficientnet-lite0', cache)\n"
        "build_extractor([FeaturePart('efficientnet-lite0', 64, 2)], cache)\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_processes_that_start_together_share_one_graph(tmp_path: Path) -> None:
    program = (
        "from pathlib import Path\n"
        "from strandline.zoo.backbones import load_backbone\n"
        f"print(load_backbone('efficientnet-lite0', Path({str(tmp_path)!r})).digest)\n"
    )
    command = [sys.executable, "-c", program]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(3)]
    digests = [child.communicate()[0] for child in children]
    assert len(set(digests)) == 1
    assert digests[0].startswith(b"sha256:")
    assert len(list((tmp_path / "graphs").glob("*.onnx"))) == 1
    assert not list((tmp_path / "graphs").glob(".writing-*"))
