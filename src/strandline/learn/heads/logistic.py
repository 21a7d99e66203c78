"""Multinomial logistic regression: the strong baseline that any head has to beat.

With several labels an image it is one binary regression a label.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strandline.learn.heads.contract import Classifier, Doubles, Head, Params, TrainingSet, number
from strandline.learn.heads.linear import linear_classifier
from strandline.learn.heads.temperature import log_odds
from strandline.search.space import Float
from strandline.spec.records import Task

# A fit may cost about so many multiply-adds: it is stopped early rather than late, which
# regularises it a little more.
_MOST_OPERATIONS = 2e12
_MOST_ITERATIONS = 500


def fit(training: TrainingSet, params: Params, seed: int) -> Classifier:
    """Fit by L-BFGS; `C` is the inverse strength of the L2 penalty for features of length 1."""
    if training.task is Task.MULTILABEL:
        return _fit_each_label(training, number(params, "C"), seed)
    weight, bias = _fit_classes(training, number(params, "C"), seed)
    return linear_classifier(weight, bias)


def _fit_classes(training: TrainingSet, strength: float, seed: int) -> tuple[Doubles, Doubles]:
    """Return weight [D, labels] and bias; a label without images becomes the least likely."""
    weight = np.zeros((training.features.shape[1], training.labels))
    bias = np.zeros(training.labels)
    present = np.unique(training.targets)
    if len(present) > 1:
        model = _regression(training, training.targets, strength, seed)
        if len(present) == 2:  # scikit-learn gives the difference of the two
            weight[:, present] = np.concatenate([-model.coef_, model.coef_]).T / 2
            bias[present] = np.concatenate([-model.intercept_, model.intercept_]) / 2
        else:
            weight[:, present] = model.coef_.T
            bias[present] = model.intercept_
    absent = np.setdiff1d(np.arange(training.labels), present)
    bias[absent] = bias[present].min() - np.log(len(training.targets) + 1)
    return weight, bias


def _fit_each_label(training: TrainingSet, strength: float, seed: int) -> Classifier:
    weight = np.zeros((training.features.shape[1], training.labels))
    bias = log_odds(training.indicators().mean(axis=0), len(training.targets))
    for label in range(training.labels):
        target = (training.targets[:, label] > 0).astype(np.int64)
        if 0 < target.sum() < len(target):
            model = _regression(training, target, strength, seed)
            weight[:, label] = model.coef_[0]
            bias[label] = model.intercept_[0]
    return linear_classifier(weight, bias)


def _regression(training: TrainingSet, target: NDArray[Any], strength: float, seed: int) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    operations = training.features.size * max(2, len(np.unique(target))) * 4
    iterations = int(np.clip(_MOST_OPERATIONS / operations, 20, _MOST_ITERATIONS))
    model = LogisticRegression(C=strength, max_iter=iterations, random_state=seed)
    with warnings.catch_warnings():
        # The number of iterations is capped on purpose.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(training.features, target, sample_weight=training.weights)


HEAD = Head("logistic", fit, (Float("C", 1.0, 1e4, log=True),), {"C": 300.0})
