"""The controller of a search with shared weights (ENAS; Pham et al. 2018, arXiv 1802.03268).

In a Search it is trained twice. While the shared weights learn (`strandline.learn.one_shot`)
it draws the children that they learn as, and is rewarded by how those do with them. Then
the children it draws are scored one by one as trials, and it goes on from their scores: by
REINFORCE with a moving baseline, as where nothing is shared.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from strandline.search.controller import Controller
from strandline.search.reinforce import ReinforceSearch
from strandline.search.space import Candidate, Space


class EnasSearch(ReinforceSearch):
    """REINFORCE over children that share their weights.

    Args:
        epochs: times that the shared weights see each of their training images.
        rewards: children that the controller is rewarded for after each of these epochs.
        uniform: share of the batches that weights learn as a child drawn uniformly (Guo et
            al. 2019, arXiv 1904.00420): a policy that settles early is otherwise right in the
            end, for nobody else's weights have learned anything.
        entropy: weight of the policy's entropy beside an advantage of one spread.
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
        uniform: float = 0.5,
        entropy: float = 0.1,
        learning_rate: float = 0.003,
        width: int = 35,
        layers: int = 2,
        decay: float = 0.9,
        repeats: bool = False,
    ) -> None:
        if epochs < 1 or rewards < 0 or entropy < 0 or not 0 <= uniform <= 1:
            raise ValueError(
                "epochs must be at least 1, rewards and entropy not below 0, uniform in [0, 1]"
            )
        super().__init__(space, seed, learning_rate, width, layers, decay, repeats)
        self._entropy = entropy
        self.epochs, self.rewards, self.uniform = epochs, rewards, uniform

    @property
    def controller(self) -> Controller:
        """The policy as it is now."""
        return self._controller

    def children(self, rng: np.random.Generator) -> Iterator[Candidate]:
        """Yield draws of the controller without end."""
        while True:
            yield from self.controller.sample(rng, 1)

    def _reinforce(self, candidate: Candidate, advantage: float) -> None:
        advantages = np.array([advantage])
        gradient = self._controller.gradient([candidate], advantages, self._entropy)
        self._adam.climb(self._controller.weights, gradient)
