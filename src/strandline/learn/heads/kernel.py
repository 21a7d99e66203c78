"""Kernel ridge regression on ±1 targets with a Gaussian kernel.

The best head on frozen features of small sets that we know: it bends where the linear
one cannot, has a closed form, and knows its own leave-one-out predictions, from which
the factor that turns its outputs into logits is fitted. Beyond `_MOST_LANDMARKS` images
the kernel is approximated on that many of them, which bounds time, memory and the size
of the model.

Sources: Saunders et al., ICML 1998 (kernel ridge regression); Williams and Seeger,
NIPS 2000 (Nyström); Rifkin and Lippert, MIT-CSAIL-TR-2007-025 (leave-one-out in closed
form); Cawley and Talbot, Neural Networks 2004 (the same leaving out several rows).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from scipy.linalg import cholesky, solve_triangular

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
from strandline.search.space import Float
from strandline.spec.records import Task

if TYPE_CHECKING:
    from strandline.zoo.graphs import GraphParts

_Some = TypeVar("_Some", Floats, Doubles)

_MOST_LANDMARKS = 2000
_CHUNK_ROWS = 4096
_JITTER = 1e-9
_FLOAT, _DOUBLE = 1, 11  # onnx.TensorProto.FLOAT, .DOUBLE
# The factor needs no more images than this.
_MOST_LEFT_OUT = 20_000


@dataclass(frozen=True, slots=True, eq=False)
class KernelClassifier:
    """sum over landmarks of exp(-gamma · |x - landmark|²) · coefficients, plus bias.

    Attributes:
        landmarks: float32 [m, D].
        coefficients: float64 [m, labels].
        bias: float64 [labels].
        factor: what turned regressed values into logits, inside the two above.
    """

    landmarks: Floats
    coefficients: Doubles
    bias: Doubles
    gamma: float
    factor: float

    def logits(self, features: Floats) -> Floats:
        """Return float32 [n, labels]."""
        chunks = [
            _kernel(
                features[start : start + _CHUNK_ROWS].astype(np.float64), self.landmarks, self.gamma
            )
            @ self.coefficients
            + self.bias
            for start in range(0, len(features), _CHUNK_ROWS)
        ]
        return np.asarray(np.concatenate(chunks), np.float32)

    def raw_scores(self, logits: Floats, task: Task) -> Doubles:
        """Return what the regression itself estimates: P = (1 + value) / 2.

        Least squares on ±1 approach the conditional mean 2P - 1 (Duda and Hart 1973,
        section 5.8.3).
        """
        values = np.asarray(logits, np.float64) / self.factor
        shares = np.clip((1 + values) / 2, 1e-6, 1)
        if task is Task.MULTILABEL:
            return np.asarray(shares)
        return np.asarray(shares / shares.sum(axis=1, keepdims=True))

    def add_nodes(self, parts: GraphParts, source: str) -> str:
        """Add |x|² - 2 x·z + |z|², exp and a Gemm; return the name of its output.

        In double precision: large coefficients of both signs cancel, and so would
        whatever single precision leaves of close distances.
        """
        x = parts.node("Cast", [source], "head.x", to=_DOUBLE)
        landmarks = parts.constant("head.landmarks", self.landmarks)
        z = parts.node("Cast", [landmarks], "head.z", to=_DOUBLE)
        axis = parts.constant("head.axis", np.array([1], np.int64))
        own = parts.node("ReduceSumSquare", [x, axis], "head.own", keepdims=1)
        lengths = _squares(self.landmarks.astype(np.float64))[None]
        inputs = [x, z, parts.constant("head.lengths", lengths)]
        products = parts.node("Gemm", inputs, "head.products", alpha=-2.0, transB=1)
        raw = parts.node("Add", [products, own], "head.raw_distance")
        distance = parts.node("Relu", [raw], "head.distance")
        minus = parts.constant("head.minus_gamma", np.array(-self.gamma, np.float64))
        exponent = parts.node("Mul", [distance, minus], "head.exponent")
        kernel = parts.node("Exp", [exponent], "head.kernel")
        coefficients = parts.constant("head.coefficients", self.coefficients)
        bias = parts.constant("head.bias", self.bias)
        logits = parts.node("Gemm", [kernel, coefficients, bias], "head.double_logits")
        return parts.node("Cast", [logits], "head.logits", to=_FLOAT)


def fit(training: TrainingSet, params: Params, seed: int) -> Classifier:
    """Fit in closed form.

    `gamma` is in units of 1 / median squared distance, `ridge` in units of one image.
    """
    rng = np.random.default_rng(seed)
    landmarks = _choose_landmarks(training, rng)
    gamma = number(params, "gamma") / _median_distance(landmarks, rng)
    solution = _solve(training, landmarks, gamma, number(params, "ridge"))
    left_out, truth = solution.leave_images_out(training)
    factor = fit_temperature(left_out, truth, training.task)
    return KernelClassifier(
        landmarks,
        solution.coefficients * factor,
        solution.bias * factor,
        gamma,
        factor,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Solution:
    """Ridge regression on features φ(x) = L⁻¹ k(landmarks, x), L Lᵀ the landmarks' kernel.

    Attributes:
        whitener: L, [m, m].
        factor: Cholesky factor of φᵀWφ + ridge, [m, m].
        weight: [m, labels] on φ.
        bias: [labels], the weighted mean of the targets.
        first_chunk: φ of the first rows, often of all, kept for the next pass.
    """

    landmarks: Floats
    gamma: float
    whitener: Doubles
    factor: Doubles
    weight: Doubles
    bias: Doubles
    first_chunk: Doubles

    @property
    def coefficients(self) -> Doubles:
        """Weights on the kernel itself, [m, labels]."""
        return np.asarray(solve_triangular(self.whitener, self.weight, lower=True, trans=1))

    def features(self, features: Floats) -> Doubles:
        """Return φ, [n, m]."""
        kernel = _kernel(features.astype(np.float64), self.landmarks, self.gamma)
        return np.asarray(solve_triangular(self.whitener, kernel.T, lower=True).T)

    def leave_images_out(self, training: TrainingSet) -> tuple[Doubles, Doubles]:
        """Return each image's output when it (all its views) is left out, and its truth.

        Both are [images, labels]; views are averaged.
        """
        views, outputs, truths = training.views, [], []
        most = min(len(training.features), _MOST_LEFT_OUT * views)
        for start, stop in _chunks(most, views):
            phi = self.first_chunk if start == 0 else self.features(training.features[start:stop])
            truth = training.indicators()[start:stop]
            half = solve_triangular(self.factor, phi.T, lower=True).T
            half = half.reshape(-1, views, half.shape[1])
            leverage = half @ half.transpose(0, 2, 1)
            leverage = leverage * training.weights[start:stop].reshape(-1, 1, views)
            residual = (2 * truth - 1 - self.bias) - phi @ self.weight
            residual = residual.reshape(-1, views, residual.shape[1])
            keep = np.eye(views) * (1 + 1e-9) - leverage
            left = (2 * truth - 1).reshape(residual.shape) - np.linalg.solve(keep, residual)
            outputs.append(left.mean(axis=1))
            truths.append(truth.reshape(residual.shape)[:, 0])
        return np.concatenate(outputs), np.concatenate(truths)


def _solve(training: TrainingSet, landmarks: Floats, gamma: float, ridge: float) -> _Solution:
    among = _kernel(landmarks.astype(np.float64), landmarks, gamma)
    among[np.diag_indices(len(among))] += _JITTER * max(1, len(among))
    whitener = cholesky(among, lower=True)
    bias = training.weights @ (2 * training.indicators() - 1) / training.weights.sum()
    size = len(landmarks)
    empty = np.zeros((size, training.labels))
    partial = _Solution(landmarks, gamma, whitener, empty, empty, bias, empty)
    gram = np.eye(size) * (ridge * training.views)
    right = np.zeros((size, training.labels))
    first = empty
    for start, stop in _chunks(len(training.features), training.views):
        phi = partial.features(training.features[start:stop])
        first = phi if start == 0 else first
        weighted = phi * training.weights[start:stop, None]
        gram += weighted.T @ phi
        right += weighted.T @ (2 * training.indicators()[start:stop] - 1 - bias)
    factor = cholesky(gram, lower=True)
    inner = solve_triangular(factor, right, lower=True)
    weight = solve_triangular(factor, inner, lower=True, trans=1)
    return _Solution(landmarks, gamma, whitener, factor, weight, bias, first)


def _choose_landmarks(training: TrainingSet, rng: np.random.Generator) -> Floats:
    """Return at most `_MOST_LANDMARKS` training rows, views of an image averaged."""
    rows = training.features
    means = rows.reshape(-1, training.views, rows.shape[1])
    if len(means) > _MOST_LANDMARKS:
        means = means[np.sort(rng.permutation(len(means))[:_MOST_LANDMARKS])]
    return np.ascontiguousarray(means.mean(axis=1), np.float32)


def _median_distance(landmarks: Floats, rng: np.random.Generator) -> float:
    some = landmarks[rng.permutation(len(landmarks))[:500]]
    distances = _distances(some, landmarks)
    apart = distances[distances > 1e-7]
    return float(np.median(apart)) if apart.size else 1.0


def _kernel(left: _Some, right: Floats, gamma: float) -> _Some:
    """Return the kernel, [n, m], in the precision of `left`."""
    kernel: _Some = np.exp(_distances(left, right) * left.dtype.type(-gamma))
    return kernel


def _distances(left: _Some, right: Floats) -> _Some:
    """Return squared distances, [n, m], in the precision of `left`."""
    other = right.astype(left.dtype)
    raw = _squares(left)[:, None] - 2 * (left @ other.T) + _squares(other)[None]
    return np.maximum(raw, 0)


def _squares(rows: _Some) -> _Some:
    squares: _Some = np.square(rows).sum(axis=1)
    return squares


def _chunks(rows: int, views: int) -> Iterator[tuple[int, int]]:
    """Cut rows into ranges of bounded size that keep the views of an image together."""
    step = max(1, _CHUNK_ROWS // views) * views
    for start in range(0, rows, step):
        yield start, min(rows, start + step)


HEAD = Head(
    "kernel",
    fit,
    (Float("gamma", 0.1, 4.0, log=True), Float("ridge", 1e-3, 1.0, log=True)),
    {"gamma": 1.0, "ridge": 0.03},
)
