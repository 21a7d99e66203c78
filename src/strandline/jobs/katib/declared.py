"""Parameters as a Katib Experiment declares them: everything is text, checked here.

Source of the meaning: `FeasibleSpace` and its validator in Katib's v1beta1 API, and what
its suggestion services make of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from strandline.spec.errors import InvalidSpecError
from strandline.spec.fields import LARGEST_EXACT_INT

TYPES = ("double", "int", "discrete", "categorical")
NUMERIC = ("double", "int")
LOG_DISTRIBUTIONS = ("logUniform", "logNormal")
DISTRIBUTIONS = ("", "unknown", "uniform", "normal", *LOG_DISTRIBUTIONS)


@dataclass(frozen=True, slots=True)
class Declared:
    """One parameter of an Experiment, in its own words.

    Attributes:
        type: one of `TYPES`.
        distribution: one of `DISTRIBUTIONS`; empty when none is stated.
    """

    name: str
    type: str
    min: str = ""
    max: str = ""
    step: str = ""
    values: tuple[str, ...] = ()
    distribution: str = ""


@dataclass(frozen=True, slots=True)
class Range:
    """The numbers of a double or int parameter; `step` is None where every number will do."""

    low: Decimal
    high: Decimal
    step: Decimal | None


def problems_of(declared: Declared) -> Iterator[tuple[str, str]]:
    """Yield (field of the declaration, what is wrong with it and how to mend it)."""
    if declared.type not in TYPES:
        yield "parameterType", f"it is {declared.type!r}: choose {', '.join(TYPES)}"
        return
    if declared.distribution not in DISTRIBUTIONS:
        known = ", ".join(DISTRIBUTIONS[2:])
        yield "feasibleSpace.distribution", f"it is {declared.distribution!r}: choose {known}"
    yield from _range_problems(declared) if declared.type in NUMERIC else _list_problems(declared)


def range_of(declared: Declared) -> Range:
    """Return the numbers of a double or int parameter.

    The step of an int is 1 unless stated, as Katib's services read it.

    Raises:
        InvalidSpecError: the declaration is wrong.
    """
    for field, problem in problems_of(declared):
        raise InvalidSpecError(f"parameter {declared.name!r}, {field}: {problem}")
    step = Decimal(declared.step) if declared.step else None
    if declared.type == "int" and step is None:
        step = Decimal(1)
    return Range(Decimal(declared.min), Decimal(declared.max), step)


def distinct_values(declared: Declared) -> tuple[str, ...]:
    """Return the values of a discrete (ascending) or categorical (as listed) parameter.

    Raises:
        InvalidSpecError: the declaration is wrong.
    """
    for field, problem in problems_of(declared):
        raise InvalidSpecError(f"parameter {declared.name!r}, {field}: {problem}")
    values = tuple(dict.fromkeys(declared.values))
    return tuple(sorted(values, key=float)) if declared.type == "discrete" else values


def _range_problems(declared: Declared) -> Iterator[tuple[str, str]]:
    if declared.values:
        yield "feasibleSpace.list", f"a list belongs to discrete and categorical: {_TAKES}"
    found: dict[str, Decimal] = {}
    for field, text in (("min", declared.min), ("max", declared.max), ("step", declared.step)):
        problem = _number_problem(text, declared.type, optional=field == "step")
        if problem:
            yield f"feasibleSpace.{field}", problem
        elif text:
            found[field] = Decimal(text)
    if "step" in found and found["step"] <= 0:
        yield "feasibleSpace.step", f"it is {declared.step}: it must be above 0"
    if "min" not in found or "max" not in found:
        return
    if found["min"] > found["max"]:
        yield "feasibleSpace.min", f"{declared.min} is above max, {declared.max}: swap them"
    if declared.distribution in LOG_DISTRIBUTIONS and found["min"] <= 0:
        yield "feasibleSpace.min", f"it is {declared.min}: {declared.distribution} needs it above 0"


_TAKES = "double and int take min and max"


def _number_problem(text: str, type_: str, *, optional: bool) -> str:
    if not text:
        return "" if optional else f"it is missing: {_TAKES}"
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or abs(number) > Decimal("1e300"):
        return f"it is {text!r}: write a finite number"
    if number and abs(number) < Decimal("1e-300"):
        return f"it is {text!r}: so small a number cannot be told from 0"
    if type_ == "int" and (abs(number) > LARGEST_EXACT_INT or number != int(number)):
        return f"it is {text}: write a whole number of at most 2^53"
    return ""


def _list_problems(declared: Declared) -> Iterator[tuple[str, str]]:
    for field, text in (("min", declared.min), ("max", declared.max), ("step", declared.step)):
        if text:
            yield f"feasibleSpace.{field}", f"{declared.type} takes a list: remove it"
    if not declared.values:
        yield "feasibleSpace.list", "it is missing or empty: list at least one value"
    if declared.type == "discrete":
        for value in declared.values:
            if _number_problem(value, "double", optional=False):
                yield "feasibleSpace.list", f"{value!r} is no number: categorical takes words"
