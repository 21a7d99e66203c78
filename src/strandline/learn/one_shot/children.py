"""The children of a search with shared weights: drawn from what the controller has learned.

Nothing here needs torch: the process that decides what to try draws them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from strandline.learn.scratch.recipe import scratch_space
from strandline.search.enas import EnasSearch
from strandline.search.registry import make_algorithm
from strandline.search.space import Candidate, Space
from strandline.spec.errors import CorruptArtifactError
from strandline.spec.records import Scalar
from strandline.spec.search_space import Space as SpaceSpec

POLICY = "policy"
"""Name of the checkpoint's tensor, uint8, that holds the controller's state."""
# Draws for each child that is wanted: a policy that is sure repeats itself.
_DRAWS_PER_CHILD = 20


def make_policy(space: Space, seed: int, settings: Mapping[str, Scalar]) -> EnasSearch:
    """Return the untrained controller of a search.

    Raises:
        InvalidSpecError: no such setting.
    """
    made = make_algorithm("enas", space, seed, {**settings, "repeats": True})
    assert isinstance(made, EnasSearch), "registered so"
    return made


def draw_children(
    shared: bytes,
    written: SpaceSpec,
    labels: int,
    settings: Mapping[str, Scalar],
    seed: int,
    count: int,
) -> Sequence[Candidate]:
    """Draw at most so many different cells from a trained controller.

    Args:
        shared: a checkpoint of the shared weights.
        written: the space of the Search.

    Raises:
        CorruptArtifactError: it is no such checkpoint.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    space = scratch_space(written, labels)
    policy = make_policy(space, seed, settings)
    try:
        policy.load(load(shared)[POLICY].tobytes())
    except (SafetensorError, KeyError) as error:
        raise CorruptArtifactError(f"these are no shared weights ({error})") from error
    found: dict[str, Candidate] = {}
    rng = np.random.default_rng([seed, count])
    for _ in range(_DRAWS_PER_CHILD * count):
        if len(found) == count:
            break
        candidate = policy.controller.sample(rng)
        if space.feasible(candidate):
            found.setdefault(space.canonical(candidate), candidate)
    return list(found.values())
