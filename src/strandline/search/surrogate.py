"""A Gaussian process that predicts how good a candidate is, and how sure it is of that.

Exact regression (Rasmussen & Williams 2006, algorithm 2.1) with one squared-exponential
kernel per block of the encoding, added up, so that the evidence decides which block tells
most. Hyperparameters maximise the marginal likelihood under weak priors. Values come as
normal scores of their ranks (Salinas et al. 2020, arXiv 1909.13595): how bad a bad
candidate is, and how the metric bends near its best, is then of no account.

Values of two fidelities may be mixed: those of a shortened training are then a second
output, correlated with the first by a factor that is learned with the rest (the intrinsic
coregionalization model; Bonilla et al. 2008).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize
from scipy.special import ndtri
from scipy.stats import rankdata

from strandline.search.encoding import Blocks, Floats

_JITTER = 1e-6
_ITERATIONS = 20


@dataclass(frozen=True, slots=True)
class Kernel:
    """The hyperparameters, all as logarithms but the last.

    Attributes:
        amplitudes: log standard deviation of each block's part.
        lengths: log length scale of each block, in mean distances of two candidates.
        noise: log standard deviation of the noise.
        low_noise: the same for values of the low fidelity.
        link: inverse hyperbolic tangent of the correlation of the two fidelities.
    """

    amplitudes: Floats
    lengths: Floats
    noise: float
    low_noise: float
    link: float

    @classmethod
    def prior(cls, blocks: int) -> Kernel:
        """Return the centre of the priors."""
        share = np.full(blocks, -0.5 * np.log(blocks))
        return cls(share, np.zeros(blocks), np.log(0.15), np.log(0.3), np.arctanh(0.8))

    def pack(self) -> Floats:
        """Return all as one vector, for the optimiser."""
        rest = [self.noise, self.low_noise, self.link]
        return np.concatenate([self.amplitudes, self.lengths, rest])

    @classmethod
    def unpack(cls, vector: Floats) -> Kernel:
        """Undo `pack`."""
        blocks = (len(vector) - 3) // 2
        noise, low_noise, link = (float(each) for each in vector[-3:])
        return cls(vector[:blocks], vector[blocks : 2 * blocks], noise, low_noise, link)


_SPREADS = {"amplitudes": 1.0, "lengths": 0.7, "noise": 1.0, "low_noise": 1.0, "link": 0.5}


def normal_scores(values: Floats) -> Floats:
    """Return the normal quantiles of the values' ranks; equal values share one."""
    return np.asarray(ndtri((rankdata(values) - 0.5) / len(values)))


def fit_kernel(blocks: Blocks, low: NDArray[np.bool_], scores: Floats) -> Kernel:
    """Return the hyperparameters of the highest posterior density.

    Args:
        blocks: [n, columns] each.
        low: [n], which values are of the low fidelity.
        scores: [n].
    """
    distances = [squared_distances(block, block) for block in blocks]
    prior = Kernel.prior(len(blocks)).pack()
    names = ["amplitudes"] * len(blocks) + ["lengths"] * len(blocks)
    spreads = np.array([_SPREADS[name] for name in [*names, "noise", "low_noise", "link"]])

    def objective(vector: Floats) -> tuple[float, Floats]:
        loss, gradient = _loss(vector, distances, low, scores)
        apart = (vector - prior) / spreads
        return loss + 0.5 * float(apart @ apart), gradient + apart / spreads

    bounds = [(centre - 4 * s, centre + 4 * s) for centre, s in zip(prior, spreads, strict=True)]
    found = minimize(
        objective, prior, jac=True, method="L-BFGS-B", bounds=bounds,
        options={"maxiter": _ITERATIONS},
    )  # fmt: skip
    return Kernel.unpack(found.x)


def _loss(
    vector: Floats, distances: Sequence[Floats], low: NDArray[np.bool_], scores: Floats
) -> tuple[float, Floats]:
    """Return the negative log marginal likelihood and its gradient."""
    kernel = Kernel.unpack(vector)
    parts = _parts(kernel, distances)
    mixed = low[:, None] != low[None, :]
    link = np.tanh(kernel.link)
    factor = np.where(mixed, link, 1.0)
    total = _sum(parts) * factor
    noise = _noise(kernel, low)
    covariance = total + np.diag(noise + _JITTER)
    try:
        lower = cholesky(covariance, lower=True)
    except np.linalg.LinAlgError:
        return 1e6, np.zeros_like(vector)
    weights = cho_solve((lower, True), scores)
    loss = 0.5 * float(scores @ weights) + float(np.log(np.diag(lower)).sum())
    inner = cho_solve((lower, True), np.eye(len(scores))) - np.outer(weights, weights)
    slopes = [float((inner * part * factor).sum()) for part in parts]
    scales = [
        0.5 * float((inner * part * factor * distance).sum()) * np.exp(-2 * length)
        for part, distance, length in zip(parts, distances, kernel.lengths, strict=True)
    ]
    diagonal = np.diag(inner) * noise
    bend = 0.5 * float((inner * _sum(parts) * mixed).sum()) * (1 - link**2)
    tail = [float(diagonal[~low].sum()), float(diagonal[low].sum()), bend]
    return loss, np.array([*slopes, *scales, *tail])


def _parts(kernel: Kernel, distances: Sequence[Floats]) -> list[Floats]:
    return [
        np.exp(2 * amplitude - 0.5 * distance * np.exp(-2 * length))
        for amplitude, length, distance in zip(
            kernel.amplitudes, kernel.lengths, distances, strict=True
        )
    ]


def _noise(kernel: Kernel, low: NDArray[np.bool_]) -> Floats:
    """Return the noise variance of each value, [n]."""
    variances = np.exp(2 * np.array([kernel.noise, kernel.low_noise]))
    return np.asarray(variances[low.astype(np.int64)])


def _sum(parts: Sequence[Floats]) -> Floats:
    return np.asarray(np.sum(parts, axis=0))


def squared_distances(one: Floats, other: Floats) -> Floats:
    """Return [n, m] squared Euclidean distances of the rows."""
    norms = (one**2).sum(1)[:, None] + (other**2).sum(1)[None, :]
    return np.asarray(np.maximum(norms - 2 * one @ other.T, 0.0))


class Surrogate:
    """The posterior, given the hyperparameters.

    Args:
        blocks: of the candidates observed, [n, columns] each.
        low: [n], which values are of the low fidelity.
        scores: [n].
    """

    def __init__(
        self, kernel: Kernel, blocks: Blocks, low: NDArray[np.bool_], scores: Floats
    ) -> None:
        self._kernel = kernel
        self._blocks = blocks
        self._low = low
        factor = np.where(low[:, None] != low[None, :], np.tanh(kernel.link), 1.0)
        own = _sum(_parts(kernel, [squared_distances(b, b) for b in blocks])) * factor
        self._noise = _noise(kernel, low)
        self._lower = cholesky(own + np.diag(self._noise + _JITTER), lower=True)
        self._weights = cho_solve((self._lower, True), scores)
        self._scores = scores

    def at_observed(self) -> Floats:
        """Return the posterior mean of every candidate observed, noise taken off; [n]."""
        return np.asarray(self._scores - self._noise * self._weights)

    def predict(self, blocks: Blocks) -> tuple[Floats, Floats]:
        """Return mean and standard deviation of the full fidelity's score; [m] each."""
        distances = [
            squared_distances(asked, known)
            for asked, known in zip(blocks, self._blocks, strict=True)
        ]
        factor = np.where(self._low, np.tanh(self._kernel.link), 1.0)
        cross = _sum(_parts(self._kernel, distances)) * factor[None, :]
        whitened = solve_triangular(self._lower, cross.T, lower=True)
        variance = float(np.exp(2 * self._kernel.amplitudes).sum()) - (whitened**2).sum(0)
        return cross @ self._weights, np.sqrt(np.maximum(variance, 1e-12))
