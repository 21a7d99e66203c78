"""The controller of a search with shared weights (ENAS; Pham et al. 2018, arXiv 1802.03268).

In a Search it is trained twice. While the shared weights learn (`strandline.learn.one_shot`)
it draws the children that they learn as, and is rewarded by how those do with them. Then
the children it draws are scored one by one as trials, and it goes on from their scores: by
REINFORCE with a moving baseline, as where nothing is shared.
"""

from __future__ import annotations

from strandline.search.controller import Controller
from strandline.search.reinforce import ReinforceSearch
from strandline.search.space import Candidate, Space


class EnasSearch(ReinforceSearch):
    """REINFORCE over children that share their weights.

    Args:
        epochs: times that the shared weights see each of their training images.
        rewards: children that the controller is rewarded for after each of these epochs.
        entropy: weight of the policy's entropy beside an advantage of one spread, so that it
            does not settle while the weights tell little.
        learning_rate: of Adam, for the controller.
        width, layers: of the controller's LSTM.
        decay: of the baseline.
        repeats: whether a candidate that was tried may be suggested again.
    """

    def __init__(
        self,
        space: Space,
        seed: int,
        epochs: int = 20,
        rewards: int = 30,
        entropy: float = 0.01,
        learning_rate: float = 0.01,
        width: int = 35,
        layers: int = 2,
        decay: float = 0.9,
        repeats: bool = False,
    ) -> None:
        if epochs < 1 or rewards < 0 or entropy < 0:
            raise ValueError("epochs must be at least 1, rewards and entropy not below 0")
        super().__init__(space, seed, learning_rate, width, layers, decay, repeats)
        self._entropy = entropy
        self.epochs, self.rewards = epochs, rewards

    @property
    def controller(self) -> Controller:
        """The policy as it is now."""
        return self._controller

    def _reinforce(self, candidate: Candidate, advantage: float) -> None:
        gradient = self._controller.gradient(candidate, advantage, self._entropy)
        self._adam.climb(self._controller.weights, gradient)
