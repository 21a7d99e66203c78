"""How much near-duplicates across the split would have flattered the model.

The honest split is compared with the one a careless tool makes: near-duplicates of test
images among the training images, so that remembering passes for knowing (Barz & Denzler
2020, arXiv 1902.00423).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from strandline.learn import measure, metrics
from strandline.learn.bootstrap import (
    Bootstrapped,
    bootstrap,
    number_clusters,
    percentile_estimate,
)
from strandline.learn.metrics import Sample
from strandline.spec.scorecard import Estimate, Leakage

_COMPARED = ("precision_at_1", "auc_pr", "auc_roc", "log_loss", "ece")
_LOSSES = frozenset({"log_loss", "ece"})


@dataclass(frozen=True, slots=True)
class LeakedScores:
    """Scores of a model that was trained with near-duplicates across the split.

    Attributes:
        scores: [m, L], on the test split of the naive division.
        truth: class index [m] or 0/1 [m, L].
        image_digests: of the m images.
        affected: how many of them have a near-duplicate that the model was trained on.
        groups: near-duplicate group of each image.
    """

    scores: NDArray[np.floating]
    truth: NDArray[np.generic]
    image_digests: Sequence[str]
    affected: int
    groups: Sequence[object] | None = None


def count_affected(training_groups: Sequence[object], test_groups: Sequence[object]) -> int:
    """Return how many test images have a near-duplicate among the training images.

    Args:
        training_groups, test_groups: near-duplicate group of each image, None for none.
    """
    trained = {group for group in training_groups if group is not None}
    return sum(group in trained for group in test_groups if group is not None)


def measure_leakage(
    honest: Bootstrapped,
    sample: Sample,
    leaked: LeakedScores,
    labels: Sequence[str],
    image_digests: Sequence[str],
    seed: int,
) -> Leakage:
    """Compare with the leaking evaluation: paired where both saw the same images.

    Args:
        honest: the bootstrap of the honest evaluation, made with `seed`.
        image_digests: of its images.
    """
    other = measure.make_sample(leaked.scores, leaked.truth, sample.task, labels)
    paired = list(leaked.image_digests) == list(image_digests)
    clusters = number_clusters(leaked.groups, len(other.scores))
    run = bootstrap(
        metrics.combine(*measure.quality_metrics(other)),
        clusters,
        len(honest.replicates["log_loss"]),
        seed if paired else seed + 1,
    )
    left_in = measure.headline(run, other, clusters, seed)
    return Leakage(
        affected=leaked.affected,
        items=len(other.scores),
        left_in={name: left_in[name] for name in _COMPARED},
        inflation={name: _inflation(honest, run, name) for name in _COMPARED},
    )


def _inflation(honest: Bootstrapped, leaked: Bootstrapped, name: str) -> Estimate:
    sign = -1.0 if name in _LOSSES else 1.0
    value = sign * float(leaked.values[name][0] - honest.values[name][0])
    return percentile_estimate(value, sign * (leaked.replicates[name] - honest.replicates[name]))
