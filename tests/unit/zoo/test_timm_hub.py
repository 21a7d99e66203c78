from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file

from strandline.spec.errors import (
    CorruptArtifactError,
    InvalidSpecError,
    MissingExtraError,
    NotFoundError,
    UnavailableError,
)
from strandline.zoo.backbones import describe_backbone, load_backbone
from strandline.zoo.extractor import FeaturePart, build_extractor

SMALL = "mobilenetv3_small_050"


def _timm_weights(folder: Path, seed: int = 0) -> Path:
    timm = pytest.importorskip("timm", reason="timm, the extra `hub`, is not installed")
    torch.manual_seed(seed)
    model = timm.create_model(SMALL, pretrained=False)
    path = folder / f"weights{seed}.safetensors"
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, path)
    return path


@pytest.mark.slow
def test_a_weights_file_becomes_the_graph_of_that_network(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm", reason="timm, the extra `hub`, is not installed")
    weights = _timm_weights(tmp_path)
    backbone = load_backbone(f"timm:{SMALL}", tmp_path / "cache", weights)
    part = FeaturePart(backbone.name, 64)
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    model = build_extractor([part], tmp_path / "cache").SerializeToString()
    features = onnxruntime.InferenceSession(model).run(None, {"images": images})[0]

    torch.manual_seed(0)
    reference = timm.create_model(SMALL, pretrained=False, num_classes=1000).eval()
    config = timm.data.resolve_data_config({}, model=reference)
    mean, deviation = (torch.tensor(config[key]).view(3, 1, 1) for key in ("mean", "std"))
    pixels = (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - mean) / deviation
    with torch.no_grad():
        maps = reference.forward_features(pixels)
        expected = reference.forward_head(maps, pre_logits=True).numpy()
    assert features.shape == (3, backbone.dim)
    np.testing.assert_allclose(features, expected, atol=1e-4)


def test_other_weights_have_another_digest_and_a_copy_has_the_same(tmp_path: Path) -> None:
    first, second = _timm_weights(tmp_path, 0), _timm_weights(tmp_path, 1)
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(first.read_bytes())
    digests = [
        describe_backbone(f"timm:{SMALL}@{path}", tmp_path / "cache").digest
        for path in (first, second, copy)
    ]
    assert digests[0] == digests[2]
    assert digests[0] != digests[1]


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    _timm_weights(tmp_path)
    save_file({"fc.weight": torch.zeros(2, 2)}, tmp_path / "other.safetensors")
    with pytest.raises(CorruptArtifactError, match="does not fit"):
        load_backbone(f"timm:{SMALL}", tmp_path / "cache", tmp_path / "other.safetensors")


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    _timm_weights(tmp_path)
    torch.save({"a": torch.zeros(1)}, tmp_path / "weights.pth")
    with pytest.raises(CorruptArtifactError, match="does not fit"):
        load_backbone(f"timm:{SMALL}", tmp_path / "cache", tmp_path / "weights.pth")


def test_a_weights_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"nowhere\.safetensors"):
        load_backbone(f"timm:{SMALL}@{tmp_path}/nowhere.safetensors", tmp_path)


def test_a_model_that_timm_does_not_know_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("timm", reason="timm, the extra `hub`, is not installed")
    with pytest.raises(InvalidSpecError, match="no model"):
        load_backbone("timm:nonesuch", tmp_path)


def test_without_timm_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtraError, match=r"strandline\[hub\]"):
        load_backbone("timm:resnet18", tmp_path)


def test_an_unreachable_hub_says_how_to_go_on_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("timm", reason="timm, the extra `hub`, is not installed")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(UnavailableError, match=r"@FILE\.safetensors"):
        load_backbone("timm:resnet18", tmp_path)
