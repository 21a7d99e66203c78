"""Typed search spaces: what a candidate may be, and when a parameter exists at all.

A `Space` is an ordered tuple of parameters in which a conditional parameter stands after
the one it depends on, so that one walk from front to back samples, checks or encodes a
candidate. A candidate is a plain mapping from names to scalars; parameters whose
condition does not hold are absent from it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from strandline.search.constraints import Constraint
from strandline.search.parameters import (
    Candidate,
    Categorical,
    Condition,
    Float,
    Int,
    Parameter,
    check_range,
)
from strandline.spec.errors import InvalidSpecError
from strandline.spec.records import Scalar, canonical_json
from strandline.spec.search_space import Parameter as ParameterSpec, ParameterType

__all__ = [
    "Candidate",
    "Categorical",
    "Condition",
    "Constraint",
    "Float",
    "Int",
    "Parameter",
    "Space",
    "Structure",
    "candidate_key",
    "space_from_spec",
    "space_to_spec",
]

# Draws that break a constraint before the space is said to be too narrow to draw from.
_ATTEMPTS = 1000


class Structure(Protocol):
    """What is known of candidates beyond their parameters, such as the cell they make."""

    def canonical(self, candidate: Candidate) -> str:
        """Return a text shared by candidates that are the same thing written differently."""

    def features(self, candidate: Candidate) -> NDArray[np.float32]:
        """Return numbers that predict how good the candidate is, always as many."""

    def proxies(self, candidate: Candidate) -> NDArray[np.float32]:
        """Return what is known without training: sizes, costs, zero-cost scores."""


@dataclass(frozen=True, slots=True)
class Space:
    """An ordered set of parameters, the constraints on them, and the structure they make.

    Attributes:
        movable: the parameters that have more than one value.
        deciding: the names of those that others depend on.

    Raises:
        InvalidSpecError: a name stands twice, a range is empty, a condition names a
            parameter that does not stand before, or a constraint one that is not here.
    """

    parameters: tuple[Parameter, ...]
    constraints: tuple[Constraint, ...] = ()
    structure: Structure | None = None
    movable: tuple[Parameter, ...] = field(init=False, repr=False, compare=False)
    deciding: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for parameter in self.parameters:
            if parameter.name in seen:
                raise InvalidSpecError(f"parameter {parameter.name!r} stands twice in the space")
            if parameter.when is not None and parameter.when.parameter not in seen:
                raise InvalidSpecError(
                    f"parameter {parameter.name!r} depends on {parameter.when.parameter!r}, "
                    "which must stand before it"
                )
            check_range(parameter)
            seen.add(parameter.name)
        for constraint in self.constraints:
            if unknown := sorted(constraint.names - seen):
                raise InvalidSpecError(
                    f"constraint {constraint.text!r} names {unknown[0]!r}, "
                    "which is no parameter of the space"
                )
        deciding = {p.when.parameter for p in self.parameters if p.when is not None}
        object.__setattr__(self, "deciding", frozenset(deciding))
        object.__setattr__(self, "movable", tuple(p for p in self.parameters if p.size() > 1))

    def walk(self, choose: Callable[[Parameter], Scalar]) -> dict[str, Scalar]:
        """Build a candidate: ask `choose` for each parameter that exists, in order.

        Whether it holds the constraints is not looked at.
        """
        candidate: dict[str, Scalar] = {}
        for parameter in self.parameters:
            if parameter.when is None or parameter.when.holds(candidate):
                candidate[parameter.name] = choose(parameter)
        return candidate

    def sample(self, rng: np.random.Generator) -> dict[str, Scalar]:
        """Draw a candidate that holds the constraints.

        Raises:
            InvalidSpecError: a thousand draws found none.
        """
        for _ in range(_ATTEMPTS):
            candidate = self.walk(lambda parameter: parameter.sample(rng))
            if self.feasible(candidate):
                return candidate
        texts = "; ".join(constraint.text for constraint in self.constraints)
        raise InvalidSpecError(f"next to no candidate holds the constraints ({texts}): widen them")

    def feasible(self, candidate: Candidate) -> bool:
        """Return whether the candidate holds all constraints."""
        return all(constraint.holds(candidate) for constraint in self.constraints)

    def canonical(self, candidate: Candidate) -> str:
        """Return a text that candidates share which are the same thing."""
        if self.structure is None:
            return candidate_key(candidate)
        return self.structure.canonical(candidate)

    def list_candidates(self) -> Iterator[dict[str, Scalar]]:
        """List all candidates that hold the constraints, each once.

        Raises:
            InvalidSpecError: there is no end of them.
        """
        listed = [parameter.listed() for parameter in self.parameters]
        if any(values is None for values in listed):
            raise InvalidSpecError("a space with a continuous parameter has no list")
        names = [parameter.name for parameter in self.parameters]
        conditional = any(parameter.when is not None for parameter in self.parameters)
        seen: set[str] = set()
        for values in product(*(each or () for each in listed)):
            chosen = dict(zip(names, values, strict=True))
            candidate = self.walk(lambda parameter, chosen=chosen: chosen[parameter.name])  # type: ignore[misc]  # bound early
            if conditional:
                key = candidate_key(candidate)
                if key in seen:
                    continue
                seen.add(key)
            if self.feasible(candidate):
                yield candidate

    def validate(self, candidate: Candidate) -> None:
        """Check that `candidate` is one of this space.

        Raises:
            InvalidSpecError: a value is missing, superfluous or not allowed.
        """
        active: dict[str, Scalar] = {}
        for parameter in self.parameters:
            if parameter.when is not None and not parameter.when.holds(active):
                continue
            if parameter.name not in candidate:
                raise InvalidSpecError(f"the candidate lacks parameter {parameter.name!r}")
            value = candidate[parameter.name]
            if not parameter.allows(value):
                raise InvalidSpecError(f"{parameter.name} = {value!r} is not in {parameter}")
            active[parameter.name] = value
        if superfluous := sorted(set(candidate) - set(active)):
            raise InvalidSpecError(f"{', '.join(superfluous)}: no such parameter here")
        for constraint in self.constraints:
            if not constraint.holds(candidate):
                raise InvalidSpecError(f"the candidate breaks the constraint {constraint.text!r}")

    def contains(self, candidate: Candidate) -> bool:
        """Return whether `candidate` is one of this space."""
        try:
            self.validate(candidate)
        except InvalidSpecError:
            return False
        return True

    def size(self) -> float:
        """Return the number of candidates; infinite when a float is among them.

        An upper bound where there are constraints, and where conditions depend on
        conditions that exclude each other.
        """
        return math.prod((self._size_below(p) for p in self.parameters if p.when is None), start=1)

    def _size_below(self, parameter: Parameter) -> float:
        children = [p for p in self.parameters if p.when and p.when.parameter == parameter.name]
        if not isinstance(parameter, Categorical) or not children:
            return parameter.size() * math.prod((self._size_below(c) for c in children), start=1)
        return sum(
            math.prod(
                (self._size_below(c) for c in children if c.when and value in c.when.values),
                start=1,
            )
            for value in parameter.values
        )


def candidate_key(candidate: Candidate) -> str:
    """Return a text that equal candidates share, whatever the order of their parameters."""
    return canonical_json(dict(candidate)).decode()


def space_from_spec(parameters: Sequence[ParameterSpec], constraints: Sequence[str] = ()) -> Space:
    """Build the space of a Search kind's custom parameters, sorting parents first.

    Values of categoricals stay the text that was written.

    Raises:
        InvalidSpecError: conditions run in a circle, or a constraint cannot be read.
    """
    left = list(parameters)
    ordered: list[Parameter] = []
    while left:
        known = {parameter.name for parameter in ordered}
        ready = [p for p in left if p.when is None or p.when.parameter in known]
        if not ready:
            names = ", ".join(sorted(p.name for p in left))
            raise InvalidSpecError(f"the conditions of {names} run in a circle")
        ordered.extend(_parameter_from_spec(p, parameters) for p in ready)
        left = [p for p in left if p not in ready]
    return Space(tuple(ordered), tuple(map(Constraint, constraints)))


def _parameter_from_spec(spec: ParameterSpec, among: Sequence[ParameterSpec]) -> Parameter:
    when = None
    if spec.when is not None:
        decider = next(p for p in among if p.name == spec.when.parameter)
        when = Condition(spec.when.parameter, _typed_values(decider, spec.when.values))
    if spec.type in (ParameterType.CATEGORICAL, ParameterType.ORDINAL):
        ordered = spec.type is ParameterType.ORDINAL
        return Categorical(spec.name, tuple(spec.values or ()), when, ordered)
    low, high = _bound(spec.min), _bound(spec.max)
    if spec.type is ParameterType.INT:
        return Int(spec.name, int(low), int(high), spec.log, int(spec.step or 1), when)
    return Float(spec.name, low, high, spec.log, when, spec.step)


def _typed_values(decider: ParameterSpec, values: Sequence[str]) -> tuple[Scalar, ...]:
    try:
        if decider.type is ParameterType.INT:
            return tuple(int(value) for value in values)
        if decider.type is ParameterType.FLOAT:
            return tuple(float(value) for value in values)
    except ValueError as error:
        raise InvalidSpecError(f"a condition on {decider.name!r}: {error}") from error
    return tuple(values)


def _bound(value: float | None) -> float:
    assert value is not None, "the Parameter kind's own rules ask for both bounds"
    return value


def space_to_spec(space: Space) -> list[ParameterSpec]:
    """Return the parameters as the Search kind writes them, values as text.

    `space_from_spec` gives the space again, but for values that were not text.
    """
    return [ParameterSpec.model_validate(_written(parameter)) for parameter in space.parameters]


def _written(parameter: Parameter) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": parameter.name}
    if isinstance(parameter, Categorical):
        entry["type"] = ParameterType.ORDINAL if parameter.ordered else ParameterType.CATEGORICAL
        entry["values"] = [_as_text(value) for value in parameter.values]
    else:
        entry["type"] = ParameterType.INT if isinstance(parameter, Int) else ParameterType.FLOAT
        entry |= {"min": parameter.low, "max": parameter.high, "log": parameter.log}
        entry |= {"step": parameter.step} if parameter.step not in (None, 1) else {}
    if parameter.when is not None:
        values = [_as_text(value) for value in parameter.when.values]
        entry["when"] = {"parameter": parameter.when.parameter, "values": values}
    return entry


def _as_text(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
