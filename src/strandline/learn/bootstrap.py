"""Intervals for any metric of images, by resampling the images that are independent.

Near-duplicates are one observation seen several times: drawing them one by one would
make intervals too short, so clusters are drawn whole (cluster bootstrap; Davison &
Hinkley 1997, §3.8). Bounds are bias-corrected and accelerated (BCa; Efron 1987), which
keeps its coverage for the skewed metrics of a model that is nearly always right. Where
resampling cannot know anything — a perfect score stays perfect in every resample —
Clopper-Pearson takes over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from strandline.learn.binomial import clopper_pearson, normal_cdf, normal_quantile
from strandline.spec.scorecard import Estimate, IntervalMethod

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Weights = NDArray[np.int32]
Metric = Callable[[Weights], dict[str, Floats]]

DEFAULT_RESAMPLES = 1000
_JACKKNIFE_BLOCKS = 200
_CHUNK_ELEMENTS = 2_000_000
_EDGE = 1e-12


@dataclass(frozen=True, slots=True)
class Bootstrapped:
    """A metric function evaluated on the sample, its resamples and its jackknife.

    Attributes:
        values, replicates, jackknife: by name; [1, …], [resamples, …] and [blocks, …].
        clusters: number of independent units.
    """

    values: dict[str, Floats]
    replicates: dict[str, Floats]
    jackknife: dict[str, Floats]
    clusters: int
    confidence: float = 0.95

    def estimate(self, name: str, trials: int | None = None) -> Estimate:
        """Return the BCa estimate of a scalar metric.

        Args:
            trials: for a metric within [0, 1], the independent trials to assume when it
                stands at 0 or 1 exactly; None for a metric without such ends.
        """
        return bca_estimate(
            float(self.values[name][0]),
            self.replicates[name],
            self.jackknife[name],
            trials,
            self.confidence,
        )

    def label_estimates(self, name: str, trials: Sequence[int]) -> list[Estimate]:
        """Return the BCa estimates of a per-label metric [·, L]."""
        return [
            bca_estimate(
                float(self.values[name][0, label]),
                self.replicates[name][:, label],
                self.jackknife[name][:, label],
                trials[label],
                self.confidence,
            )
            for label in range(self.values[name].shape[1])
        ]

    def biased_estimate(self, name: str, chance: float) -> Estimate:
        """Return the estimate of a metric that noise can only push up, such as ECE.

        Args:
            chance: value that a model without any such error stays below.
        """
        return reflected_estimate(
            float(self.values[name][0]), self.replicates[name], chance, self.confidence
        )


def number_clusters(groups: Sequence[object] | None, size: int) -> Integers:
    """Return cluster numbers 0 … G-1 for `size` images; None in `groups` stands alone."""
    if groups is None:
        return np.arange(size)
    if len(groups) != size:
        raise ValueError(f"{len(groups)} groups for {size} images: give one a image or None")
    numbers: dict[object, int] = {}
    keys = ((index,) if group is None else group for index, group in enumerate(groups))
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def bootstrap(
    metric: Metric,
    clusters: Integers,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
    confidence: float = 0.95,
) -> Bootstrapped:
    """Evaluate `metric` on the sample, on `resamples` resamples and on its jackknife.

    Two calls with equal clusters and seed draw the same resamples, so differences of
    their replicates are paired.

    Args:
        metric: from counts [B, n] to values [B] or [B, L] by name.
        clusters: cluster number of each image [n], 0 … G-1.
    """
    values = metric(np.ones((1, len(clusters)), dtype=np.int32))
    return Bootstrapped(
        values=values,
        replicates=_collect(metric, resampled_weights(clusters, resamples, seed)),
        jackknife=_collect(metric, jackknife_weights(clusters, seed)),
        clusters=int(clusters.max()) + 1,
        confidence=confidence,
    )


def resampled_weights(clusters: Integers, resamples: int, seed: int) -> Iterator[Weights]:
    """Yield counts [b, n] of clusters drawn with replacement, in chunks of bounded size."""
    rng = np.random.default_rng(seed)
    size = int(clusters.max()) + 1
    rows = max(1, _CHUNK_ELEMENTS // len(clusters))
    for start in range(0, resamples, rows):
        chunk = min(rows, resamples - start)
        drawn = rng.integers(0, size, (chunk, size)) + np.arange(chunk)[:, None] * size
        counts = np.bincount(drawn.ravel(), minlength=chunk * size).reshape(chunk, size)
        yield counts.astype(np.int32)[:, clusters]


def jackknife_weights(clusters: Integers, seed: int) -> Iterator[Weights]:
    """Yield weights [b, n] that leave one block of clusters out.

    With at most 200 clusters each block is one cluster, the plain jackknife. Above, the
    blocks' skewness estimates that of single clusters: both the cubes and the squares of
    independent influences add up.
    """
    size = int(clusters.max()) + 1
    blocks = min(size, _JACKKNIFE_BLOCKS)
    shuffled = np.random.default_rng([seed, 1]).permutation(size)
    block_of = (shuffled * blocks // size)[clusters]
    rows = max(1, _CHUNK_ELEMENTS // len(clusters))
    for start in range(0, blocks, rows):
        chunk = np.arange(start, min(start + rows, blocks))
        yield (block_of[None, :] != chunk[:, None]).astype(np.int32)


def bca_estimate(
    value: float,
    replicates: Floats,
    jackknife: Floats,
    trials: int | None,
    confidence: float = 0.95,
) -> Estimate:
    """Return `value` with its bias-corrected and accelerated interval (Efron 1987).

    At the ends of a metric within [0, 1] (`trials` given) the interval is
    Clopper-Pearson's for that many trials. The interval always holds the value.
    """
    known = replicates[~np.isnan(replicates)]
    if np.isnan(value):
        return Estimate(value=None)
    if trials is not None and (value <= _EDGE or value >= 1 - _EDGE):
        return _edge_estimate(value, trials, confidence)
    if len(known) < len(replicates) / 2 or np.ptp(known) == 0:
        low, high = (0.0, 1.0) if trials is not None else (None, None)
        return Estimate(value=value, low=low, high=high)
    low_share, high_share = _bca_shares(value, known, jackknife, confidence)
    low, high = (float(each) for each in np.quantile(known, [low_share, high_share]))
    return Estimate(
        value=value, low=min(low, value), high=max(high, value), method=IntervalMethod.BCA
    )


def _bca_shares(
    value: float, known: Floats, jackknife: Floats, confidence: float
) -> tuple[float, float]:
    """Return the shares of the replicates that lie below the two bounds."""
    # Half of the ties count as below: the replicates of a share are discrete.
    below = float(np.mean(known < value) + np.mean(known == value) / 2)
    nearest = 1 / (len(known) + 1)
    bias = normal_quantile(min(max(below, nearest), 1 - nearest))
    influence = np.nanmean(jackknife) - jackknife[~np.isnan(jackknife)]
    spread = float((influence**2).sum()) ** 1.5
    acceleration = float((influence**3).sum()) / (6 * spread) if spread > 0 else 0.0

    def share(quantile: float) -> float:
        shifted = bias + quantile
        return normal_cdf(bias + shifted / max(1 - acceleration * shifted, 0.1))

    tail = normal_quantile((1 - confidence) / 2)
    return share(tail), share(-tail)


def _edge_estimate(value: float, trials: int, confidence: float) -> Estimate:
    successes = 0 if value <= _EDGE else trials
    low, high = clopper_pearson(successes, trials, confidence)
    return Estimate(
        value=min(max(value, 0.0), 1.0),
        low=low,
        high=high,
        method=IntervalMethod.CLOPPER_PEARSON,
    )


def reflected_estimate(
    value: float, replicates: Floats, chance: float, confidence: float = 0.95
) -> Estimate:
    """Return `value` with an interval that allows for its upward bias.

    A sum of absolute values such as calibration error only grows by noise: the value
    lies above the truth as resamples lie above the value. The lower bound reflects the
    resamples at the value (basic bootstrap; Davison & Hinkley 1997, §5.2) and is 0 where
    chance alone explains the value; the upper bound is the plain percentile. BCa would
    break down here: nearly all resamples lie on one side.
    """
    if np.isnan(value):
        return Estimate(value=None)
    upper = float(np.quantile(replicates, 1 - (1 - confidence) / 2))
    low = 0.0 if value <= chance else max(0.0, min(2 * value - upper, value))
    return Estimate(value=value, low=low, high=max(upper, value), method=IntervalMethod.REFLECTED)


def percentile_estimate(value: float, replicates: Floats, confidence: float = 0.95) -> Estimate:
    """Return `value` with its percentile interval, for differences of two evaluations.

    No interval where all replicates agree: two perfect scores tell nothing about how
    far apart they are.
    """
    known = replicates[~np.isnan(replicates)]
    if np.isnan(value) or len(known) < len(replicates) / 2 or np.ptp(known) == 0:
        return Estimate(value=None if np.isnan(value) else value)
    tail = (1 - confidence) / 2
    low, high = (float(each) for each in np.quantile(known, [tail, 1 - tail]))
    return Estimate(
        value=value, low=min(low, value), high=max(high, value), method=IntervalMethod.PERCENTILE
    )


def _collect(metric: Metric, weights: Iterator[Weights]) -> dict[str, Floats]:
    chunks = [metric(chunk) for chunk in weights]
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}
