"""Make scores mean what they say: "0.9" is right nine times in ten.

Heads are fitted to rank well and are over- or under-confident about it. A few numbers
fitted on out-of-fold logits mend that; the test split is never touched. Which few is
chosen by cross-validated log loss, so a rich correction is used only where the data
carry it, and "leave as is" is always among the candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from strandline.learn.bootstrap import number_clusters
from strandline.learn.newton import minimize
from strandline.spec.records import Record, Task

Floats = NDArray[np.float64]

_FOLDS = 5
# Strength of the pull of single labels toward what all share, in images.
_PULLS = (1.0, 10.0, 100.0)
_SMALLEST_SCALE = 1e-3
# Strength of the belief that logits are about right as they are, in images: without it
# a temperature fitted on logits that make no mistake runs off to infinity.
_PRIOR_IMAGES = 1.0


class Calibration(Record):
    """Scores are softmax (multi-class) or sigmoid (multi-label) of logits·scale + bias.

    Attributes:
        scale: positive, one a label.
        bias: one a label.
        method: which family won.
        log_loss_before, log_loss_after: cross-validated, in nats; an estimate of what
            the calibration is worth on unseen images.
    """

    scale: tuple[float, ...]
    bias: tuple[float, ...]
    task: Task
    method: str = "identity"
    log_loss_before: float | None = None
    log_loss_after: float | None = None

    def apply(self, logits: NDArray[np.floating]) -> Floats:
        """Return scores [n, L] of `logits` [n, L]."""
        return scores_of(np.asarray(logits, np.float64) * self.scale + self.bias, self.task)


def identity_calibration(labels: int, task: Task) -> Calibration:
    """Return the calibration that changes nothing."""
    return Calibration(scale=(1.0,) * labels, bias=(0.0,) * labels, task=task)


def scores_of(logits: Floats, task: Task) -> Floats:
    """Return softmax over labels (multi-class) or sigmoid of each (multi-label)."""
    if task is Task.MULTILABEL:
        return _sigmoid(logits)
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def fit_calibration(
    logits: NDArray[np.floating],
    targets: NDArray[np.generic],
    task: Task,
    *,
    groups: Sequence[object] | None = None,
    seed: int = 0,
) -> Calibration:
    """Fit the calibration that predicts held-out folds of `logits` best.

    Multi-class: temperature scaling (Guo et al. 2017, arXiv 1706.04599) and vector
    scaling shrunk toward it. Multi-label: a shared temperature and bias, and per-label
    Platt scaling (Platt 1999, with his softened targets) shrunk toward that, so that a
    label with three positives takes over what the others know.

    Args:
        logits: out-of-fold logits [n, L].
        targets: class index [n] or 0/1 [n, L].
        groups: near-duplicate group of each image; a group is held out together.

    Raises:
        ValueError: a logit is not finite.
    """
    values = np.asarray(logits, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("logits hold NaN or an infinity: the head did not converge")
    truth = _one_hot(targets, values.shape[1], task)
    families = _families(task)
    losses = _held_out_losses(values, truth, task, families, groups, seed)
    best = min(losses, key=lambda name: losses[name])
    scale, bias = families[best](values, truth)
    return Calibration(
        scale=tuple(float(each) for each in scale),
        bias=tuple(float(each) for each in bias),
        task=task,
        method=best,
        log_loss_before=losses["identity"],
        log_loss_after=losses[best],
    )


Fit = Callable[[Floats, Floats], tuple[Floats, Floats]]


def _families(task: Task) -> dict[str, Fit]:
    """Return the candidates, simplest first: ties go to the simpler one."""
    multiclass = task is Task.MULTICLASS
    families: dict[str, Fit] = {
        "temperature": _fit_temperature if multiclass else _fit_shared_platt,
        "identity": lambda logits, _: (np.ones(logits.shape[1]), np.zeros(logits.shape[1])),
    }
    fit = _fit_vector if multiclass else _fit_platt
    name = "vector" if multiclass else "platt"
    for pull in reversed(_PULLS):
        families[f"{name}-{pull:g}"] = _with_pull(fit, pull)
    return families


def _with_pull(fit: Callable[[Floats, Floats, float], tuple[Floats, Floats]], each: float) -> Fit:
    return lambda logits, truth: fit(logits, truth, each)


def _held_out_losses(
    logits: Floats,
    truth: Floats,
    task: Task,
    families: dict[str, Fit],
    groups: Sequence[object] | None,
    seed: int,
) -> dict[str, float]:
    clusters = number_clusters(groups, len(logits))
    size = int(clusters.max()) + 1
    folds = min(_FOLDS, size)
    if folds < 2:
        return {"identity": _log_loss(logits, truth, task)}
    fold_of = (np.random.default_rng(seed).permutation(size) % folds)[clusters]
    totals = dict.fromkeys(families, 0.0)
    for fold in range(folds):
        held = fold_of == fold
        for name, fit in families.items():
            scale, bias = fit(logits[~held], truth[~held])
            loss = _log_loss(logits[held] * scale + bias, truth[held], task)
            totals[name] += loss * float(held.mean())
    return totals


def _log_loss(logits: Floats, truth: Floats, task: Task) -> float:
    if task is Task.MULTILABEL:
        return float((np.logaddexp(0.0, logits) - truth * logits).mean())
    top = logits.max(axis=1, keepdims=True)
    normalizer = top[:, 0] + np.log(np.exp(logits - top).sum(axis=1))
    return float((normalizer - (truth * logits).sum(axis=1)).mean())


def _fit_temperature(logits: Floats, truth: Floats) -> tuple[Floats, Floats]:
    """Return the one scale of lowest log loss, as Guo et al. (2017) do."""
    chosen = (truth * logits).sum(axis=1)

    def objective(x: Floats) -> tuple[float, Floats, Floats]:
        # In log scale, so that the scale stays positive.
        scale = float(np.exp(x[0]))
        probabilities = scores_of(logits * scale, Task.MULTICLASS)
        mean = (probabilities * logits).sum(axis=1)
        variance = (probabilities * logits**2).sum(axis=1) - mean**2
        prior = _PRIOR_IMAGES / len(logits)
        slope = scale * float((mean - chosen).mean())
        loss = _log_loss(logits * scale, truth, Task.MULTICLASS) + prior * x[0] ** 2 / 2
        curve = scale**2 * float(variance.mean()) + abs(slope) + prior
        return loss, np.array([slope + prior * x[0]]), np.array([[curve]])

    scale = float(np.exp(minimize(objective, np.zeros(1))[0]))
    return np.full(logits.shape[1], scale), np.zeros(logits.shape[1])


def _fit_vector(logits: Floats, truth: Floats, pull: float) -> tuple[Floats, Floats]:
    """Return vector scaling, pulled toward the best temperature and no bias."""
    start, zero = _fit_temperature(logits, truth)
    labels = logits.shape[1]
    strength = pull / len(logits)
    # In units of the temperature, so that the pull does not depend on the logits' scale.
    inputs = logits * start

    def objective(x: Floats) -> tuple[float, Floats, Floats]:
        scaled = inputs * x[:labels] + x[labels:]
        probabilities = scores_of(scaled, Task.MULTICLASS)
        off = probabilities - truth
        away = x - np.concatenate([np.ones(labels), zero])
        gradient = np.concatenate([(off * inputs).mean(axis=0), off.mean(axis=0)])
        loss = _log_loss(scaled, truth, Task.MULTICLASS) + strength * float(away @ away) / 2
        hessian = _softmax_hessian(inputs, probabilities)
        return loss, gradient + strength * away, hessian + strength * np.eye(2 * labels)

    x = minimize(objective, np.concatenate([np.ones(labels), zero]))
    return start * np.maximum(x[:labels], _SMALLEST_SCALE), x[labels:]


def _softmax_hessian(inputs: Floats, probabilities: Floats) -> Floats:
    """Return the Hessian [2L, 2L] of mean log loss in (scale, bias)."""
    weighted = np.concatenate([probabilities * inputs, probabilities], axis=1)
    crossed = weighted.T @ weighted / len(inputs)
    squares = (probabilities * inputs**2).mean(axis=0)
    mixed = np.diag((probabilities * inputs).mean(axis=0))
    diagonal = np.block([[np.diag(squares), mixed], [mixed, np.diag(probabilities.mean(axis=0))]])
    return np.asarray(diagonal - crossed)


def _fit_shared_platt(logits: Floats, truth: Floats) -> tuple[Floats, Floats]:
    """Return one scale and one bias for all labels."""
    scale, bias = _platt(logits.reshape(-1, 1), truth.reshape(-1, 1), np.ones(1), np.zeros(1), 0.0)
    return np.repeat(scale, logits.shape[1]), np.repeat(bias, logits.shape[1])


def _fit_platt(logits: Floats, truth: Floats, pull: float) -> tuple[Floats, Floats]:
    """Return a scale and bias for each label, pulled toward the shared ones."""
    return _platt(logits, truth, *_fit_shared_platt(logits, truth), pull)


def _platt(
    logits: Floats, truth: Floats, scale: Floats, bias: Floats, pull: float
) -> tuple[Floats, Floats]:
    soft = _softened(truth)
    pairs = [
        _platt_one(logits[:, label] * scale[label], soft[:, label], float(bias[label]), pull)
        for label in range(logits.shape[1])
    ]
    scales, biases = (np.array(column) for column in zip(*pairs, strict=True))
    return scale * scales, biases


def _platt_one(inputs: Floats, soft: Floats, bias: float, pull: float) -> tuple[float, float]:
    start = np.array([1.0, bias])
    strength = (pull + _PRIOR_IMAGES) / len(inputs)
    design = np.stack([inputs, np.ones_like(inputs)], axis=1)

    def objective(x: Floats) -> tuple[float, Floats, Floats]:
        scaled = design @ x
        probabilities = _sigmoid(scaled)
        away = x - start
        loss = float((np.logaddexp(0.0, scaled) - soft * scaled).mean())
        gradient = design.T @ (probabilities - soft) / len(inputs)
        slopes = probabilities * (1 - probabilities)
        hessian = (design * slopes[:, None]).T @ design / len(inputs)
        return (
            loss + strength * float(away @ away) / 2,
            gradient + strength * away,
            hessian + strength * np.eye(2),
        )

    scale, moved = minimize(objective, start)
    return max(float(scale), _SMALLEST_SCALE), float(moved)


def _softened(truth: Floats) -> Floats:
    """Return Platt's targets: (N₊+1)/(N₊+2) for positives, 1/(N₋+2) for negatives."""
    positives = truth.sum(axis=0)
    negatives = len(truth) - positives
    return np.asarray(np.where(truth > 0, (positives + 1) / (positives + 2), 1 / (negatives + 2)))


def _one_hot(targets: NDArray[np.generic], labels: int, task: Task) -> Floats:
    if task is Task.MULTILABEL:
        return np.asarray(targets, dtype=np.float64)
    return np.eye(labels, dtype=np.float64)[np.asarray(targets, dtype=np.int64)]


def _sigmoid(values: Floats) -> Floats:
    small = np.exp(-np.abs(values))
    return np.asarray(np.where(values >= 0, 1 / (1 + small), small / (1 + small)))
