"""Predictor-guided evolution towards the whole front of several objectives.

ParEGO (Knowles 2006): for every suggestion the objectives are weighed anew and joined by the
augmented Tchebycheff norm; over many suggestions each part of the front is somebody's best.
What is beyond a limit comes after all that is within.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from strandline.search.algorithm import Observation
from strandline.search.encoding import Floats
from strandline.search.nsga2 import objectives
from strandline.search.predictor_evolution import PredictorEvolution
from strandline.search.surrogate import normal_scores

_STREAM = 3
# So many weights take turns: each has a kernel fitted to it, and those are kept.
_TURNS = 8
# What the sum adds to the norm, so that of two equal worst objectives the other ones decide.
_AUGMENTED = 0.05


class ParetoPredictor(PredictorEvolution):
    """`PredictorEvolution` with the objectives weighed anew for each suggestion."""

    def _join(self, number: int, known: Sequence[Observation]) -> Sequence[Observation]:
        width = max((len(objectives(each)) for each in known), default=1)
        if width == 1:
            return known
        known = [each for each in known if len(objectives(each)) == width]
        scores = np.stack(
            [normal_scores(column) for column in np.array([e.values for e in known]).T], axis=1
        )
        weights = _weights(self._turn(number), width, np.random.default_rng([self._seed, _STREAM]))
        # The norm is of how far each objective is from the best seen; nearer is better.
        lost = (scores.max(0) - scores) * weights
        joined = -lost.max(1) - _AUGMENTED * lost.sum(1)
        beyond = np.array([each.excess for each in known])
        joined -= np.where(beyond > 0, np.ptp(joined) + 1.0 + beyond, 0.0)
        pairs = zip(known, joined, strict=True)
        return [replace(each, value=float(value), curve=()) for each, value in pairs]

    def _turn(self, number: int) -> int:
        return number % _TURNS


def _weights(turn: int, width: int, rng: np.random.Generator) -> Floats:
    """Return the turn's weights, summing to 1; all turns together are spread evenly."""
    if width == 2:
        share = (turn + 0.5) / _TURNS
        return np.array([share, 1.0 - share])
    return np.asarray(rng.dirichlet(np.ones(width), size=_TURNS)[turn])
