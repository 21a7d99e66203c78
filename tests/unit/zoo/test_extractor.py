from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper
from PIL import Image

from strandline.adapters.files import FileStore
from strandline.data.embeddings import embed
from strandline.spec.errors import InvalidSpecError
from strandline.zoo.extractor import (
    FeaturePart,
    assemble,
    build_extractor,
    embedding_graph,
    embedding_graphs,
)

LITE0 = "efficientnet-lite0"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def _images(count: int, height: int = 70, width: int = 90) -> np.ndarray:
    noise = np.random.default_rng(1).integers(0, 256, (count, 9, 9, 3), dtype=np.uint8)
    pictures = [Image.fromarray(small).resize((width, height)) for small in noise]
    return np.stack([np.asarray(picture) for picture in pictures])


def _run(model: ModelProto, images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    features: np.ndarray = session.run(None, {"images": images})[0]
    return features


def _flattening_core(size: int) -> ModelProto:
    """Build `pixels` -> all pixels as features, so that tests see what a backbone sees."""
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["N", 3, size, size])
    features = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", 3 * size**2])
    node = helper.make_node("Flatten", ["pixels"], ["features"], axis=1)
    graph = helper.make_graph([node], "flat", [pixels], [features])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _seen(images: np.ndarray, size: int, views: int) -> np.ndarray:
    """Return what the backbone is given, uint8-valued [N, views, size, size, 3]."""
    part = FeaturePart("any", size, views)
    flat = _run(assemble([part], [_flattening_core(size)], average=False), images)
    return flat.reshape(len(images), views, 3, size, size).transpose(0, 1, 3, 4, 2)


def test_images_are_resized_as_pillow_does_it_within_one_grey_level() -> None:
    images = _images(2)
    expected = [Image.fromarray(i).resize((32, 32), Image.Resampling.BILINEAR) for i in images]
    seen = _seen(images, 32, 1)[:, 0]
    assert np.abs(seen - np.stack([np.asarray(e) for e in expected])).max() <= 1


def test_images_of_the_right_size_are_seen_as_they_are() -> None:
    images = _images(2, 32, 32)
    np.testing.assert_array_equal(_seen(images, 32, 1)[:, 0], images)


def test_the_second_view_is_the_mirror_image() -> None:
    images = _images(3, 16, 16)
    seen = _seen(images, 16, 2)
    np.testing.assert_array_equal(seen[:, 0], images)
    np.testing.assert_array_equal(seen[:, 1], images[:, :, ::-1])


def test_eight_views_are_all_rotations_and_mirrorings_starting_with_the_two() -> None:
    images = _images(1, 16, 16)
    seen = _seen(images, 16, 8)[0]
    np.testing.assert_array_equal(seen[:2], _seen(images, 16, 2)[0])
    turned = [np.rot90(picture, k) for picture in (images[0], images[0][:, ::-1]) for k in range(4)]
    assert {view.astype(np.uint8).tobytes() for view in seen} == {t.tobytes() for t in turned}


def test_parts_stand_side_by_side_and_views_are_averaged(cache: Path) -> None:
    parts = [FeaturePart(LITE0, 64, 2), FeaturePart(LITE0, 96, 1), FeaturePart(LITE0, 64, 8)]
    images = _images(3)
    features = _run(build_extractor(parts, cache), images)
    assert features.shape == (3, 3 * 1280)
    for index, part in enumerate(parts):
        alone = _run(build_extractor([part], cache), images)
        path, _ = embedding_graph(part, cache)
        views = onnxruntime.InferenceSession(path).run(None, {"images": images})[0]
        assert views.shape == (3, part.views, 1280)
        np.testing.assert_allclose(alone, views.mean(axis=1), atol=1e-5)
        np.testing.assert_allclose(features[:, index * 1280 :][:, :1280], alone, atol=1e-5)


@pytest.mark.parametrize("views", [1, 2, 8])
def test_the_graphs_of_a_part_give_its_views_side_by_side(views: int, cache: Path) -> None:
    part = FeaturePart(LITE0, 64, views)
    images = _images(2)
    whole = onnxruntime.InferenceSession(embedding_graph(part, cache)[0])
    expected = whole.run(None, {"images": images})[0]
    graphs = embedding_graphs(part, cache)
    pieces = [onnxruntime.InferenceSession(g.path).run(None, {"images": images})[0] for g in graphs]
    assert [piece.shape[1] for piece in pieces] == [graph.views for graph in graphs]
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), expected, atol=1e-5)


def test_a_part_with_more_views_shares_the_graphs_of_one_with_fewer(cache: Path) -> None:
    few, more = (embedding_graphs(FeaturePart(LITE0, 64, views), cache) for views in (2, 8))
    assert few == more[: len(few)]
    assert [graph.views for graph in more] == [1, 1, 6]


def test_a_backbone_at_two_resolutions_has_its_weights_once(cache: Path) -> None:
    one = build_extractor([FeaturePart(LITE0, 64)], cache).ByteSize()
    two = build_extractor([FeaturePart(LITE0, 64), FeaturePart(LITE0, 96)], cache).ByteSize()
    assert two < 1.01 * one


def test_features_do_not_depend_on_the_other_images_of_a_batch(cache: Path) -> None:
    images = _images(4)
    model = build_extractor([FeaturePart(LITE0, 64, 2)], cache)
    together = _run(model, images)
    np.testing.assert_allclose(together[2:3], _run(model, images[2:3]), atol=1e-5)


def test_cached_embeddings_are_the_features_of_the_extractor(cache: Path, tmp_path: Path) -> None:
    store = FileStore(tmp_path / "store")
    images = _images(5)
    digests = []
    for image in images:
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "PNG")
        digests.append(store.put(stream.getvalue()))
    part = FeaturePart(LITE0, 64, 2)
    path, digest = embedding_graph(part, cache)
    embedded = embed(store, digests, path, digest, 1280, tmp_path / "cache", part.views)
    extracted = _run(build_extractor([part], cache), images)
    np.testing.assert_allclose(embedded.mean(axis=1), extracted, atol=1e-5)


def test_digests_tell_backbones_resolutions_and_views_apart(cache: Path) -> None:
    parts = [
        FeaturePart(LITE0, 64),
        FeaturePart(LITE0, 96),
        FeaturePart(LITE0, 64, 2),
        FeaturePart("efficientnet-lite1", 64),
    ]
    assert len({embedding_graph(part, cache)[1] for part in parts}) == len(parts)
    assert embedding_graph(parts[0], cache) == embedding_graph(FeaturePart(LITE0, 64), cache)


def test_no_parts_are_refused(cache: Path) -> None:
    with pytest.raises(InvalidSpecError, match="at least one"):
        build_extractor([], cache)


def test_a_number_of_views_that_is_no_group_is_refused(cache: Path) -> None:
    with pytest.raises(InvalidSpecError, match="views"):
        build_extractor([FeaturePart(LITE0, 64, 3)], cache)
