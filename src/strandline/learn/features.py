"""Training matrices: embeddings of a fixed list of images, shared by all trials on a node.

The cache of embeddings is keyed by image; a trial wants rows in its data's order, again
and again. So they are laid out once in a file, which every trial and worker then maps
into memory: the pages are shared, and none is read that is not used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from strandline.data.embeddings import embed
from strandline.durable import replacing
from strandline.learn.heads.contract import Floats
from strandline.ports import ObjectStore
from strandline.spec.records import canonical_json, digest_of
from strandline.zoo.backbones import describe_backbone
from strandline.zoo.extractor import FeaturePart, embedding_graphs
from strandline.zoo.stages import Front

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class FeatureLoader:
    """Gives the features of a list of images, computing what is not there.

    Attributes:
        open_store: returns the store that holds the images; must pickle.
        cache_dir: recomputable things.
        progress: called with (images done, images in all) while features are computed.
    """

    open_store: Callable[[], ObjectStore]
    cache_dir: Path
    progress: Callable[[int, int], None] | None = None

    def load_means(
        self, images: Sequence[str], parts: Sequence[FeaturePart], rows: Rows | None = None
    ) -> Floats:
        """Return float32 [n, D]: each part's mean over its views, side by side.

        Args:
            rows: which of `images` to return; all of them are computed if need be.

        Raises:
            NotFoundError, UnusableDataError: an image is missing or cannot be decoded.
        """
        columns = [_take(self._features(images, part, mean=True), rows) for part in parts]
        return columns[0] if len(columns) == 1 else np.concatenate(columns, axis=1)

    def load_views(
        self, images: Sequence[str], parts: Sequence[FeaturePart], rows: Rows | None = None
    ) -> Floats:
        """Return float32 [n, views, D]; all parts have the same number of views.

        Raises:
            as `load_means`.
        """
        columns = [_take(self._features(images, part, mean=False), rows) for part in parts]
        return columns[0] if len(columns) == 1 else np.concatenate(columns, axis=2)

    def widths(self, parts: Sequence[FeaturePart]) -> list[int]:
        """Return the number of features of each part."""
        return [describe_backbone(part.backbone, self.cache_dir).dim for part in parts]

    def load_maps(self, images: Sequence[str], front: Front) -> Floats:
        """Return the feature maps at a cut, float32 [n, views, C * H * W], not yet read.

        Raises:
            as `load_means`.
        """
        made = _Source(front.graph, front.digest, front.dim, front.part.views)
        return self._laid_out(images, [made], mean=False)

    def _features(self, images: Sequence[str], part: FeaturePart, mean: bool) -> Floats:
        (dim,) = self.widths([part])
        graphs = embedding_graphs(part, self.cache_dir)
        made = [_Source(graph.path, graph.digest, dim, graph.views) for graph in graphs]
        return self._laid_out(images, made, mean)

    def _laid_out(self, images: Sequence[str], sources: Sequence[_Source], mean: bool) -> Floats:
        """Return the views of all sources side by side, or the mean over them."""
        content = {
            "images": digest_of("\n".join(images).encode()),
            "mean": mean,
            "sources": [source.digest for source in sources],
        }
        key = digest_of(canonical_json(content)).removeprefix("sha256:")
        path = self.cache_dir / "matrices" / f"{key[:32]}.npy"
        if not path.exists():
            pieces = [self._embed(images, source) for source in sources]
            features = pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=1)
            _write(path, np.asarray(features.mean(axis=1)) if mean else features)
        matrix: Floats = np.load(path, mmap_mode="r", allow_pickle=False)
        return matrix

    def _embed(self, images: Sequence[str], source: _Source) -> Floats:
        return embed(
            self.open_store(),
            images,
            source.graph,
            source.digest,
            source.dim,
            self.cache_dir,
            source.views,
            self.progress,
        )


@dataclass(frozen=True, slots=True)
class _Source:
    """What embeddings come from, see `data.embeddings.embed`."""

    graph: Path
    digest: str
    dim: int
    views: int


def _take(matrix: Floats, rows: Rows | None) -> Floats:
    return matrix if rows is None else np.asarray(matrix[rows])


def _write(path: Path, matrix: Floats) -> None:
    """Write the file whole or not at all; two writers write the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as stream:
        np.save(stream, matrix, allow_pickle=False)
