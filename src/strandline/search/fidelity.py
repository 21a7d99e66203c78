"""Two fidelities out of what trials gave: full trainings, and an early step most have done.

A scheduler that stops trials early leaves values that may not be compared with those of
full trainings. The step at which most trials have a value is taken as the low fidelity;
what only reached other steps is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from strandline.search.algorithm import Observation
from strandline.search.encoding import Floats
from strandline.search.space import Candidate
from strandline.search.surrogate import normal_scores

# Early values may take what is left of the room, and a quarter of it at least.
_FULL_SHARE = 0.75


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a surrogate learns from.

    Attributes:
        candidates: n of them; one that has both fidelities stands here twice.
        low: [n], which values are of the low fidelity.
        scores: [n], normal scores, of each fidelity among its own.
    """

    candidates: Sequence[Candidate]
    low: NDArray[np.bool_]
    scores: Floats


def gather(observations: Sequence[Observation]) -> Evidence:
    """Return the evidence in observations that all have a value."""
    complete = [each for each in observations if each.complete]
    step = _low_step(observations)
    early = [(each, value) for each in observations if (value := _at(each, step)) is not None]
    if not complete:
        # No training is full yet: the low fidelity is all there is.
        early = early or [(each, float(each.value or 0.0)) for each in observations]
        scores = normal_scores(np.array([value for _, value in early]))
        return Evidence([each.candidate for each, _ in early], np.zeros(len(early), bool), scores)
    full = normal_scores(np.array([each.value for each in complete], np.float64))
    if step is None or len(early) < 2:
        return Evidence([e.candidate for e in complete], np.zeros(len(complete), bool), full)
    rough = normal_scores(np.array([value for _, value in early]))
    candidates = [each.candidate for each in complete] + [each.candidate for each, _ in early]
    low = np.arange(len(candidates)) >= len(complete)
    return Evidence(candidates, low, np.concatenate([full, rough]))


def _low_step(observations: Sequence[Observation]) -> int | None:
    """Return the step most trials have done; the latest among equals.

    None when every trial was a full one: then early steps tell nothing more.
    """
    if all(each.complete for each in observations):
        return None
    counts: Counter[int] = Counter()
    for each in observations:
        counts.update(step for step, _ in (each.curve[:-1] if each.complete else each.curve))
    return max(counts, key=lambda step: (counts[step], step), default=None)


def _at(observation: Observation, step: int | None) -> float | None:
    if step is None:
        return None
    curve = observation.curve[:-1] if observation.complete else observation.curve
    return next((value for at, value in curve if at == step), None)


def choose(evidence: Evidence, most: int) -> NDArray[np.int64]:
    """Return the places of at most so much evidence, full trainings before early values.

    A surrogate takes so long to learn from very much.
    """
    full, early = np.flatnonzero(~evidence.low), np.flatnonzero(evidence.low)
    room = max(most - len(early), int(_FULL_SHARE * most))
    full = full[_spread(evidence.scores[full], room)]
    early = early[_spread(evidence.scores[early], most - len(full))]
    return np.sort(np.concatenate([full, early]))


def _spread(scores: Floats, most: int) -> NDArray[np.int64]:
    """Return the places of at most so many scores: the best half of them, and every kth other."""
    if len(scores) <= most:
        return np.arange(len(scores))
    order = np.argsort(-scores, kind="stable")
    best, rest = order[: most // 2], order[most // 2 :]
    picked = rest[np.linspace(0, len(rest) - 1, most - len(best)).astype(np.int64)]
    return np.sort(np.concatenate([best, picked]))
