"""Fine-tuning of a backbone's last stages, behind feature maps that are computed once.

First a linear probe on the frozen features, then probe and stages together at a small
rate: starting from a random head, the first steps would spoil the features for images
unlike the training ones. Every epoch shows each image in one of its views, at random.

Source: Kumar et al., ICLR 2022 (arXiv 2202.10054), LP-FT.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from strandline.learn.features import FeatureLoader, Rows
from strandline.learn.heads.contract import Floats, Params, number
from strandline.learn.heads.linear import LinearClassifier
from strandline.learn.heads.registry import FittedHead, HeadChoice, fit_head, image_weights
from strandline.learn.heads.scaling import fit_scaling
from strandline.learn.recipe import Recipe
from strandline.learn.transfer_data import TransferData
from strandline.search.space import Float, Int
from strandline.spec.errors import UnusableDataError
from strandline.spec.records import Task
from strandline.zoo.stages import Front, count_stages, front_graph, load_tail, merge_tail

if TYPE_CHECKING:
    import torch
    from onnx import ModelProto

    from strandline.zoo.tail import Tail

NAME = "finetune"
PARAMETERS = (
    Int("stages", 1, 3),
    Int("epochs", 2, 30, log=True),
    Float("learning_rate", 1e-5, 1e-3, log=True),
    Float("weight_decay", 1e-4, 0.1, log=True),
)
DEFAULTS: Params = {"stages": 2, "epochs": 8, "learning_rate": 1e-4, "weight_decay": 0.01}
_BATCH_IMAGES = 32
_SCORED_IMAGES = 64
_LABEL_SMOOTHING = 0.1
_LONGEST_GRADIENT = 1.0
_PROBE_STRENGTH = 30.0
_PROBE_IMAGES = 8


@dataclass(frozen=True, slots=True, eq=False)
class TunedModel:
    """Frozen front, fine-tuned tail, linear head.

    Attributes:
        tail: feature maps -> features.
        head: features -> logits; linear, so the mean over views may come before it.
    """

    front: Front
    tail: Tail
    head: FittedHead

    def score(self, loader: FeatureLoader, images: Sequence[str], rows: Rows) -> Floats:
        """Return logits of some of the images, float32 [m, labels]."""
        maps = loader.load_maps(images, self.front)
        return self.head.logits(_tail_features(self.tail, self.front, maps, rows))

    def feature_graph(self, loader: FeatureLoader) -> ModelProto:
        """Return `images` -> `features` of front and tail."""
        return merge_tail(self.front, self.tail, loader.cache_dir)


def fit_tuned(data: TransferData, recipe: Recipe, rows: Rows) -> TunedModel:
    """Fine-tune on some of the images.

    Raises:
        UnusableDataError: there are none.
        InvalidSpecError: the backbone cannot be cut.
    """
    if not len(rows):
        raise UnusableDataError("there is no labeled training image: label some")
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(data.seed)
        return _Tuning(data, recipe, rows).run()


def find_front(recipe: Recipe, loader: FeatureLoader) -> Front:
    """Return the stages that stay as they are.

    Raises:
        InvalidSpecError: the backbone cannot be cut.
    """
    (part,) = recipe.parts
    stages = count_stages(part.backbone, loader.cache_dir)
    # The last stage is the final 1x1 convolution: it is tuned together with the next.
    cut = max(1, stages - 1 - int(number(recipe.choice.params, "stages")))
    return front_graph(part, cut, loader.cache_dir)


def training_seconds(front: Front, loader: FeatureLoader) -> float:
    """Measure the seconds that one image takes in one epoch on this machine."""
    import time

    import torch

    tail = load_tail(front, loader.cache_dir).to(_device())
    maps = torch.zeros(_PROBE_IMAGES, *front.shape, device=_device())
    torch.autograd.backward(tail(maps).sum())  # the first run is slower than all others
    started = time.perf_counter()
    torch.autograd.backward(tail(maps).sum())
    return (time.perf_counter() - started) / _PROBE_IMAGES


class _Tuning:
    """One fine-tuning: probe, then probe and tail together."""

    def __init__(self, data: TransferData, recipe: Recipe, rows: Rows) -> None:
        import torch

        self._data, self._rows = data, rows
        self._params = recipe.choice.params
        self._front = find_front(recipe, data.loader)
        self._maps = data.loader.load_maps(data.images, self._front)
        self._tail = load_tail(self._front, data.cache_dir).to(_device())
        self._targets = torch.from_numpy(np.asarray(data.targets[rows])).to(_device())
        weights = image_weights(
            data.targets[rows], data.task, len(data.labels), recipe.choice.class_weight
        )
        self._weights = torch.from_numpy(weights.astype(np.float32)).to(_device())
        self._rng = np.random.default_rng(data.seed)

    def run(self) -> TunedModel:
        """Return the tuned model."""
        import torch

        linear = self._probe()
        parameters = [*self._tail.parameters(), *linear.parameters()]
        rate = number(self._params, "learning_rate")
        optimizer = torch.optim.AdamW(
            parameters, lr=rate, weight_decay=number(self._params, "weight_decay")
        )
        epochs = int(number(self._params, "epochs"))
        batches = epochs * -(-len(self._rows) // _BATCH_IMAGES)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=batches + 1)
        for _ in range(epochs):
            order = self._rng.permutation(len(self._rows))
            for start in range(0, len(order), _BATCH_IMAGES):
                optimizer.zero_grad()
                torch.autograd.backward(self._loss(linear, order[start : start + _BATCH_IMAGES]))
                torch.nn.utils.clip_grad_norm_(parameters, _LONGEST_GRADIENT)
                optimizer.step()
                schedule.step()
        weight, bias = (_array(tensor) for tensor in (linear.weight.T, linear.bias))
        return TunedModel(self._front, self._tail.to("cpu"), _raw_head(weight, bias))

    def _probe(self) -> torch.nn.Linear:
        """Return the linear head fitted on the features as they are."""
        import torch

        features = _tail_features(self._tail, self._front, self._maps, self._rows)
        data, choice = self._data, HeadChoice("logistic", "standard", "none", _PROBE_PARAMS)
        fitted = fit_head(
            choice,
            features[:, None],
            (features.shape[1],),
            data.targets[self._rows],
            data.task,
            len(data.labels),
            data.seed,
        )
        assert isinstance(fitted.classifier, LinearClassifier)
        weight = fitted.scaling.factor[:, None] * fitted.classifier.weight
        bias = fitted.classifier.bias - fitted.scaling.shift @ weight
        linear = torch.nn.Linear(*weight.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(np.ascontiguousarray(weight.T)))
            linear.bias.copy_(torch.from_numpy(bias))
        return linear.to(_device())

    def _loss(self, linear: torch.nn.Linear, batch: Rows) -> torch.Tensor:
        import torch
        from torch.nn import functional

        views = self._rng.integers(0, self._maps.shape[1], len(batch))
        maps = self._maps[self._rows[batch], views].reshape(-1, *self._front.shape)
        logits = linear(self._tail(torch.from_numpy(np.ascontiguousarray(maps)).to(_device())))
        chosen = torch.from_numpy(batch).to(_device())
        targets = self._targets[chosen]
        if self._data.task is Task.MULTILABEL:
            losses = functional.binary_cross_entropy_with_logits(
                logits, targets.float(), reduction="none"
            ).mean(dim=1)
        else:
            losses = functional.cross_entropy(
                logits, targets, reduction="none", label_smoothing=_LABEL_SMOOTHING
            )
        return (losses * self._weights[chosen]).mean()


_PROBE_PARAMS: Params = {"C": _PROBE_STRENGTH}


def _tail_features(tail: Tail, front: Front, maps: Floats, rows: Rows) -> Floats:
    """Return the mean features over the views, float32 [m, dim]."""
    import torch

    found = []
    with torch.no_grad():
        for start in range(0, len(rows), _SCORED_IMAGES):
            some = np.asarray(maps[rows[start : start + _SCORED_IMAGES]])
            pixels = torch.from_numpy(some.reshape(-1, *front.shape))
            device = next(tail.parameters()).device
            features = tail(pixels.to(device)).reshape(len(some), maps.shape[1], -1)
            found.append(_array(features.mean(dim=1)))
    return np.concatenate(found)


def _raw_head(weight: Floats, bias: Floats) -> FittedHead:
    """Return a linear head on features as they are."""
    dim = len(weight)
    scaling = fit_scaling("standard", np.zeros((1, dim), np.float32), (dim,))
    plain = type(scaling)("standard", (dim,), np.zeros(dim, np.float32), np.ones(dim, np.float32))
    return FittedHead(plain, LinearClassifier(np.ascontiguousarray(weight), bias), len(bias))


def _array(tensor: torch.Tensor) -> Floats:
    array: Any = tensor.detach().to("cpu").numpy()
    return np.ascontiguousarray(array, np.float32)


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
