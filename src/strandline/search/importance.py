"""How much each choice of a candidate decided: shares of the differences between trials.

The share of the variance of the trials' ranks that one choice explains by itself (the
correlation ratio of a one-way analysis of variance), corrected for what as many groups
explain by chance (epsilon squared; Kelley 1935). Ranks, since how bad a bad candidate is
says nothing about the good ones; by itself, so choices that only matter together show little.

It describes the trials there are. A search tries what it thinks good, so a choice that is
settled early hardly varies any more and explains little, however much it mattered.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from strandline.search.encoding import Floats
from strandline.search.parameters import Parameter
from strandline.search.space import Candidate
from strandline.spec.records import Scalar

FEWEST = 20
"""Trials, below which chance explains as much as any choice."""
_LEVELS = 4
_RESAMPLES = 200
_MOST = 5_000


@dataclass(frozen=True, slots=True)
class Importance:
    """What one choice explains.

    Attributes:
        name: of the parameter.
        share: of the differences in rank, 0 to 1.
        low, high: 95% bootstrap interval over the trials.
        trials: that had this choice to make.
    """

    name: str
    share: float
    low: float
    high: float
    trials: int


def importances(
    parameters: Sequence[Parameter], candidates: Sequence[Candidate], values: Sequence[float]
) -> list[Importance]:
    """Return the importance of each parameter, the greatest first.

    Of a conditional parameter among the trials that had it. Left out are parameters that
    fewer than `FEWEST` trials had, or that never varied. Of very many trials the newest count.

    Args:
        values: of the candidates, finite; which way is better makes no difference.
    """
    newest, worth = candidates[-_MOST:], np.asarray(values[-_MOST:], np.float64)
    found = [each for p in parameters if (each := _importance(p, newest, worth)) is not None]
    return sorted(found, key=lambda each: (-each.share, each.name))


def _importance(
    parameter: Parameter, candidates: Sequence[Candidate], values: Floats
) -> Importance | None:
    present = np.array([parameter.name in candidate for candidate in candidates], bool)
    if present.sum() < FEWEST:
        return None
    chosen = [c[parameter.name] for c, there in zip(candidates, present, strict=True) if there]
    groups = _groups(parameter, chosen)
    if groups.max() == 0:
        return None
    own = values[present]
    rng = np.random.default_rng(len(own))
    drawn = [_share(groups[at], own[at]) for at in _resamples(len(own), rng)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    share = _share(groups, own)
    return Importance(
        parameter.name, share, float(min(low, share)), float(max(high, share)), len(own)
    )


def _resamples(count: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    for _ in range(_RESAMPLES):
        yield rng.integers(0, count, count)


def _groups(parameter: Parameter, chosen: Sequence[Scalar]) -> NDArray[np.int64]:
    """Return the group of each value: itself, or the quarter of the values it lies in."""
    distinct = list(dict.fromkeys(chosen))
    if parameter.listed() is not None and len(distinct) <= max(_LEVELS, 16):
        places: Mapping[Scalar, int] = {value: place for place, value in enumerate(distinct)}
        return np.array([places[value] for value in chosen], np.int64)
    units = np.array([parameter.to_unit(value) for value in chosen])
    edges = np.unique(np.quantile(units, np.arange(1, _LEVELS) / _LEVELS))
    return np.unique(np.searchsorted(edges, units), return_inverse=True)[1]


def _share(groups: NDArray[np.int64], values: Floats) -> float:
    ranks = rankdata(values)
    apart = ranks - ranks.mean()
    total = float(apart @ apart)
    counts = np.bincount(groups)
    used = int((counts > 0).sum())
    if total == 0 or used < 2 or used >= len(values):
        return 0.0
    sums = np.bincount(groups, weights=apart)
    between = float((sums**2 / np.maximum(counts, 1)).sum())
    within = (total - between) / (len(values) - used)
    return max(0.0, (between - (used - 1) * within) / total)
