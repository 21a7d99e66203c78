"""Nearest prototype: one mean a label, compared in a space whitened by the scatter.

It needs very few images a label. Shrinkage 1 is the plain nearest class mean; less of it
is linear discriminant analysis.

Sources: Mensink et al., PAMI 2013 (nearest class mean); Ledoit and Wolf, J. Multivariate
Analysis 2004 (shrinkage of the covariance).
"""

from __future__ import annotations

import numpy as np

from strandline.learn.heads.contract import (
    Classifier,
    Doubles,
    Head,
    Params,
    TrainingSet,
    number,
)
from strandline.learn.heads.linear import LinearClassifier, linear_classifier
from strandline.learn.heads.temperature import fit_temperature, log_odds
from strandline.search.space import Float
from strandline.spec.records import Task

_HELD_OUT = 0.2
_MOST_TEMPERATURE_IMAGES = 5000


def fit(training: TrainingSet, params: Params, seed: int) -> Classifier:
    """Fit the prototypes; `shrinkage` in (0, 1] goes from the scatter to a multiple of 1."""
    shrinkage = number(params, "shrinkage")
    images = len(training.targets) // training.views
    held_out = np.random.default_rng(seed).permutation(images)
    held_out = held_out[: min(int(images * _HELD_OUT), _MOST_TEMPERATURE_IMAGES)]
    factor = 1.0
    if len(held_out):
        chosen = np.repeat(np.isin(np.arange(images), held_out), training.views)
        rest, probe = (training.take(np.flatnonzero(rows)) for rows in (~chosen, chosen))
        logits = _fit(rest, shrinkage).logits(probe.features)
        factor = fit_temperature(logits, probe.indicators(), training.task)
    plain = _fit(training, shrinkage)
    return LinearClassifier(
        plain.weight * np.float32(factor), plain.bias * np.float32(factor), factor
    )


def _fit(training: TrainingSet, shrinkage: float) -> LinearClassifier:
    truth = training.indicators()
    mass = training.weights @ truth
    features = np.asarray(training.features, np.float64)
    total = training.weights @ features
    sums = (truth * training.weights[:, None]).T @ features
    means = sums / np.maximum(mass, 1e-9)[:, None]
    if training.task is Task.MULTILABEL:
        everything = training.weights.sum()
        others = (total - sums) / np.maximum(everything - mass, 1e-9)[:, None]
        return _fit_each_label(training, features, means, others, shrinkage)
    residuals = features - truth @ means
    weight = _whiten(residuals, training.weights, means, shrinkage).T
    bias = -0.5 * np.einsum("ld,dl->l", means, weight)
    # A label without images has no prototype: it is put behind all others.
    absent = mass == 0
    bias[absent] = (bias[~absent].min() if (~absent).any() else 0.0) - 10.0 * np.abs(bias).max()
    return linear_classifier(weight, bias)


def _fit_each_label(
    training: TrainingSet, features: Doubles, means: Doubles, others: Doubles, shrinkage: float
) -> LinearClassifier:
    """Tell each label's mean from that of the images without it, with one shared scatter."""
    centred = features - features.mean(axis=0)
    gaps = means - others
    share = training.indicators().mean(axis=0)
    gaps[(share == 0) | (share == 1)] = 0.0  # nothing to tell apart
    weight = _whiten(centred, training.weights, gaps, shrinkage).T
    middle = (means + others) / 2
    middle[(share == 0) | (share == 1)] = 0.0
    bias = log_odds(share, len(features)) - np.einsum("ld,dl->l", middle, weight)
    return linear_classifier(weight, bias)


def _whiten(residuals: Doubles, weights: Doubles, directions: Doubles, shrinkage: float) -> Doubles:
    """Return directions [L, D] times the inverse of the shrunk scatter of residuals [n, D].

    With fewer rows than features the n × n system is solved instead (Woodbury).
    """
    rows, dim = residuals.shape
    scaled = residuals * np.sqrt(weights / weights.sum())[:, None]
    variance = max(float(np.square(scaled).sum()) / dim, 1e-12)
    ridge = max(shrinkage * variance, 1e-6 * variance)
    scaled *= np.sqrt(1 - shrinkage)
    if dim <= rows:
        scatter = scaled.T @ scaled
        scatter[np.diag_indices(dim)] += ridge
        return np.asarray(np.linalg.solve(scatter, directions.T).T)
    gram = scaled @ scaled.T
    gram[np.diag_indices(rows)] += ridge
    inner = np.linalg.solve(gram, scaled @ directions.T)
    return np.asarray((directions - (scaled.T @ inner).T) / ridge)


HEAD = Head("prototype", fit, (Float("shrinkage", 0.02, 1.0, log=True),), {"shrinkage": 0.2})
