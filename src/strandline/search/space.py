"""Typed search spaces: what a candidate may be, and when a parameter exists at all.

A `Space` is an ordered tuple of parameters in which a conditional parameter stands after
the one it depends on, so that one walk from front to back samples, checks or encodes a
candidate. A candidate is a plain mapping from names to scalars; parameters whose
condition does not hold are absent from it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from strandline.spec.errors import InvalidSpecError
from strandline.spec.records import Scalar, canonical_json
from strandline.spec.search_space import Parameter as ParameterSpec, ParameterType

Candidate = Mapping[str, Scalar]


@dataclass(frozen=True, slots=True)
class Condition:
    """Holds while `parameter` is present and has one of `values`."""

    parameter: str
    values: tuple[Scalar, ...]

    def holds(self, candidate: Candidate) -> bool:
        """Return whether the condition holds for what is chosen so far."""
        return self.parameter in candidate and candidate[self.parameter] in self.values


@dataclass(frozen=True, slots=True)
class Float:
    """A real number in [low, high], both inclusive; `log` needs low > 0."""

    name: str
    low: float
    high: float
    log: bool = False
    when: Condition | None = None

    def sample(self, rng: np.random.Generator) -> Scalar:
        """Draw a value, uniform on the (logarithmic) scale."""
        return self.from_unit(float(rng.random()))

    def from_unit(self, unit: float) -> Scalar:
        """Map [0, 1] onto the range."""
        if self.log:
            low, high = math.log(self.low), math.log(self.high)
            return min(self.high, max(self.low, math.exp(low + unit * (high - low))))
        return min(self.high, max(self.low, self.low + unit * (self.high - self.low)))

    def allows(self, value: Scalar) -> bool:
        """Return whether `value` is a number in the range."""
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and self.low <= value <= self.high  # type: ignore[operator]  # a number

    def size(self) -> float:
        """Return how many values there are."""
        return math.inf


@dataclass(frozen=True, slots=True)
class Int:
    """A whole number in {low, low + step, …, ≤ high}; `log` needs low > 0 and step 1."""

    name: str
    low: int
    high: int
    log: bool = False
    step: int = 1
    when: Condition | None = None

    def sample(self, rng: np.random.Generator) -> Scalar:
        """Draw a value, uniform on the (logarithmic) scale."""
        return self.from_unit(float(rng.random()))

    def from_unit(self, unit: float) -> Scalar:
        """Map [0, 1] onto the values, each with its fair share."""
        if self.log:
            low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
            return min(self.high, max(self.low, round(math.exp(low + unit * (high - low)))))
        count = (self.high - self.low) // self.step + 1
        return self.low + self.step * min(count - 1, int(unit * count))

    def allows(self, value: Scalar) -> bool:
        """Return whether `value` is one of the whole numbers."""
        if not isinstance(value, int) or isinstance(value, bool):
            return False
        return self.low <= value <= self.high and (value - self.low) % self.step == 0

    def size(self) -> float:
        """Return how many values there are."""
        return float((self.high - self.low) // self.step + 1)


@dataclass(frozen=True, slots=True)
class Categorical:
    """One of `values`, without an order."""

    name: str
    values: tuple[Scalar, ...]
    when: Condition | None = None

    def sample(self, rng: np.random.Generator) -> Scalar:
        """Draw a value, each equally likely."""
        return self.values[int(rng.integers(len(self.values)))]

    def from_unit(self, unit: float) -> Scalar:
        """Map [0, 1] onto the values, each with its fair share."""
        return self.values[min(len(self.values) - 1, int(unit * len(self.values)))]

    def allows(self, value: Scalar) -> bool:
        """Return whether `value` is one of the values, and of the same type."""
        return any(value == each and type(value) is type(each) for each in self.values)

    def size(self) -> float:
        """Return how many values there are."""
        return float(len(self.values))


Parameter = Float | Int | Categorical


@dataclass(frozen=True, slots=True)
class Space:
    """An ordered set of parameters.

    Raises:
        InvalidSpecError: a name stands twice, a range is empty, or a condition names a
            parameter that does not stand before.
    """

    parameters: tuple[Parameter, ...]

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
            _check_range(parameter)
            seen.add(parameter.name)

    def walk(self, choose: Callable[[Parameter], Scalar]) -> dict[str, Scalar]:
        """Build a candidate: ask `choose` for each parameter that exists, in order."""
        candidate: dict[str, Scalar] = {}
        for parameter in self.parameters:
            if parameter.when is None or parameter.when.holds(candidate):
                candidate[parameter.name] = choose(parameter)
        return candidate

    def sample(self, rng: np.random.Generator) -> dict[str, Scalar]:
        """Draw a candidate."""
        return self.walk(lambda parameter: parameter.sample(rng))

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

    def contains(self, candidate: Candidate) -> bool:
        """Return whether `candidate` is one of this space."""
        try:
            self.validate(candidate)
        except InvalidSpecError:
            return False
        return True

    def size(self) -> float:
        """Return the number of candidates; infinite when a float is among them.

        An upper bound where conditions depend on conditions that exclude each other.
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


def space_from_spec(parameters: Sequence[ParameterSpec]) -> Space:
    """Build the space of a Search kind's custom parameters, sorting parents first.

    Values of categoricals stay the text that was written.

    Raises:
        InvalidSpecError: conditions run in a circle.
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
    return Space(tuple(ordered))


def _parameter_from_spec(spec: ParameterSpec, among: Sequence[ParameterSpec]) -> Parameter:
    when = None
    if spec.when is not None:
        decider = next(p for p in among if p.name == spec.when.parameter)
        when = Condition(spec.when.parameter, _typed_values(decider, spec.when.values))
    if spec.type is ParameterType.CATEGORICAL:
        return Categorical(spec.name, tuple(spec.values or ()), when)
    low, high = _bound(spec.min), _bound(spec.max)
    if spec.type is ParameterType.INT:
        return Int(spec.name, int(low), int(high), spec.log, 1, when)
    return Float(spec.name, low, high, spec.log, when)


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


def _check_range(parameter: Parameter) -> None:
    if isinstance(parameter, Categorical):
        if not parameter.values:
            raise InvalidSpecError(f"parameter {parameter.name!r} has no values")
        return
    if not parameter.low <= parameter.high or (parameter.log and parameter.low <= 0):
        raise InvalidSpecError(
            f"parameter {parameter.name!r}: low must not be above high, and above 0 for log"
        )
    if isinstance(parameter, Int) and (
        parameter.step < 1 or (parameter.log and parameter.step > 1)
    ):
        raise InvalidSpecError(f"parameter {parameter.name!r}: step must be 1 (log) or more")


def to_plain(space: Space) -> list[dict[str, Any]]:
    """Return the space as JSON can hold it, for receipts."""
    plain: list[dict[str, Any]] = []
    for parameter in space.parameters:
        entry: dict[str, Any] = {"name": parameter.name, "type": type(parameter).__name__.lower()}
        if isinstance(parameter, Categorical):
            entry["values"] = list(parameter.values)
        else:
            entry |= {"min": parameter.low, "max": parameter.high, "log": parameter.log}
        if parameter.when is not None:
            entry["when"] = {
                "parameter": parameter.when.parameter,
                "values": list(parameter.when.values),
            }
        plain.append(entry)
    return plain
