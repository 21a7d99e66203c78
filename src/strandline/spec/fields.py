"""The scalar types of documents: no value is silently turned into another type.

An apiserver refuses `"5"` where a number belongs and `1` where a boolean does; so does
a laptop, or the same YAML would mean different things in the two places.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Annotated, Any, get_args

from pydantic import (
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    StringConstraints,
)

LARGEST_EXACT_INT = 2**53
"""Integers up to here survive every JSON reader (RFC 8259, section 6)."""


Name = Annotated[
    StrictStr,
    StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", min_length=1, max_length=63),
]
"""A DNS label (RFC 1123), as Kubernetes names things."""

Duration = Annotated[
    StrictStr,
    StringConstraints(
        pattern=r"^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$", min_length=2, max_length=21
    ),
]
"""Hours, minutes and seconds: `2m`, `1h30m`, `45s`."""

Time = Annotated[
    StrictStr,
    StringConstraints(
        pattern=r"^[12][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
        r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?"
        r"(Z|[+-](0[0-9]|1[0-4]):[0-5][0-9])$",
        max_length=35,
    ),
    Field(json_schema_extra={"format": "date-time"}),
]
"""A moment (RFC 3339): `2026-01-31T12:00:00Z`."""

LabelKey = Annotated[
    StrictStr,
    StringConstraints(
        pattern=r"^([a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?/)?"
        r"[A-Za-z0-9]([-._A-Za-z0-9]{0,61}[A-Za-z0-9])?$",
        max_length=317,
    ),
]
"""A label or annotation key: up to 63 characters, optionally after `prefix.example/`."""

LabelValue = Annotated[
    StrictStr,
    StringConstraints(pattern=r"^([A-Za-z0-9]([-._A-Za-z0-9]{0,61}[A-Za-z0-9])?)?$"),
]
"""A label value: up to 63 letters, digits, `-`, `_` and `.`, or nothing."""

Subdomain = Annotated[
    StrictStr,
    StringConstraints(
        pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
        min_length=1,
        max_length=253,
    ),
]
"""A DNS subdomain (RFC 1123): what Kubernetes names most objects and all hosts by."""

ResourceName = Annotated[
    StrictStr,
    StringConstraints(
        pattern=r"^[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?/[A-Za-z0-9]([-._A-Za-z0-9]{0,61}[A-Za-z0-9])?$",
        max_length=317,
    ),
]
"""An extended resource of nodes, like `nvidia.com/gpu`."""

Count = Annotated[StrictInt, Field(ge=0, le=LARGEST_EXACT_INT)]
"""How many there are of something."""

Number = Annotated[StrictInt, Field(ge=1, le=LARGEST_EXACT_INT)]
"""A number that is counted from 1: a version, a number of workers."""

ShortText = Annotated[StrictStr, StringConstraints(min_length=1, max_length=256)]
"""A name or value in a list, of a bounded length."""

Setting = StrictBool | StrictInt | StrictFloat | StrictStr
"""A value in the settings of a registry entry."""

PATTERN_MEANINGS: dict[str, str] = {}
"""What a pattern asks for, in words, by its regular expression."""


def mean(alias: Any, words: str) -> None:
    """Note what the patterns of a text type ask for, to be said when one is not met."""
    for constraint in getattr(alias, "__metadata__", ()):
        if isinstance(constraint, StringConstraints) and isinstance(constraint.pattern, str):
            PATTERN_MEANINGS[constraint.pattern] = words
    for choice in get_args(getattr(alias, "__origin__", None)):
        mean(choice, words)


mean(Name, "lower-case letters, digits and `-` inside, like `coast-quick`")
mean(Duration, "a duration like 45s, 2m or 1h30m")
mean(Time, "a moment like 2026-01-31T12:00:00Z")
mean(LabelKey, "letters, digits, `-`, `_` and `.`, optionally after `example.com/`")
mean(Subdomain, "lower-case letters, digits, `-` and `.` inside, like `predict.example.com`")
mean(ResourceName, "a resource with its vendor, like `nvidia.com/gpu` or `google.com/tpu`")
mean(LabelValue, "up to 63 letters, digits, `-`, `_` and `.`")

_DURATION = re.compile(r"(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,6})s)?")


def parse_duration(text: str) -> timedelta:
    """Parse `1h30m`, `45s` and the like.

    Raises:
        ValueError: the text is not a duration.
    """
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        raise ValueError(f"{text!r} is not a duration: write it like 45s, 2m or 1h30m")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)


def is_moment(text: str | None) -> bool:
    """Return whether a time exists, which February 30 does not; an absent one is no matter."""
    try:
        return text is None or bool(datetime.fromisoformat(text))
    except ValueError:
        return False


def is_some_time(text: str | None) -> bool:
    """Return whether a duration is above 0s; an absent one is no matter of this check."""
    return text is None or any(digit in text for digit in "123456789")
