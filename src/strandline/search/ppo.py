"""A controller trained by proximal policy optimisation, as NASNet's was.

Zoph et al. 2018 (arXiv 1707.07012, appendix A.1): one LSTM layer of 100 units, minibatches
of 20 results, learning rate 0.00035, entropy bonus 0.00001, baseline with decay 0.95. The
clipped objective is that of Schulman et al. 2017 (arXiv 1707.06347).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from strandline.search.controller import Controller
from strandline.search.encoding import Floats
from strandline.search.policy import PolicySearch
from strandline.search.space import Candidate, Space


class PpoSearch(PolicySearch[Controller]):
    """PPO.

    Args:
        learning_rate: of Adam. The paper's 0.00035 is for 20,000 trials.
        batch: results per update; `epochs`: passes over each batch.
        clip: how far the probability of a choice may move in one update.
        entropy: weight of the entropy bonus.
        decay: of the baseline.
        width: units of the LSTM.
        repeats: whether a candidate that was tried may be suggested again.
    """

    def __init__(
        self,
        space: Space,
        seed: int,
        learning_rate: float = 0.00035,
        batch: int = 20,
        epochs: int = 10,
        clip: float = 0.2,
        entropy: float = 0.00001,
        decay: float = 0.95,
        width: int = 100,
        repeats: bool = False,
    ) -> None:
        if min(batch, epochs) < 1 or not clip > 0:
            raise ValueError("batch and epochs must be at least 1, clip above 0")
        controller = Controller(space, seed, width=width, layers=1, spread=0.1)
        super().__init__(space, seed, controller, learning_rate, decay, repeats)
        self._size = batch
        self._epochs = epochs
        self._clip = clip
        self._entropy = entropy
        self._batch: list[tuple[Candidate, float]] = []

    def _reinforce(self, candidate: Candidate, advantage: float) -> None:
        self._batch.append((candidate, advantage))
        if len(self._batch) < self._size:
            return
        candidates = [each for each, _ in self._batch]
        advantages = np.array([each for _, each in self._batch])
        before = self._controller.log_probabilities(candidates)
        for _ in range(self._epochs):
            self._climb(candidates, advantages, before)
        self._batch = []

    def _climb(self, candidates: Sequence[Candidate], advantages: Floats, before: Floats) -> None:
        """Take one step up the clipped objective over the batch."""
        ratios = np.exp(self._controller.log_probabilities(candidates) - before)
        far = np.where(advantages > 0, ratios > 1 + self._clip, ratios < 1 - self._clip)
        weights = np.where(far, 0.0, ratios * advantages)
        total = self._controller.gradient(candidates, weights, self._entropy)
        mean = {name: slope / len(candidates) for name, slope in total.items()}
        self._adam.climb(self._controller.weights, mean)

    def _export(self) -> dict[str, Any]:
        batch = [[dict(candidate), advantage] for candidate, advantage in self._batch]
        return {**super()._export(), "batch": batch}

    def _import(self, own: Any) -> None:
        super()._import(own)
        self._batch = [(candidate, float(advantage)) for candidate, advantage in own["batch"]]
