"""Differentiable search: a strength for every option, moved by gradients (DARTS and after).

Liu et al. 2019 (arXiv 1806.09055) let an architecture be a softmax over the options of each
decision and descend its loss on held-out images, in turns with the weights. In a Search that
is the training before the first trial (`strandline.learn.one_shot.relaxed`); its children are
then the likeliest candidate and draws, and are scored one by one. As an algorithm of its
own, where nothing can be differentiated, strengths follow the scores by REINFORCE.

Searches of this kind collapse into cells of skip connections (Zela et al., arXiv 1909.09656).
The guard against that is a limit on them in a cell, two as in P-DARTS (arXiv 1904.12760) and
DARTS+ (arXiv 1909.06035); it holds for every candidate that is drawn, in training as well,
so that neither strengths nor weights can follow a collapse.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np

from strandline.search.controller import nearest_option, options_of
from strandline.search.enas import check_sharing
from strandline.search.encoding import Floats
from strandline.search.fair import turns
from strandline.search.policy import PolicySearch
from strandline.search.space import Candidate, Space
from strandline.spec.records import Scalar

SKIPS = frozenset({"skip_connect", "identity"})
"""Operations that do nothing."""
SAMPLED, MIXED = "sampled", "mixed"
"""How the architecture is relaxed: a cell drawn for each step, or all operations at once."""
# How far strengths are from equal in the beginning, as published.
_SPREAD = 1e-3


class Strengths:
    """A softmax over the options of each parameter, whatever the others are.

    Attributes:
        weights: logits by parameter.
        options: what they are of.
        skips: most skip connections that one cell may have.
    """

    def __init__(self, space: Space, seed: int, skips: int) -> None:
        self._space = space
        self.skips = skips
        self.options = {each.name: options_of(each) for each in space.parameters}
        rng = np.random.default_rng([seed, len(self.options)])
        self.weights: dict[str, Floats] = {
            name: _SPREAD * rng.standard_normal(len(options))
            for name, options in self.options.items()
        }

    def odds(self, name: str) -> Floats:
        """Return the probability of each option of a parameter."""
        raised = np.exp(self.weights[name] - self.weights[name].max())
        return np.asarray(raised / raised.sum())

    def noise(self, rng: np.random.Generator) -> dict[str, Floats]:
        """Draw Gumbel noise: the likeliest candidate with it is a draw from the softmax."""
        return {name: rng.gumbel(size=len(each)) for name, each in self.weights.items()}

    def sample(self, rng: np.random.Generator, count: int) -> list[Candidate]:
        """Draw candidates within the limit."""
        return [self.likeliest(self.noise(rng)) for _ in range(count)]

    def sample_uniform(self, rng: np.random.Generator, count: int) -> list[Candidate]:
        """Draw candidates within the limit as if all strengths were equal, each option in turn."""
        first = {name: turns(len(each), rng, count) for name, each in self.weights.items()}
        drawn = []
        for row in range(count):
            levels = {name: rng.random(len(each)) for name, each in self.weights.items()}
            for name, places in first.items():
                levels[name][places[row]] += 1.0  # above all others
            drawn.append(self._best(levels))
        return drawn

    def likeliest(self, noise: Mapping[str, Floats] | None = None) -> Candidate:
        """Return the candidate of the largest sum of strengths, and noise, within the limit."""
        if noise is None:
            return self._best(self.weights)
        return self._best({name: each + noise[name] for name, each in self.weights.items()})

    def gradient(self, candidate: Candidate, weight: float) -> dict[str, Floats]:
        """Return the gradient of weight · log p(candidate); limits are not accounted for."""
        gradient = {name: np.zeros_like(each) for name, each in self.weights.items()}
        for parameter in self._space.parameters:
            name = parameter.name
            if name in candidate:
                gradient[name] = -weight * self.odds(name)
                place = nearest_option(parameter, self.options[name], candidate[name])
                gradient[name][place] += weight
        return gradient

    def _best(self, levels: Mapping[str, Floats]) -> Candidate:
        """Return the candidate of the largest sum of levels within the limit.

        Decisions do not depend on each other, so the best way to keep the limit is to give up
        those skip connections that lead least.
        """
        chosen = {name: int(np.argmax(each)) for name, each in levels.items()}
        chosen |= dict(self._beyond(levels, chosen))
        return self._space.walk(lambda p: self.options[p.name][chosen[p.name]])

    def _beyond(
        self, levels: Mapping[str, Floats], chosen: Mapping[str, int]
    ) -> Iterator[tuple[str, int]]:
        """Yield what to choose instead of the skip connections that are too many."""
        leads: dict[str, list[tuple[float, str, int]]] = {}
        for name, option in chosen.items():
            others = [n for n, value in enumerate(self.options[name]) if value not in SKIPS]
            if self.options[name][option] in SKIPS and others:
                second = max(others, key=lambda each: levels[name][each])
                lead = float(levels[name][option] - levels[name][second])
                leads.setdefault(_cell_of(name), []).append((lead, name, second))
        for found in leads.values():
            for _, name, second in sorted(found)[: max(0, len(found) - self.skips)]:
                yield name, second


class DartsSearch(PolicySearch[Strengths]):
    """Strengths that follow gradients of shared weights, and scores.

    Args:
        epochs: times that the shared weights see each of their training images.
        relaxation: `sampled` draws a cell for each step (GDAS, arXiv 1910.04465), `mixed` runs
            all operations at once, weighted, as DARTS does; for some spaces only.
        skips: most skip connections that a cell may have.
        warmup: share of the epochs before strengths move (Chen et al. 2019, arXiv 1904.12760).
        siblings: children that divide each batch of the weights among them, where cells are drawn.
        uniform: share of them that are drawn uniformly (Guo et al. 2019, arXiv 1904.00420).
        learning_rate, weight_decay: of Adam, for the strengths.
        decay: of the baseline, where strengths follow scores.
        repeats: whether a candidate that was tried may be suggested again.
    """

    def __init__(
        self,
        space: Space,
        seed: int,
        epochs: int = 60,
        relaxation: str = SAMPLED,
        skips: int = 2,
        warmup: float = 0.5,
        siblings: int = 5,
        uniform: float = 0.5,
        learning_rate: float = 0.01,
        weight_decay: float = 0.001,
        decay: float = 0.9,
        repeats: bool = False,
    ) -> None:
        if relaxation not in (SAMPLED, MIXED):
            raise ValueError(f"relaxation must be {SAMPLED} or {MIXED}")
        check_sharing(epochs, siblings, warmup, uniform)
        if min(skips, weight_decay) < 0:
            raise ValueError("skips and weight_decay must not be below 0")
        strengths = Strengths(space, seed, skips)
        super().__init__(space, seed, strengths, learning_rate, decay, repeats)
        self._weight_decay = weight_decay
        self.epochs, self.relaxation = epochs, relaxation
        self.siblings, self.warmup, self.uniform = siblings, warmup, uniform

    @property
    def strengths(self) -> Strengths:
        """The policy as it is now."""
        return self._controller

    def descend(self, gradient: Mapping[str, Floats]) -> None:
        """Move the strengths down the gradient of a loss."""
        weights = self._controller.weights
        up = {name: -each - self._weight_decay * weights[name] for name, each in gradient.items()}
        self._adam.climb(weights, up)

    def children(self, rng: np.random.Generator) -> Iterator[Candidate]:
        """Yield the likeliest candidate, then draws without end."""
        yield self.strengths.likeliest()
        while True:
            yield from self.strengths.sample(rng, 1)

    def _reinforce(self, candidate: Candidate, advantage: float) -> None:
        self.descend(self.strengths.gradient(candidate, -advantage))


def count_skips(candidate: Candidate) -> dict[str, int]:
    """Return the number of skip connections by cell."""
    return dict(Counter(_cell_of(name) for name, value in candidate.items() if _skips(value)))


def _skips(value: Scalar) -> bool:
    return value in SKIPS


def _cell_of(name: str) -> str:
    """Return which cell a decision is of, by the first word of its name."""
    return name.partition("_")[0]
