"""Between what our algorithms choose and the text in Katib's parameter assignments.

An algorithm chooses a `Scalar` from one dimension of our space; a trial carries text. For
every value that a dimension has, `value(text(v)) == v`: a trial that comes back is
recognised as the very candidate that was suggested, so none is suggested twice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Protocol

from strandline.jobs.katib.declared import (
    LOG_DISTRIBUTIONS,
    NUMERIC,
    Declared,
    distinct_values,
    range_of,
)
from strandline.search.parameters import Categorical, Float, Int, Parameter
from strandline.spec.errors import InvalidSpecError
from strandline.spec.fields import LARGEST_EXACT_INT
from strandline.spec.records import Scalar

# How far from a whole number of steps a value may be and still be that number of steps.
_STEP_TOLERANCE = Decimal("1e-6")


class Codec(Protocol):
    """One parameter of an Experiment."""

    @property
    def parameter(self) -> Parameter:
        """The dimension of our space that stands for it."""

    def text(self, value: Scalar) -> str:
        """Return a value of the dimension as a parameter assignment writes it."""

    def value(self, text: str) -> Scalar:
        """Return the value of the dimension for the text of an assignment.

        Raises:
            InvalidSpecError: the parameter has no such value (the Experiment was edited).
        """


@dataclass(frozen=True, slots=True)
class _Words:
    parameter: Categorical

    def text(self, value: Scalar) -> str:
        return str(value)

    def value(self, text: str) -> Scalar:
        return _allowed(self.parameter, text, text)


@dataclass(frozen=True, slots=True)
class _Amounts:
    parameter: Categorical

    def text(self, value: Scalar) -> str:
        return str(value)

    def value(self, text: str) -> Scalar:
        return _allowed(self.parameter, int(text) if text.isdecimal() else None, text)


@dataclass(frozen=True, slots=True)
class _Whole:
    parameter: Int

    def text(self, value: Scalar) -> str:
        return str(value)

    def value(self, text: str) -> Scalar:
        number = _decimal(self.parameter, text)
        return _allowed(self.parameter, int(number) if number == int(number) else None, text)


@dataclass(frozen=True, slots=True)
class _Real:
    parameter: Float

    def text(self, value: Scalar) -> str:
        return repr(float(str(value)))

    def value(self, text: str) -> Scalar:
        return _allowed(self.parameter, float(_decimal(self.parameter, text)), text)


@dataclass(frozen=True, slots=True)
class _Steps:
    """Numbers low + k·step. The dimension counts steps, so nothing is lost in fractions.

    On a logarithmic scale it counts from `low / step`, so that its logarithm runs with
    the logarithm of the number.
    """

    parameter: Int
    low: Decimal
    step: Decimal
    whole: bool

    def text(self, value: Scalar) -> str:
        assert isinstance(value, int), "the dimension counts steps"
        number = self.low + (value - self.parameter.low) * self.step
        return str(int(number)) if self.whole else repr(float(number))

    def value(self, text: str) -> Scalar:
        steps = (_decimal(self.parameter, text) - self.low) / self.step
        nearest = steps.to_integral_value()
        close = abs(steps - nearest) <= _STEP_TOLERANCE
        return _allowed(self.parameter, self.parameter.low + int(nearest) if close else None, text)


def codec_of(declared: Declared) -> Codec:
    """Return the codec of one parameter.

    Raises:
        InvalidSpecError: the declaration is wrong.
    """
    name, log = declared.name, declared.distribution in LOG_DISTRIBUTIONS
    if declared.type not in NUMERIC:
        values = distinct_values(declared)
        return _Words(Categorical(name, values, ordered=declared.type == "discrete"))
    numbers = range_of(declared)
    if numbers.step is None:
        return _Real(Float(name, float(numbers.low), float(numbers.high), log))
    if declared.type == "int" and numbers.step == 1:
        return _Whole(Int(name, int(numbers.low), int(numbers.high), log))
    count = int((numbers.high - numbers.low) / numbers.step + _STEP_TOLERANCE)
    if count > LARGEST_EXACT_INT:
        raise InvalidSpecError(f"parameter {name!r} has more than 2^53 steps: make step larger")
    first = max(1, round(numbers.low / numbers.step)) if log else 0
    steps = Int(name, first, first + count, log)
    return _Steps(steps, numbers.low, numbers.step, whole=declared.type == "int")


def amounts_codec(name: str, amounts: tuple[int, ...]) -> Codec:
    """Return the codec of a parameter that has only these amounts, ascending."""
    return _Amounts(Categorical(name, amounts, ordered=True))


def _decimal(parameter: Parameter, text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or not math.isfinite(float(number)):
        raise InvalidSpecError(f"{parameter.name} = {text!r} is no number")
    return number


def _allowed(parameter: Parameter, value: Scalar, text: str) -> Scalar:
    if value is None or not parameter.allows(value):
        raise InvalidSpecError(f"{parameter.name} = {text!r} is not in its feasible space")
    return value
