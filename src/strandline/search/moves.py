"""Small steps in a space: what evolution, local search and predictors propose.

All of them keep to conditions and constraints: what a change makes superfluous goes, what
it makes necessary is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from strandline.search.space import Candidate, Categorical, Parameter, Space
from strandline.spec.records import Scalar

# Tries to change a candidate before it is called stuck between its constraints.
_ATTEMPTS = 20
# A number moves by about a tenth of its range (Snoek et al. 2012 propose alike).
_STRIDE = 0.1
# Places on a continuous parameter's range that count as neighbours, on either side.
_STRIDES = (-0.2, -0.05, 0.05, 0.2)


def mutate(space: Space, candidate: Candidate, rng: np.random.Generator) -> Candidate:
    """Return the candidate, one of the space, with one parameter changed.

    Returns:
        a random candidate if no parameter can be changed.
    """
    movable = [p for p in space.movable if p.name in candidate]
    for _ in range(_ATTEMPTS if movable else 0):
        chosen = movable[int(rng.integers(len(movable)))]
        value = _another_value(chosen, candidate[chosen.name], rng)
        changed = {**candidate, chosen.name: value}
        if chosen.name in space.deciding:  # others come or go
            changed = settle(space, changed, rng)
        if space.feasible(changed) and changed != candidate:
            return changed
    return space.sample(rng)


def cross(space: Space, one: Candidate, other: Candidate, rng: np.random.Generator) -> Candidate:
    """Return a candidate that has each parameter from one of the two (uniform crossover)."""
    for _ in range(_ATTEMPTS):
        pick = {
            p.name: (one if (rng.random() < 0.5 or p.name not in other) else other).get(p.name)
            for p in space.parameters
        }
        child = settle(space, {k: v for k, v in pick.items() if v is not None}, rng)
        if space.feasible(child):
            return child
    return mutate(space, one, rng)


def neighbours(space: Space, candidate: Candidate, rng: np.random.Generator) -> Iterator[Candidate]:
    """Yield the candidates that differ in one parameter, those of each kind once.

    A continuous parameter has two neighbours on either side; parameters that a change
    makes necessary are drawn.
    """
    for parameter in space.parameters:
        if parameter.name not in candidate:
            continue
        for value in _near_values(parameter, candidate[parameter.name]):
            changed = settle(space, {**candidate, parameter.name: value}, rng)
            if space.feasible(changed):
                yield changed


def settle(space: Space, wanted: Candidate, rng: np.random.Generator) -> dict[str, Scalar]:
    """Return a candidate with the values wanted where they fit, drawing what is missing."""

    def choose(parameter: Parameter) -> Scalar:
        value = wanted.get(parameter.name)
        fits = value is not None and parameter.allows(value)
        return value if fits and value is not None else parameter.sample(rng)

    return space.walk(choose)


def _another_value(parameter: Parameter, value: Scalar, rng: np.random.Generator) -> Scalar:
    if isinstance(parameter, Categorical) and not parameter.ordered:
        others = [each for each in parameter.values if each is not value and each != value]
        return others[int(rng.integers(len(others)))] if others else value
    unit = parameter.to_unit(value)
    for _ in range(_ATTEMPTS):
        step = max(_STRIDE, 1.0 / parameter.size())
        moved = float(np.clip(unit + step * rng.standard_normal(), 0.0, 1.0))
        if parameter.from_unit(moved) != value:
            return parameter.from_unit(moved)
    return parameter.sample(rng)


def _near_values(parameter: Parameter, value: Scalar) -> list[Scalar]:
    listed = parameter.listed()
    if listed is not None and (not _is_ordered(parameter) or len(listed) <= len(_STRIDES)):
        return [each for each in listed if each != value or type(each) is not type(value)]
    unit = parameter.to_unit(value)
    steps = [
        s if parameter.size() > 1 / abs(s) else np.sign(s) / parameter.size() for s in _STRIDES
    ]
    moved = [parameter.from_unit(float(np.clip(unit + step, 0.0, 1.0))) for step in steps]
    return [each for each in dict.fromkeys(moved) if each != value]


def _is_ordered(parameter: Parameter) -> bool:
    return not isinstance(parameter, Categorical) or parameter.ordered
