"""A small network with one hidden layer, for sets large enough to feed it.

It starts from nothing but the seed, holds out a tenth of the images to know when to stop,
and keeps the weights of its best epoch.

Sources: Loshchilov and Hutter, ICLR 2019 (AdamW); Prechelt 1998 (early stopping).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from strandline.learn.calibrate import scores_of
from strandline.learn.heads.contract import (
    Classifier,
    Doubles,
    Floats,
    Head,
    Params,
    TrainingSet,
    number,
)
from strandline.learn.heads.temperature import fit_temperature
from strandline.search.space import Float, Int
from strandline.spec.records import Task

if TYPE_CHECKING:
    import torch

    from strandline.zoo.graphs import GraphParts

_MOST_EPOCHS = 100
_FEWEST_BATCHES = 400  # in all: a set of one batch needs more epochs than that
_PATIENCE = 0.1  # of the epochs
_HELD_OUT = 0.1
_BATCH_ROWS = 128
# About so many multiply-adds a fit: fewer epochs for larger sets.
_MOST_OPERATIONS = 3e12


@dataclass(frozen=True, slots=True, eq=False)
class MlpClassifier:
    """relu(x · inner + inner_bias) · outer + outer_bias.

    Attributes:
        inner: float32 [D, width]; inner_bias [width].
        outer: float32 [width, labels]; outer_bias [labels].
        factor: what both were multiplied by after a look at held-out images.
    """

    inner: Floats
    inner_bias: Floats
    outer: Floats
    outer_bias: Floats
    factor: float = 1.0

    def logits(self, features: Floats) -> Floats:
        """Return float32 [n, labels]."""
        hidden = np.maximum(features @ self.inner + self.inner_bias, 0)
        return np.asarray(hidden @ self.outer + self.outer_bias, np.float32)

    def raw_scores(self, logits: Floats, task: Task) -> Doubles:
        """Return the scores before the factor."""
        return scores_of(np.asarray(logits, np.float64) / self.factor, task)

    def add_nodes(self, parts: GraphParts, source: str) -> str:
        """Add Gemm, Relu, Gemm; return the name of the output."""
        inner = parts.constant("head.inner", self.inner)
        inner_bias = parts.constant("head.inner_bias", self.inner_bias)
        outer = parts.constant("head.outer", self.outer)
        outer_bias = parts.constant("head.outer_bias", self.outer_bias)
        hidden = parts.node("Gemm", [source, inner, inner_bias], "head.hidden")
        active = parts.node("Relu", [hidden], "head.active")
        return parts.node("Gemm", [active, outer, outer_bias], "head.logits")


def fit(training: TrainingSet, params: Params, seed: int) -> Classifier:
    """Fit with AdamW; the same seed gives the same weights."""
    import torch

    threads = torch.get_num_threads()
    # Its products are too small to share: threads would mostly wait for each other.
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            run = _Run(training, params, seed)
            run.train()
            return run.best_classifier()
    finally:
        torch.set_num_threads(threads)


class _Run:
    """One training: the network, its data as tensors, and the best epoch so far."""

    def __init__(self, training: TrainingSet, params: Params, seed: int) -> None:
        import torch

        self._task = training.task
        self._rng = np.random.default_rng(seed)
        self._train_rows, held_out = self._hold_out(training)
        self._probe = training.take(held_out)
        dim, width = training.features.shape[1], int(number(params, "width"))
        # Features arrive with length 1; near 1 each suits a network's starting weights.
        self._gain = float(np.sqrt(dim))
        self._features = torch.from_numpy(np.ascontiguousarray(training.features))
        self._targets = torch.from_numpy(np.asarray(training.targets))
        self._weights = torch.from_numpy(training.weights.astype(np.float32))
        self._layers = (torch.nn.Linear(dim, width), torch.nn.Linear(width, training.labels))
        dropout = torch.nn.Dropout(number(params, "dropout"))
        self._net = torch.nn.Sequential(self._layers[0], torch.nn.ReLU(), dropout, self._layers[1])
        self._rate = number(params, "learning_rate")
        self._optimizer = torch.optim.AdamW(
            self._net.parameters(), lr=self._rate, weight_decay=number(params, "weight_decay")
        )
        self._epochs = _epochs(len(self._train_rows), width * (dim + training.labels))
        self._best: MlpClassifier | None = None

    def train(self) -> None:
        """Run epochs until the held-out loss has not fallen for a while."""
        best_loss, since = float("inf"), 0
        for epoch in range(self._epochs):
            for group in self._optimizer.param_groups:
                group["lr"] = self._rate * 0.5 * (1 + np.cos(np.pi * epoch / self._epochs))
            self._run_epoch()
            # With nothing held out the last epoch is taken for the best.
            loss = self._probe_loss() if len(self._probe.targets) else -epoch
            since += 1
            if loss < best_loss:
                best_loss, since = loss, 0
                self._best = self._snapshot()
            if since >= max(5, _PATIENCE * self._epochs):
                return

    def best_classifier(self) -> Classifier:
        """Return the best epoch's weights, its logits scaled to the held-out images."""
        best = self._best or self._snapshot()
        if not len(self._probe.targets):
            return best
        logits = best.logits(self._probe.features)
        factor = fit_temperature(logits, self._probe.indicators(), self._task)
        outer, outer_bias = best.outer * np.float32(factor), best.outer_bias * np.float32(factor)
        return MlpClassifier(best.inner, best.inner_bias, outer, outer_bias, factor)

    def _hold_out(self, training: TrainingSet) -> tuple[Any, Any]:
        """Return training rows and held-out rows; views of an image stay together."""
        images = len(training.targets) // training.views
        chosen = self._rng.permutation(images) < int(np.ceil(images * _HELD_OUT))
        if images < 10:
            chosen[:] = False
        rows = np.repeat(chosen, training.views)
        return np.flatnonzero(~rows), np.flatnonzero(rows)

    def _run_epoch(self) -> None:
        import torch

        self._net.train()
        order = self._rng.permutation(self._train_rows)
        for start in range(0, len(order), _BATCH_ROWS):
            rows = torch.from_numpy(order[start : start + _BATCH_ROWS])
            self._optimizer.zero_grad()
            logits = self._net(self._features[rows] * self._gain)
            losses = self._losses(logits, self._targets[rows])
            torch.autograd.backward((losses * self._weights[rows]).mean())
            self._optimizer.step()

    def _losses(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        from torch.nn import functional

        if self._task is Task.MULTILABEL:
            each = functional.binary_cross_entropy_with_logits(
                logits, targets.float(), reduction="none"
            )
            return each.mean(dim=1)
        return functional.cross_entropy(logits, targets, reduction="none")

    def _probe_loss(self) -> float:
        import torch

        logits = torch.from_numpy(self._snapshot().logits(self._probe.features))
        targets = torch.from_numpy(np.asarray(self._probe.targets))
        return float(self._losses(logits, targets).mean())

    def _snapshot(self) -> MlpClassifier:
        first, last = self._layers
        arrays = [
            tensor.detach().numpy().copy()
            for tensor in (first.weight.T, first.bias, last.weight.T, last.bias)
        ]
        inner = np.ascontiguousarray(arrays[0]) * np.float32(self._gain)
        return MlpClassifier(inner, arrays[1], np.ascontiguousarray(arrays[2]), arrays[3])


def _epochs(rows: int, weights: int) -> int:
    batches = -(-rows // _BATCH_ROWS)
    most = max(_MOST_EPOCHS, _FEWEST_BATCHES // batches)
    return int(np.clip(_MOST_OPERATIONS / (6 * rows * weights), 5, most))


HEAD = Head(
    "mlp",
    fit,
    (
        Int("width", 64, 1024, log=True),
        Float("dropout", 0.0, 0.7),
        Float("learning_rate", 1e-4, 1e-2, log=True),
        Float("weight_decay", 1e-4, 1.0, log=True),
    ),
    {"width": 256, "dropout": 0.3, "learning_rate": 1e-3, "weight_decay": 0.01},
)
