from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import ModelProto

from strandline.spec.errors import InvalidSpecError
from strandline.zoo.backbones import Backbone
from strandline.zoo.extractor import FeaturePart, build_extractor
from strandline.zoo.stages import (
    count_stages,
    front_graph,
    load_tail,
    merge_tail,
)

LITE0 = "efficientnet-lite0"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def _images(count: int) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (count, 50, 40, 3), dtype=np.uint8)


def _run(model: ModelProto | Path, images: np.ndarray) -> np.ndarray:
    content = model.SerializeToString() if isinstance(model, ModelProto) else str(model)
    features: np.ndarray = onnxruntime.InferenceSession(content).run(None, {"images": images})[0]
    return features


# 72 pixels: feature maps of 36, 18, 9, 5 and 3, so paddings of both parities occur.
@pytest.mark.parametrize(("cut", "resolution"), [(1, 64), (3, 72), (6, 72), (8, 96)])
def test_front_and_tail_together_are_the_whole_backbone(
    cut: int, resolution: int, cache: Path
) -> None:
    part = FeaturePart(LITE0, resolution)
    front = front_graph(part, cut, cache)
    images = _images(2)
    maps = _run(front.graph, images)
    assert maps.shape == (2, 1, front.dim)
    with torch.no_grad():
        features = load_tail(front, cache)(torch.from_numpy(maps).reshape(2, *front.shape))
    whole = _run(build_extractor([part], cache), images)
    np.testing.assert_allclose(features.numpy(), whole, atol=1e-4)


def test_an_untouched_tail_merges_into_the_original_graph(cache: Path) -> None:
    part = FeaturePart(LITE0, 64, 2)
    front = front_graph(part, 6, cache)
    merged = merge_tail(front, load_tail(front, cache), cache)
    images = _images(2)
    np.testing.assert_array_equal(
        _run(merged, images), _run(build_extractor([part], cache), images)
    )


def test_a_trained_tail_gives_in_the_graph_what_it_gives_in_torch(cache: Path) -> None:
    front = front_graph(FeaturePart(LITE0, 64), 6, cache)
    tail = load_tail(front, cache)
    images = _images(4)
    maps = torch.from_numpy(_run(front.graph, images)).reshape(4, *front.shape)
    before = tail(maps).detach().numpy()
    for _ in range(2):
        tail.zero_grad()
        tail(maps).square().mean().backward()
        with torch.no_grad():
            for parameter in tail.parameters():
                assert parameter.grad is not None
                parameter.sub_(0.01 * parameter.grad)
    after = tail(maps).detach().numpy()
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_allclose(_run(merge_tail(front, tail, cache), images), after, atol=1e-4)


def test_training_one_tail_leaves_the_next_one_as_it_was(cache: Path) -> None:
    front = front_graph(FeaturePart(LITE0, 64), 8, cache)
    first = load_tail(front, cache)
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.zero_()
    assert any(parameter.abs().sum() > 0 for parameter in load_tail(front, cache).parameters())


def test_fronts_with_other_cuts_have_other_digests(cache: Path) -> None:
    part = FeaturePart(LITE0, 64)
    assert front_graph(part, 6, cache).digest != front_graph(part, 7, cache).digest


@pytest.mark.parametrize("cut", [0, 9, -1])
def test_a_cut_outside_the_backbone_is_refused(cut: int, cache: Path) -> None:
    assert count_stages(LITE0, cache) == 9
    with pytest.raises(InvalidSpecError, match="cut"):
        front_graph(FeaturePart(LITE0, 64), cut, cache)


def test_a_backbone_that_cannot_be_cut_says_so(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traced = Backbone("timm:x", "sha256:" + "0" * 64, 8, 64, "a hub", "MIT")
    monkeypatch.setattr("strandline.zoo.stages.describe_backbone", lambda *_: traced)
    with pytest.raises(InvalidSpecError, match="cannot be fine-tuned"):
        front_graph(FeaturePart("timm:x", 64), 3, cache)
