"""The kinds of parameter a space is made of.

Each maps the unit interval onto its values and back, so that algorithms which think in
numbers need not know which kind they move.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from strandline.spec.errors import InvalidSpecError
from strandline.spec.records import Scalar

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
    """A real number in [low, high]; with `step` one of low, low + step, … up to high.

    `log` needs low > 0 and no step.
    """

    name: str
    low: float
    high: float
    log: bool = False
    when: Condition | None = None
    step: float | None = None

    def sample(self, rng: np.random.Generator) -> Scalar:
        """Draw a value, uniform on the (logarithmic) scale."""
        return self.from_unit(float(rng.random()))

    def from_unit(self, unit: float) -> Scalar:
        """Map [0, 1] onto the range."""
        if self.log:
            low, high = math.log(self.low), math.log(self.high)
            return min(self.high, max(self.low, math.exp(low + unit * (high - low))))
        if self.step is not None:
            count = self._count()
            return self._nth(min(count - 1, int(unit * count)))
        return min(self.high, max(self.low, self.low + unit * (self.high - self.low)))

    def to_unit(self, value: Scalar) -> float:
        """Map a value back: `from_unit` gives it again, up to rounding."""
        number = _number(value)
        if self.low == self.high:
            return 0.5
        if self.log:
            low, high = math.log(self.low), math.log(self.high)
            return (math.log(number) - low) / (high - low)
        if self.step is not None:
            return (round((number - self.low) / self.step) + 0.5) / self._count()
        return (number - self.low) / (self.high - self.low)

    def allows(self, value: Scalar) -> bool:
        """Return whether `value` is a number in the range."""
        if not isinstance(value, int | float) or isinstance(value, bool):
            return False
        if not self.low <= value <= self.high or self.step is None:
            return self.low <= value <= self.high
        return value == self._nth(round((value - self.low) / self.step))

    def size(self) -> float:
        """Return how many values there are."""
        return math.inf if self.step is None else float(self._count())

    def listed(self) -> tuple[Scalar, ...] | None:
        """Return all values in order, None when there is no end of them."""
        if self.step is None:
            return None
        return tuple(self._nth(place) for place in range(self._count()))

    def _count(self) -> int:
        assert self.step is not None
        # The last step counts when only rounding keeps it below `high`.
        return int((self.high - self.low) / self.step + 1e-9) + 1

    def _nth(self, place: int) -> float:
        assert self.step is not None
        return min(self.high, round(self.low + place * self.step, 12))


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
        count = self._count()
        return self.low + self.step * min(count - 1, int(unit * count))

    def to_unit(self, value: Scalar) -> float:
        """Map a value back: `from_unit` gives it again."""
        number = _number(value)
        if self.log:
            low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
            return (math.log(number) - low) / (high - low)
        return ((number - self.low) // self.step + 0.5) / self._count()

    def allows(self, value: Scalar) -> bool:
        """Return whether `value` is one of the whole numbers."""
        if not isinstance(value, int) or isinstance(value, bool):
            return False
        return self.low <= value <= self.high and (value - self.low) % self.step == 0

    def size(self) -> float:
        """Return how many values there are."""
        return float(self._count())

    def listed(self) -> tuple[Scalar, ...] | None:
        """Return all values in order; None when they are too many to list."""
        if self._count() > _LONGEST_LIST:
            return None
        return tuple(range(self.low, self.high + 1, self.step))

    def _count(self) -> int:
        return (self.high - self.low) // self.step + 1


@dataclass(frozen=True, slots=True)
class Categorical:
    """One of `values`; `ordered` when the next one is nearer than the one after it."""

    name: str
    values: tuple[Scalar, ...]
    when: Condition | None = None
    ordered: bool = False

    def sample(self, rng: np.random.Generator) -> Scalar:
        """Draw a value, each equally likely."""
        return self.values[int(rng.integers(len(self.values)))]

    def from_unit(self, unit: float) -> Scalar:
        """Map [0, 1] onto the values, each with its fair share."""
        return self.values[min(len(self.values) - 1, int(unit * len(self.values)))]

    def to_unit(self, value: Scalar) -> float:
        """Map a value back: `from_unit` gives it again."""
        return (self.place(value) + 0.5) / len(self.values)

    def place(self, value: Scalar) -> int:
        """Return the position of a value. Raises ValueError for one that is not here."""
        for place, each in enumerate(self.values):
            if each == value and type(each) is type(value):
                return place
        raise ValueError(f"{self.name} cannot be {value!r}")

    def allows(self, value: Scalar) -> bool:
        """Return whether `value` is one of the values, and of the same type."""
        for each in self.values:
            if each is value:  # nearly always, and at once
                return True
        return any(value == each and type(value) is type(each) for each in self.values)

    def size(self) -> float:
        """Return how many values there are."""
        return float(len(self.values))

    def listed(self) -> tuple[Scalar, ...]:
        """Return all values, in order."""
        return self.values


Parameter = Float | Int | Categorical

_LONGEST_LIST = 100_000


def check_range(parameter: Parameter) -> None:
    """Check that the parameter has a value.

    Raises:
        InvalidSpecError: its range is empty or its scale impossible.
    """
    if isinstance(parameter, Categorical):
        if not parameter.values:
            raise InvalidSpecError(f"parameter {parameter.name!r} has no values")
        return
    if not parameter.low <= parameter.high or (parameter.log and parameter.low <= 0):
        raise InvalidSpecError(
            f"parameter {parameter.name!r}: low must not be above high, and above 0 for log"
        )
    stepped = parameter.step not in (None, 1)
    if (parameter.step is not None and not parameter.step > 0) or (parameter.log and stepped):
        raise InvalidSpecError(
            f"parameter {parameter.name!r}: step must be above 0, and log takes none"
        )


def _number(value: Scalar) -> float:
    assert isinstance(value, int | float), "checked by allows()"
    return float(value)
