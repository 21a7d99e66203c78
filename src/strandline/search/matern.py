"""A Gaussian process with a length of its own for every parameter.

Matern kernel of smoothness 5/2 over the product of all parameters (Rasmussen & Williams 2006,
section 4.2.1 and algorithm 2.1); hyperparameters at the maximum of their posterior density.
The priors are those of Hvarfner et al. 2024 (arXiv 2402.02229): the more parameters there
are, the longer the lengths, so that many of them do no harm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

from strandline.search.encoding import Floats
from strandline.search.surrogate import squared_distances

_JITTER = 1e-6
_ITERATIONS = 30
# Mean and standard deviation of the logs: of lengths (and half a log of how many there are),
# of the deviation of the function, of the variance of the noise.
_LENGTH, _AMPLITUDE, _NOISE = (2**0.5, 3**0.5), (0.0, 0.5), (-4.0, 1.0)
_BOUND = 3.0
# A function without noise must be known to be one, or its best place is visited for ever.
_LEAST_NOISE = np.log(1e-6)
_SHORT = np.log(0.5)


@dataclass(frozen=True, slots=True)
class Matern:
    """Hyperparameters: lengths [parameters], the function's deviation, the noise's variance."""

    lengths: Floats
    amplitude: float
    noise: float

    @classmethod
    def unpack(cls, vector: Floats) -> Matern:
        """Make them of the logs of all, as the optimiser moves them."""
        raised = np.exp(vector)
        return cls(raised[:-2], float(raised[-2]), float(raised[-1]))


def fit_matern(columns: Floats, groups: NDArray[np.int64], values: Floats) -> Matern:
    """Return the hyperparameters of the highest posterior density.

    Args:
        columns: [n, columns].
        groups: [columns], which parameter each column tells of.
        values: [n], of mean 0 and deviation 1.
    """
    count = int(groups.max()) + 1
    distances = np.stack([squared_distances(part, part) for part in _split(columns, groups, count)])
    centre = np.array([_LENGTH[0] + 0.5 * np.log(count)] * count + [_AMPLITUDE[0], _NOISE[0]])
    spread = np.array([_LENGTH[1]] * count + [_AMPLITUDE[1], _NOISE[1]])

    def objective(vector: Floats) -> tuple[float, Floats]:
        loss, slope = evidence_loss(vector, distances, values)
        apart = (vector - centre) / spread
        return loss + 0.5 * float(apart @ apart), slope + apart / spread

    # The evidence often has two maxima: one explains by long lengths, the other by short ones.
    starts = [centre, np.where(np.arange(count + 2) < count, _SHORT, centre)]
    bounds = list(zip(centre - _BOUND * spread, centre + _BOUND * spread, strict=True))
    bounds[-1] = (_LEAST_NOISE, bounds[-1][1])
    found = [
        minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds,
                 options={"maxiter": _ITERATIONS})
        for start in starts
    ]  # fmt: skip
    return Matern.unpack(min(found, key=lambda each: float(each.fun)).x)


def evidence_loss(vector: Floats, distances: Floats, values: Floats) -> tuple[float, Floats]:
    """Return the negative log marginal likelihood and its gradient.

    Args:
        distances: [parameters, n, n], squared, of each parameter alone.
    """
    kernel = Matern.unpack(vector)
    weighted = distances / (kernel.lengths**2)[:, None, None]
    root = np.sqrt(5 * weighted.sum(0))
    decay = kernel.amplitude**2 * np.exp(-root)
    own = decay * (1 + root + root**2 / 3)
    try:
        lower = cholesky(own + (kernel.noise + _JITTER) * np.eye(len(values)), lower=True)
    except np.linalg.LinAlgError:
        return 1e6, np.zeros_like(vector)
    solved = cho_solve((lower, True), values)
    loss = 0.5 * float(values @ solved) + float(np.log(np.diag(lower)).sum())
    inner = cho_solve((lower, True), np.eye(len(values))) - np.outer(solved, solved)
    by_length = 0.5 * 5 / 3 * np.einsum("ij,pij->p", inner * decay * (1 + root), weighted)
    by_noise = 0.5 * kernel.noise * float(np.trace(inner))
    return loss, np.array([*by_length, float((inner * own).sum()), by_noise])


def _split(columns: Floats, groups: NDArray[np.int64], count: int) -> list[Floats]:
    return [columns[:, groups == each] for each in range(count)]


class MaternPosterior:
    """What is expected everywhere, given values at some points."""

    def __init__(
        self, kernel: Matern, columns: Floats, groups: NDArray[np.int64], values: Floats
    ) -> None:
        self._kernel = kernel
        self._divisor = kernel.lengths[groups]
        self._columns = columns / self._divisor
        own = self._covariance(self._columns, self._columns)
        diagonal = (kernel.noise + _JITTER) * np.eye(len(values))
        self._lower = cholesky(own + diagonal, lower=True)
        self._solved = cho_solve((self._lower, True), values)
        self._values = values

    def at_observed(self) -> Floats:
        """Return the mean at every point given, noise taken off; [n]."""
        return np.asarray(self._values - self._kernel.noise * self._solved)

    def predict(self, columns: Floats) -> tuple[Floats, Floats]:
        """Return mean and standard deviation at [m, columns]; [m] each."""
        cross = self._covariance(columns / self._divisor, self._columns)
        whitened = solve_triangular(self._lower, cross.T, lower=True)
        variance = self._kernel.amplitude**2 - (whitened**2).sum(0)
        return cross @ self._solved, np.sqrt(np.maximum(variance, 1e-12))

    def _covariance(self, one: Floats, other: Floats) -> Floats:
        root = np.sqrt(5 * squared_distances(one, other))
        return np.asarray(self._kernel.amplitude**2 * (1 + root + root**2 / 3) * np.exp(-root))
