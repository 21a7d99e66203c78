"""Split a backbone at a stage, fine-tune what is behind the cut, and merge again.

The front stays as it is, so its feature maps are embeddings: computed once, cached, and
read in every epoch and trial. Only the tail is trained, in torch, and its weights go back
into a graph in which the front's nodes are untouched.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from strandline.spec.errors import InvalidSpecError
from strandline.zoo import efficientnet_lite
from strandline.zoo.backbones import Backbone, describe_backbone
from strandline.zoo.blocks import Network, output_size
from strandline.zoo.extractor import FeaturePart, assemble, part_digest
from strandline.zoo.graph_cache import cached_graph
from strandline.zoo.graphs import map_graph, network_graph

if TYPE_CHECKING:
    from onnx import ModelProto

    from strandline.zoo.tail import Tail


@dataclass(frozen=True, slots=True)
class Front:
    """The frozen first stages of a backbone.

    Attributes:
        part: backbone, resolution and views.
        cut: number of stages in front.
        graph: `images` -> `features` float32 [N, views, C * H * W], for `embed`.
        digest: the cache key of those feature maps.
        shape: (C, H, W) of one feature map.
    """

    part: FeaturePart
    cut: int
    graph: Path
    digest: str
    shape: tuple[int, int, int]

    @property
    def dim(self) -> int:
        """Number of values of one feature map."""
        channels, height, width = self.shape
        return channels * height * width


def count_stages(name: str, cache_dir: Path) -> int:
    """Return into how many stages the backbone can be cut: cuts are 1 to that minus 1.

    Raises:
        InvalidSpecError: it cannot be cut.
    """
    return len(_load(describe_backbone(name, cache_dir)).stages)


def front_graph(part: FeaturePart, cut: int, cache_dir: Path) -> Front:
    """Return the first `cut` stages, their graph being in the cache.

    Raises:
        InvalidSpecError: the backbone cannot be cut, or not there.
        MissingExtraError: its weights are not installed.
    """
    network = _load(describe_backbone(part.backbone, cache_dir))
    _check_cut(network, cut)
    digest = part_digest(part, cache_dir, cut)
    path = cached_graph(
        cache_dir,
        f"front-{digest.removeprefix('sha256:')[:32]}.onnx",
        lambda: assemble([part], [map_graph(network, cut, part.resolution)], average=False),
    )
    front = network.stages[:cut]
    size = output_size(front, part.resolution)
    return Front(part, cut, path, digest, (front[-1][-1].convs[-1].weight.shape[0], size, size))


def load_tail(front: Front, cache_dir: Path) -> Tail:
    """Return the stages behind the cut as a torch module: [N, C, H, W] -> [N, dim].

    Raises:
        as `front_graph`.
    """
    from strandline.zoo.tail import Tail

    network = _load(describe_backbone(front.part.backbone, cache_dir))
    return Tail(network.stages[front.cut :])


def merge_tail(front: Front, tail: Tail, cache_dir: Path) -> ModelProto:
    """Build `images` -> `features` [N, dim] of the frozen front and the fine-tuned tail.

    The mean over the part's views is taken, as in `build_extractor`.

    Raises:
        as `front_graph`.
    """
    return assemble([front.part], [merged_core(front, tail, cache_dir)])


def merged_core(front: Front, tail: Tail, cache_dir: Path) -> ModelProto:
    """Build `pixels` -> `features` of front and tail, for `extractor.assemble`."""
    network = _load(describe_backbone(front.part.backbone, cache_dir))
    stages = (*network.stages[: front.cut], tail.to_stage())
    return network_graph(Network(network.mean, stages))


def _load(backbone: Backbone) -> Network:
    if not backbone.can_finetune or backbone.weights is None:
        raise InvalidSpecError(
            f"{backbone.name} cannot be fine-tuned: choose one of "
            + ", ".join(efficientnet_lite.VARIANTS)
        )
    return efficientnet_lite.load_network(backbone.name, backbone.weights)


def _check_cut(network: Network, cut: int) -> None:
    last = len(network.stages) - 1
    if not 1 <= cut <= last:
        raise InvalidSpecError(f"cut {cut} is not within 1 and {last}, the backbone's stages")
