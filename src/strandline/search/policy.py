"""What the policy-gradient searches share: a controller, its rewards, and their baseline."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from strandline.search.algorithm import Observation
from strandline.search.controller import Adam, pack, unpack
from strandline.search.encoding import Floats
from strandline.search.random import draw_new
from strandline.search.record import Learner
from strandline.search.space import Candidate, Space, candidate_key
from strandline.spec.errors import CorruptArtifactError

# Draws from the policy before one at random is taken: a policy that is sure of its choice
# writes the same candidate again and again. Mostly the first is new; many at once cost
# little more than one.
_DRAWS = (1, 9, 40, 150)


class Policy(Protocol):
    """Draws candidates, more of those that its weights favour."""

    weights: dict[str, Floats]

    def sample(self, rng: np.random.Generator, count: int) -> list[Candidate]:
        """Draw candidates; whether they hold the constraints is not asked."""


P = TypeVar("P", bound=Policy)


class PolicySearch(Learner, Generic[P]):
    """Draws from a policy and rewards it for what it drew.

    Args:
        rate: Adam's learning rate.
        decay: of the moving averages of the rewards and of their spread.
    """

    def __init__(
        self,
        space: Space,
        seed: int,
        controller: P,
        rate: float,
        decay: float,
        repeats: bool,
    ) -> None:
        if not rate > 0 or not 0 <= decay < 1:
            raise ValueError("the learning rate must be above 0, the decay in [0, 1)")
        super().__init__(space, seed, repeats=repeats)
        self._controller = controller
        self._adam = Adam(controller.weights, rate)
        self._decay = decay
        self._baseline: float | None = None
        self._spread = 0.0

    def suggest(self, number: int, pending: Iterable[Candidate]) -> Candidate | None:
        taken = self._unavailable(pending)
        rng = self._rng(number)
        for count in _DRAWS:
            for candidate in self._controller.sample(rng, count):
                is_new = self._repeats or candidate_key(candidate) not in taken
                if is_new and self._space.feasible(candidate):
                    return candidate
        return draw_new(self._space, self._seed, number, taken)

    @abstractmethod
    def _reinforce(self, candidate: Candidate, advantage: float) -> None:
        """Train the controller on one reward, in units of the rewards' spread."""

    def _learn(self, observation: Observation, before: Observation | None) -> None:
        if before is not None or observation.value is None:
            return  # it was rewarded for this candidate already
        if not self._space.contains(observation.candidate):
            return  # the space was edited since
        value = observation.value
        if self._baseline is None:
            self._baseline = value  # as good as the first one: no reward for being first
            return
        apart = abs(value - self._baseline)
        self._spread = apart if not self._spread else self._mix(self._spread, apart)
        if self._spread > 0:
            self._reinforce(observation.candidate, (value - self._baseline) / self._spread)
        self._baseline = self._mix(self._baseline, value)

    def _mix(self, average: float, new: float) -> float:
        return self._decay * average + (1 - self._decay) * new

    def _export(self) -> dict[str, Any]:
        return {
            "weights": pack(self._controller.weights),
            "adam": self._adam.export(),
            "baseline": self._baseline,
            "spread": self._spread,
        }

    def _import(self, own: Any) -> None:
        try:
            self._controller.weights = unpack(own["weights"], self._controller.weights)
            self._adam.take_up(own["adam"])
            self._baseline, self._spread = own["baseline"], float(own["spread"])
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptArtifactError(
                f"the saved controller is of another space or broken ({error})"
            ) from error
