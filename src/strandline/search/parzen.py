"""Tree-structured Parzen estimator over categories, all trials and decisions at once.

What Optuna's multivariate sampler computes where every parameter is a plain category, draw
for draw the same: the best tenth of the trials (25 at most) and the rest are each a mixture
of one product of categories per trial and a uniform one; of some candidates drawn from the
first mixture the one is taken that the first makes likeliest against the second (Bergstra et
al. 2011; Falkner et al. 2018 for the products). Optuna goes through all trials and
parameters one by one, which takes the longer the more decisions a candidate has.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from strandline.search.algorithm import Observation
from strandline.search.encoding import Floats
from strandline.search.space import Candidate, Categorical, Space

Places = NDArray[np.int64]

_GOOD_SHARE, _MOST_GOOD = 0.1, 25
# The newest count in full; those before the less the older they are.
_NEWEST = 25
_PRIOR = 1.0


def is_plain(space: Space) -> bool:
    """Return whether all there is to decide are unordered categories, always present."""
    return all(
        isinstance(each, Categorical) and not each.ordered and each.when is None
        for each in space.parameters
    )


class CategoricalParzen:
    """The estimator for a space of which `is_plain` holds.

    Args:
        candidates: drawn from the mixture of the good trials; the best of them is taken.
    """

    def __init__(self, space: Space, candidates: int) -> None:
        listed = [each for each in space.parameters if isinstance(each, Categorical)]
        self._fixed = {each.name: each.values[0] for each in listed if len(each.values) == 1}
        # In the order in which Optuna goes through them.
        self._decided = sorted(
            (each for each in listed if len(each.values) > 1), key=lambda each: each.name
        )
        self._candidates = candidates
        self._rows: dict[int, tuple[Candidate, Places]] = {}

    def draw(self, told: Sequence[Observation], seed: int) -> Candidate:
        """Return the most promising of the candidates drawn, given what was observed."""
        rows = self._encode(told)
        good = min(int(np.ceil(_GOOD_SHARE * len(rows))), _MOST_GOOD)
        values = np.array([each.value for each in told], np.float64)
        order = np.argsort(-values, kind="stable")
        best = self._mixture(rows[np.sort(order[:good])])
        rest = self._mixture(rows[np.sort(order[good:])])
        drawn = best.sample(np.random.RandomState(seed), self._candidates)
        chosen = drawn[int(np.argmax(best.log_density(drawn) - rest.log_density(drawn)))]
        pairs = zip(self._decided, chosen, strict=True)
        return self._fixed | {each.name: each.values[int(place)] for each, place in pairs}

    def _mixture(self, rows: Places) -> Mixture:
        return Mixture(rows, [len(each.values) for each in self._decided])

    def _encode(self, told: Sequence[Observation]) -> Places:
        """Return [observations, decisions], the rows of the last time kept."""
        before = self._rows
        self._rows = {}
        for each in told:
            known = before.get(each.number)
            # The same trial may have been observed anew, of another candidate.
            if known is None or known[0] is not each.candidate:
                known = each.candidate, self._row(each.candidate)
            self._rows[each.number] = known
        return np.stack([row for _, row in self._rows.values()])

    def _row(self, candidate: Candidate) -> Places:
        return np.array([each.place(candidate[each.name]) for each in self._decided], np.int64)


class Mixture:
    """A product of categories for every row, and a uniform one; later rows weigh more.

    Args:
        rows: [n, decisions], the places of the categories chosen.
        sizes: [decisions], how many categories there are.
    """

    def __init__(self, rows: Places, sizes: Sequence[int]) -> None:
        kernels = len(rows) + 1
        weights = np.append(_ages(len(rows)), _PRIOR)
        self._weights = weights / weights.sum()
        self._chances = []
        for column, size in zip(rows.T, sizes, strict=True):
            chances = np.full((kernels, size), _PRIOR / kernels)
            chances[np.arange(len(column)), column] += 1.0
            self._chances.append(chances / chances.sum(1, keepdims=True))

    def sample(self, rng: np.random.RandomState, count: int) -> Places:
        """Draw [count, decisions]."""
        chosen = rng.choice(len(self._weights), p=self._weights, size=count)
        drawn = np.empty((count, len(self._chances)), np.int64)
        for place, chances in enumerate(self._chances):
            quantiles = rng.rand(count)
            reached = np.cumsum(chances[chosen], axis=1)
            reached[:, -1] = 1.0  # whatever rounding made of it
            drawn[:, place] = (reached < quantiles[:, None]).sum(1)
        return drawn

    def log_density(self, asked: Places) -> Floats:
        """Return the logarithm of the probability of each row asked for; [m]."""
        total = np.zeros((len(asked), len(self._weights)))
        for column, chances in zip(asked.T, self._chances, strict=True):
            total += np.log(chances.T)[column]
        return np.asarray(logsumexp(total + np.log(self._weights), axis=1))


def _ages(count: int) -> Floats:
    """Return the weight of each of so many rows, the oldest first."""
    if count < _NEWEST:
        return np.ones(count)
    ramp = np.linspace(1.0 / count, 1.0, num=count - _NEWEST)
    return np.concatenate([ramp, np.ones(_NEWEST)])
