"""A controller trained by REINFORCE with a moving baseline (Zoph & Le 2016).

Williams' rule (1992): choices that led to a reward above the average of late become
likelier. Rewards are measured in their own spread, so that it makes no difference whether
they are percent or log losses.
"""

from __future__ import annotations

import numpy as np

from strandline.search.controller import Controller
from strandline.search.policy import PolicySearch
from strandline.search.space import Candidate, Space


class ReinforceSearch(PolicySearch[Controller]):
    """REINFORCE.

    Args:
        learning_rate: of Adam. The paper has 0.0006, for 12,800 trials; with hundreds of trials
            a controller learns nothing at that rate (bench/search).
        width, layers: of the LSTM, as published.
        decay: of the baseline.
        repeats: whether a candidate that was tried may be suggested again.
    """

    def __init__(
        self,
        space: Space,
        seed: int,
        learning_rate: float = 0.01,
        width: int = 35,
        layers: int = 2,
        decay: float = 0.9,
        repeats: bool = False,
    ) -> None:
        controller = Controller(space, seed, width=width, layers=layers, spread=0.08)
        super().__init__(space, seed, controller, learning_rate, decay, repeats)

    def _reinforce(self, candidate: Candidate, advantage: float) -> None:
        gradient = self._controller.gradient([candidate], np.array([advantage]), 0.0)
        self._adam.climb(self._controller.weights, gradient)
