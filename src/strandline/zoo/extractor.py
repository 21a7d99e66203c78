"""From images as a client has them to features, in one graph.

Whoever serves a model should only have to decode an image. So resizing, normalisation,
augmented views and the backbones themselves are all in the graph that training makes,
and there is no second implementation that could differ.

Resizing is antialiased linear on uint8, as Pillow's BILINEAR does it (the results differ
by at most one grey level); ONNX Runtime is about 30% quicker with floats here, but those
take four times the memory, which a photo of 100 megapixels does not leave.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from onnx import AttributeProto, ModelProto, TensorProto, ValueInfoProto, compose, helper

from strandline.spec.errors import InvalidSpecError
from strandline.spec.records import canonical_json, digest_of
from strandline.zoo.backbones import core_graph, describe_backbone
from strandline.zoo.graph_cache import cached_graph, load_graph
from strandline.zoo.graphs import GraphParts, finish_model

# Grows when the way from image to pixels changes, so that cached embeddings are not mixed.
_TRANSFORM_VERSION = 1

# Each list is the start of the next, so the first views of an embedding with more views
# are the embedding with fewer. (flip width, flip height, transpose first)
_DIHEDRAL = tuple(
    (width, height, transpose)
    for transpose in (False, True)
    for width, height in ((False, False), (True, False), (False, True), (True, True))
)
VIEWS = (1, 2, 8)


@dataclass(frozen=True, slots=True)
class FeaturePart:
    """One backbone's share of the features.

    Attributes:
        backbone: its name, see `zoo.backbones`.
        resolution: side in pixels to which images are stretched.
        views: 1 identity, 2 with the horizontal flip, 8 all of the dihedral group; at 2
            and 8 the features are means over the views.
    """

    backbone: str
    resolution: int
    views: int = 1


def build_extractor(parts: Sequence[FeaturePart], cache_dir: Path) -> ModelProto:
    """Build `images` -> `features`, all parts side by side.

    `images` is uint8 [N, H, W, 3], `features` float32 [N, D], D the sum of the parts' dims.

    Raises:
        InvalidSpecError: no parts, or one with a number of views other than 1, 2, 8.
        MissingExtraError, UnavailableError, CorruptArtifactError: see `load_backbone`.
    """
    cores = [_load_core(part, cache_dir) for part in parts]
    return assemble(parts, cores)


@dataclass(frozen=True, slots=True)
class EmbeddingGraph:
    """A graph `images` -> `features` [N, views, D], for `data.embeddings`.

    Attributes:
        path: the ONNX file.
        digest: names backbone, transform and views; the cache's key.
        views: how many of a part's views it computes.
    """

    path: Path
    digest: str
    views: int


def embedding_graphs(part: FeaturePart, cache_dir: Path) -> tuple[EmbeddingGraph, ...]:
    """Return the graphs whose outputs, side by side along `views`, are the part's views.

    The identity, its mirror image and the other six have a graph and cached features
    each, so that a candidate with more views computes only those that are new.

    Raises:
        as `build_extractor`.
    """
    _check([part])
    groups = [range(*bounds) for bounds in pairwise((0, *VIEWS)) if bounds[1] <= part.views]
    return tuple(_embedding_graph(part, group, cache_dir) for group in groups)


def embedding_graph(part: FeaturePart, cache_dir: Path) -> tuple[Path, str]:
    """Return the path and digest of one graph for all views, `features` [N, views, D].

    The mean over the views is what `build_extractor` gives for that part.

    Raises:
        as `build_extractor`.
    """
    _check([part])
    whole = _embedding_graph(part, range(part.views), cache_dir)
    return whole.path, whole.digest


def _embedding_graph(part: FeaturePart, views: range, cache_dir: Path) -> EmbeddingGraph:
    digest = part_digest(part, cache_dir, views=views)
    path = cached_graph(
        cache_dir,
        f"embed-{digest.removeprefix('sha256:')[:32]}.onnx",
        lambda: assemble([part], [_load_core(part, cache_dir)], average=False, views=views),
    )
    return EmbeddingGraph(path, digest, len(views))


def part_digest(
    part: FeaturePart, cache_dir: Path, cut: int | None = None, views: range | None = None
) -> str:
    """Return the digest of everything that decides this part's features.

    Args:
        cut: for feature maps, the number of stages in front.
        views: those of the part's views that are meant; None means all.
    """
    shown = range(part.views) if views is None else views
    content = {
        "backbone": describe_backbone(part.backbone, cache_dir).digest,
        "cut": cut,
        "resolution": part.resolution,
        "transform": _TRANSFORM_VERSION,
        "views": [shown.start, shown.stop],
    }
    return digest_of(canonical_json(content))


def assemble(
    parts: Sequence[FeaturePart],
    cores: Sequence[ModelProto],
    average: bool = True,
    views: range | None = None,
) -> ModelProto:
    """Put preprocessing in front of the cores, join them, and mean over their views.

    Args:
        cores: for each part a graph `pixels` [N, 3, S, S] -> `features` [N, d].
        average: False keeps the views apart, [N, views, d], for a single part.
        views: those of the views to compute; None means all of each part.

    Raises:
        InvalidSpecError: see `build_extractor`.
    """
    _check(parts)
    whole = GraphParts.empty()
    outputs: list[str] = []
    dims = [core.graph.output[0].type.tensor_type.shape.dim[1].dim_value for core in cores]
    for index, (part, core) in enumerate(zip(parts, cores, strict=True)):
        shown = range(part.views) if views is None else views
        pixels = _add_views(whole, add_resized(whole, part.resolution), shown, f"part{index}")
        features = add_core(whole, core, pixels, f"part{index}.")
        outputs.append(
            _add_view_axis(whole, features, len(shown), dims[index], f"part{index}", average)
        )
    if len(outputs) == 1:
        whole.node("Identity", outputs, "features")
    else:
        whole.node("Concat", outputs, "features", axis=1)
    _share_equal_initializers(whole)
    shape: list[str | int] = ["N", sum(dims)] if average else ["N", len(shown), dims[0]]
    return finish_model(
        whole, images_input(), helper.make_tensor_value_info("features", TensorProto.FLOAT, shape)
    )


def images_input() -> ValueInfoProto:
    """Return the one input of every graph that takes images: uint8 [N, H, W, 3]."""
    return helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", "H", "W", 3])


def _check(parts: Sequence[FeaturePart]) -> None:
    if not parts:
        raise InvalidSpecError("an extractor needs at least one backbone")
    for part in parts:
        if part.views not in VIEWS:
            raise InvalidSpecError(f"{part.views} views: choose one of {VIEWS}")


def _load_core(part: FeaturePart, cache_dir: Path) -> ModelProto:
    backbone = describe_backbone(part.backbone, cache_dir)
    return load_graph(core_graph(backbone, part.resolution, cache_dir))


def add_resized(whole: GraphParts, resolution: int) -> str:
    """Add the resized images, uint8 [N, S, S, 3], once for each resolution."""
    name = f"resized{resolution}"
    if all(name not in node.output for node in whole.nodes):
        sizes = whole.constant(f"{name}.sizes", np.array([resolution, resolution], np.int64))
        whole.node(
            "Resize", ["images", "", "", sizes], name, mode="linear", antialias=1, axes=[1, 2]
        )
    return name


def _add_views(whole: GraphParts, resized: str, views: range, prefix: str) -> str:
    """Add `pixels`, float32 [views * N, 3, S, S], all images of a view in a row."""
    variants = [
        _add_view(whole, resized, *_DIHEDRAL[view], f"{prefix}.view{view}") for view in views
    ]
    value = variants[0]
    if len(variants) > 1:
        value = whole.node("Concat", variants, f"{prefix}.views", axis=0)
    value = whole.node("Transpose", [value], f"{prefix}.channels_first", perm=[0, 3, 1, 2])
    return whole.node("Cast", [value], f"{prefix}.pixels", to=TensorProto.FLOAT)


def _add_view(
    whole: GraphParts, images: str, width: bool, height: bool, transpose: bool, name: str
) -> str:
    value = images
    if transpose:
        value = whole.node("Transpose", [value], f"{name}.transposed", perm=[0, 2, 1, 3])
    axes = [axis for axis, flip in ((1, height), (2, width)) if flip]
    if axes:
        # A slice from the last to "before the first" with step -1 reverses an axis.
        bounds = {"from": -1, "to": np.iinfo(np.int64).min, "step": -1}
        inputs = [
            whole.constant(f"reverse{len(axes)}.{key}", np.full(len(axes), value_, np.int64))
            for key, value_ in bounds.items()
        ]
        axes_name = whole.constant(f"axes{axes}", np.array(axes, np.int64))
        value = whole.node("Slice", [value, *inputs[:2], axes_name, inputs[2]], f"{name}.flipped")
    return value


def add_core(whole: GraphParts, core: ModelProto, pixels: str, prefix: str) -> str:
    """Add a core's nodes under a prefix, reading `pixels`; return its output's name."""
    graph = compose.add_prefix(core, prefix).graph
    source, output = graph.input[0].name, str(graph.output[0].name)
    for node in graph.node:
        node.input[:] = [pixels if name == source else name for name in node.input]
        whole.nodes.append(node)
    whole.initializers.extend(graph.initializer)
    return output


def _add_view_axis(
    whole: GraphParts, features: str, views: int, dim: int, prefix: str, average: bool
) -> str:
    """Turn [views * N, d] into the mean [N, d], or into [N, views, d]."""
    if views == 1 and average:
        return features
    shape = whole.constant(f"{prefix}.by_view.shape", np.array([views, -1, dim], np.int64))
    by_view = whole.node("Reshape", [features, shape], f"{prefix}.by_view")
    if not average:
        return whole.node("Transpose", [by_view], f"{prefix}.by_image", perm=[1, 0, 2])
    axis = whole.constant("view_axis", np.array([0], np.int64))
    return whole.node("ReduceMean", [by_view, axis], f"{prefix}.averaged", keepdims=0)


def _share_equal_initializers(whole: GraphParts) -> None:
    """Keep one of equal constants: a backbone at two resolutions has its weights once."""
    if any(a.type == AttributeProto.GRAPH for node in whole.nodes for a in node.attribute):
        return  # a subgraph reads constants by name from outside; leave them be
    kept: dict[bytes, str] = {}
    renamed: dict[str, str] = {}
    unique: list[TensorProto] = []
    for tensor in whole.initializers:
        nameless = TensorProto()
        nameless.CopyFrom(tensor)
        nameless.ClearField("name")
        first = kept.setdefault(nameless.SerializeToString(deterministic=True), tensor.name)
        renamed[tensor.name] = first
        if first == tensor.name:
            unique.append(tensor)
    for node in whole.nodes:
        node.input[:] = [renamed.get(name, name) for name in node.input]
    whole.initializers[:] = unique
