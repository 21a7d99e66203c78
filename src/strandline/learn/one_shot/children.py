"""The children of a search with shared weights: drawn from what its policy has learned.

Nothing here needs torch: the process that decides what to try draws them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Protocol

import numpy as np

from strandline.learn.scratch.recipe import scratch_space
from strandline.search.algorithm import Algorithm
from strandline.search.registry import make_algorithm
from strandline.search.space import Candidate, Space
from strandline.spec.errors import CorruptArtifactError
from strandline.spec.search_space import Space as SpaceSpec
from strandline.spec.v1alpha1 import NamedChoice

POLICY = "policy"
"""Name of the checkpoint's tensor, uint8, that holds the policy's state."""
# Draws for each child that is wanted: a policy that is sure repeats itself.
_DRAWS_PER_CHILD = 20


class OneShotAlgorithm(Algorithm, Protocol):
    """An algorithm that is trained along with shared weights before the first trial.

    Attributes:
        epochs: times that the weights see each of their training images.
        siblings: children that divide each batch of these among them.
        warmup: share of the epochs in which the weights learn, and the policy does not.
    """

    epochs: int
    siblings: int
    warmup: float

    def children(self, rng: np.random.Generator) -> Iterator[Candidate]:
        """Yield what to try after that, the best guess first, without end."""


def make_policy(space: Space, seed: int, chosen: NamedChoice) -> OneShotAlgorithm:
    """Return the untrained policy of a search.

    Args:
        chosen: the Search's algorithm, one of `ONE_SHOT`.

    Raises:
        InvalidSpecError: no such setting.
    """
    settings = {**chosen.settings, "repeats": True}
    made: OneShotAlgorithm = make_algorithm(chosen.name, space, seed, settings)  # type: ignore[assignment]  # those of ONE_SHOT are
    return made


def draw_children(
    shared: bytes,
    written: SpaceSpec,
    labels: int,
    chosen: NamedChoice,
    seed: int,
    count: int,
) -> Sequence[Candidate]:
    """Draw at most so many different cells from a trained policy.

    Args:
        shared: a checkpoint of the shared weights.
        written: the space of the Search.
        chosen: its algorithm.

    Raises:
        CorruptArtifactError: it is no such checkpoint.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    space = scratch_space(written, labels)
    policy = make_policy(space, seed, chosen)
    try:
        policy.load(load(shared)[POLICY].tobytes())
    except (SafetensorError, KeyError) as error:
        raise CorruptArtifactError(f"these are no shared weights ({error})") from error
    found: dict[str, Candidate] = {}
    drawn = policy.children(np.random.default_rng([seed, count]))
    for candidate in islice(drawn, _DRAWS_PER_CHILD * count):
        if len(found) == count:
            break
        if space.feasible(candidate):
            found.setdefault(space.canonical(candidate), candidate)
    return list(found.values())
