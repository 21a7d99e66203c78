"""One factor on all logits, so that their log loss says how good a head is.

Heads that rank well may be far too sure or unsure of it; compared by log loss they would
be judged by that. The factor is fitted on logits of images that the head has not seen.

Source: Guo et al., ICML 2017 (arXiv 1706.04599), section 4.2.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_expit, log_softmax

from strandline.learn.heads.contract import Doubles
from strandline.spec.records import Task

_LOG_RANGE = (-4.0, 6.0)
# A pull toward the middle of the range, in images: logits without a single mistake would
# otherwise ask for an infinite factor.
_PRIOR_IMAGES = 1.0


def fit_temperature(logits: NDArray[Any], truth: Doubles, task: Task) -> float:
    """Return the factor s > 0 for which s · logits has the least log loss.

    Args:
        logits: [n, labels] of unseen images.
        truth: 0 and 1, [n, labels].
    """
    values = np.asarray(logits, np.float64)
    size = float(np.sqrt(np.square(values).mean())) or 1.0

    def loss(log_factor: float) -> float:
        scaled = values * (np.exp(log_factor) / size)
        if task is Task.MULTILABEL:
            log_scores = truth * log_expit(scaled) + (1 - truth) * log_expit(-scaled)
        else:
            log_scores = truth * log_softmax(scaled, axis=1)
        return float(-log_scores.sum() + 0.5 * _PRIOR_IMAGES * log_factor**2)

    found = minimize_scalar(loss, bounds=_LOG_RANGE, method="bounded")
    return float(np.exp(found.x) / size)


def log_odds(share: Doubles, images: int) -> Doubles:
    """Return the logits of shares in [0, 1], kept finite by half an image (Jeffreys)."""
    safe = (share * images + 0.5) / (images + 1)
    return np.asarray(np.log(safe) - np.log1p(-safe))
