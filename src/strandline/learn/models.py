"""A fitted candidate of either sort: a head on frozen features, or a fine-tuned network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from strandline.learn.features import FeatureLoader, Rows
from strandline.learn.heads.contract import Floats
from strandline.learn.heads.registry import FittedHead, fit_head
from strandline.learn.recipe import FINETUNE, Recipe
from strandline.learn.transfer_data import TransferData
from strandline.zoo.extractor import FeaturePart

if TYPE_CHECKING:
    from onnx import ModelProto


class FittedModel(Protocol):
    """What a candidate becomes when it is fitted."""

    @property
    def head(self) -> FittedHead:
        """The last part, from features to logits."""

    def score(self, loader: FeatureLoader, images: Sequence[str], rows: Rows) -> Floats:
        """Return logits of some of the images, float32 [m, labels]."""

    def feature_graph(self, loader: FeatureLoader) -> ModelProto:
        """Return `images` -> `features`, what stands before the head."""


@dataclass(frozen=True, slots=True, eq=False)
class FrozenModel:
    """A head on the features of frozen backbones."""

    parts: tuple[FeaturePart, ...]
    head: FittedHead

    def score(self, loader: FeatureLoader, images: Sequence[str], rows: Rows) -> Floats:
        """Return logits of some of the images, float32 [m, labels]."""
        return self.head.logits(loader.load_means(images, self.parts, rows))

    def feature_graph(self, loader: FeatureLoader) -> ModelProto:
        """Return the extractor of the parts."""
        from strandline.zoo.extractor import build_extractor

        return build_extractor(self.parts, loader.cache_dir)


def fit_model(data: TransferData, recipe: Recipe, rows: Rows) -> FittedModel:
    """Fit what the recipe says on some of the images of `data`.

    Raises:
        UnusableDataError: there are none.
        InvalidSpecError: the recipe asks for what a backbone cannot do.
    """
    if recipe.choice.head == FINETUNE:
        from strandline.learn.finetune import fit_tuned

        return fit_tuned(data, recipe, rows)
    loader = data.loader
    if recipe.each_view:
        features = loader.load_views(data.images, recipe.parts, rows)
    else:
        features = loader.load_means(data.images, recipe.parts, rows)[:, None]
    head = fit_head(
        recipe.choice,
        features,
        loader.widths(recipe.parts),
        data.targets[rows],
        data.task,
        len(data.labels),
        data.seed,
    )
    return FrozenModel(recipe.parts, head)
