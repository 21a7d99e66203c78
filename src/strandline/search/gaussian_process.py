"""Bayesian optimisation with a Gaussian process, by Optuna's sampler.

Matern kernel with one length scale a parameter, expected improvement (in logarithms; Ament
et al. 2023). The search takes a good part of a second a suggestion: for trials of minutes.
"""

from __future__ import annotations

import optuna

from strandline.search.optuna_search import OptunaSearch
from strandline.search.space import Space

# Its cost grows with the cube of what it is told.
_MOST = 100


class GaussianProcessSearch(OptunaSearch):
    """Bayesian optimisation over a space that may be conditional.

    Args:
        startup: trials drawn at random before it.
        repeats: whether a candidate that was tried may be suggested again.
    """

    def __init__(self, space: Space, seed: int, startup: int = 10, repeats: bool = False) -> None:
        # It draws the same for every seed where it is sure.
        super().__init__(space, seed, startup, _MOST, repeats, draws=1)

    def _sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        return optuna.samplers.GPSampler(
            seed=seed, n_startup_trials=self._startup, deterministic_objective=False
        )
