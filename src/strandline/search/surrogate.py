"""A Gaussian process that predicts how good a candidate is, and how sure it is of that.

Exact regression (Rasmussen & Williams 2006, algorithm 2.1) with one squared-exponential
kernel per block of the encoding, added up, so that the evidence decides which block tells
most. Hyperparameters maximise the marginal likelihood under weak priors. Values come as
normal scores of their ranks (Salinas et al. 2020, arXiv 1909.13595): how bad a bad
candidate is, and how the metric bends near its best, is then of no account.

Values of two fidelities may be mixed: those of a shortened training are then a second
output, with a scale of its own and correlated with the first by a factor, both learned with the
rest (the intrinsic coregionalization model; Bonilla et al. 2008). Full trainings are mostly of
candidates that looked good before, so their mean is unknown: it has a wide prior (Rasmussen &
Williams 2006, section 2.7), and the shortened trainings of the others tell where it is.
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
# Variance of the full trainings' mean where there are short ones to tell it.
_MEAN_VARIANCE = 4.0
_ITERATIONS = 20


@dataclass(frozen=True, slots=True)
class Kernel:
    """The hyperparameters, all as logarithms but the last.

    Attributes:
        amplitudes: log standard deviation of each block's part.
        lengths: log length scale of each block, in mean distances of two candidates.
        noise: log standard deviation of the noise.
        low_noise: the same for values of the low fidelity.
        low_scale: log of the low fidelity's standard deviation in the full one's.
        link: inverse hyperbolic tangent of the correlation of the two fidelities.
    """

    amplitudes: Floats
    lengths: Floats
    noise: float
    low_noise: float
    low_scale: float
    link: float

    @classmethod
    def prior(cls, blocks: int) -> Kernel:
        """Return the centre of the priors."""
        share = np.full(blocks, -0.5 * np.log(blocks))
        return cls(share, np.zeros(blocks), np.log(0.15), np.log(0.3), 0.0, np.arctanh(0.8))

    def pack(self) -> Floats:
        """Return all as one vector, for the optimiser."""
        rest = [self.noise, self.low_noise, self.low_scale, self.link]
        return np.concatenate([self.amplitudes, self.lengths, rest])

    @classmethod
    def unpack(cls, vector: Floats) -> Kernel:
        """Undo `pack`."""
        blocks = (len(vector) - 4) // 2
        rest = (float(each) for each in vector[-4:])
        return cls(vector[:blocks], vector[blocks : 2 * blocks], *rest)


_SPREADS = {"amplitudes": 1.0, "lengths": 0.7}
_TAIL_SPREADS = {"noise": 1.0, "low_noise": 1.0, "low_scale": 0.5, "link": 0.5}


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
    spreads = np.array([*(_SPREADS[name] for name in names), *_TAIL_SPREADS.values()])

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
    factor = _factor(kernel, low, low)
    total = _sum(parts) * factor
    noise = _noise(kernel, low)
    covariance = total + _mean_part(low) + np.diag(noise + _JITTER)
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
    pull = inner * total
    widen = float(pull[low].sum())  # of two low values twice, once for each
    across = (inner * _sum(parts))[low][:, ~low] * np.exp(kernel.low_scale)
    bend = float(across.sum()) * (1 - np.tanh(kernel.link) ** 2)
    tail = [float(diagonal[~low].sum()), float(diagonal[low].sum()), widen, bend]
    return loss, np.array([*slopes, *scales, *tail])


def _factor(kernel: Kernel, one: NDArray[np.bool_], other: NDArray[np.bool_]) -> Floats:
    """Return [n, m], what the covariance of two full values is multiplied by for such ones."""
    scale = float(np.exp(kernel.low_scale))
    scales = np.where(one, scale, 1.0)[:, None] * np.where(other, scale, 1.0)[None, :]
    links = np.where(one[:, None] != other[None, :], np.tanh(kernel.link), 1.0)
    return np.asarray(links * scales)


def _mean_part(low: NDArray[np.bool_]) -> Floats:
    """Return [n, n], the covariance of full values by their unknown mean.

    Scores of full trainings alone are centred already.
    """
    return np.asarray(_mean_variance(low) * (~low[:, None] & ~low[None, :]), np.float64)


def _mean_variance(low: NDArray[np.bool_]) -> float:
    return _MEAN_VARIANCE if low.any() else 0.0


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
        distances = [squared_distances(block, block) for block in blocks]
        own = _sum(_parts(kernel, distances)) * _factor(kernel, low, low) + _mean_part(low)
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
        full = np.zeros(1, bool)
        own, unknown_mean = _sum(_parts(self._kernel, distances)), _mean_variance(self._low)
        cross = own * _factor(self._kernel, full, self._low) + unknown_mean * ~self._low
        whitened = solve_triangular(self._lower, cross.T, lower=True)
        prior = float(np.exp(2 * self._kernel.amplitudes).sum()) + unknown_mean
        variance = prior - (whitened**2).sum(0)
        return cross @ self._weights, np.sqrt(np.maximum(variance, 1e-12))
