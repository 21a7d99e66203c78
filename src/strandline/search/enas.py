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


def check_sharing(epochs: int, siblings: int, warmup: float, uniform: float) -> None:
    """Raise ValueError for what no weights can be shared by."""
    if min(epochs, siblings) < 1:
        raise ValueError("epochs and siblings must be at least 1")
    if not 0 <= warmup < 1 or not 0 <= uniform <= 1:
        raise ValueError("warmup must be in [0, 1), uniform in [0, 1]")


class EnasSearch(ReinforceSearch):
    """REINFORCE over children that share their weights.

    Args:
        epochs: times that the shared weights see each of their training images.
        rewards: children that the controller is rewarded for after each of these epochs.
        warmup: share of the epochs before the controller is heard and rewarded (Chen et al.
            2019, arXiv 1904.12760): early on cells of skip connections do best, whose weights
            need no learning.
        siblings: children that divide each batch among them.
        uniform: share of them that are drawn uniformly (Guo et al. 2019, arXiv 1904.00420): a
            policy that settles early is otherwise right in the end, for nobody else's weights
            have learned anything.
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
        epochs: int = 60,
        rewards: int = 30,
        warmup: float = 0.5,
        siblings: int = 5,
        uniform: float = 0.5,
        entropy: float = 0.1,
        learning_rate: float = 0.003,
        width: int = 35,
        layers: int = 2,
        decay: float = 0.9,
        repeats: bool = False,
    ) -> None:
        check_sharing(epochs, siblings, warmup, uniform)
        if min(rewards, entropy) < 0:
            raise ValueError("rewards and entropy must not be below 0")
        super().__init__(space, seed, learning_rate, width, layers, decay, repeats)
        self._entropy = entropy
        self.epochs, self.rewards = epochs, rewards
        self.siblings, self.warmup, self.uniform = siblings, warmup, uniform

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
