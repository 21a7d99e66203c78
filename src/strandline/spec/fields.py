"""The scalar types of documents: no value is silently turned into another type.

An apiserver refuses `"5"` where a number belongs and `1` where a boolean does; so does
a laptop, or the same YAML would mean different things in the two places.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import StrictBool, StrictFloat, StrictInt, StrictStr, StringConstraints

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

ShortText = Annotated[StrictStr, StringConstraints(min_length=1, max_length=256)]
"""A name or value in a list, of a bounded length."""

Setting = StrictBool | StrictInt | StrictFloat | StrictStr
"""A value in the settings of a registry entry."""

PATTERN_MEANINGS: dict[str, str] = {}
"""What a pattern asks for, in words, by its regular expression."""


def _mean(alias: Any, words: str) -> None:
    for constraint in alias.__metadata__:
        if isinstance(constraint, StringConstraints) and isinstance(constraint.pattern, str):
            PATTERN_MEANINGS[constraint.pattern] = words


_mean(Name, "lower-case letters, digits and `-` inside, like `coast-quick`")
_mean(Duration, "a duration like 45s, 2m or 1h30m")
_mean(LabelKey, "letters, digits, `-`, `_` and `.`, optionally after `example.com/`")
_mean(LabelValue, "up to 63 letters, digits, `-`, `_` and `.`")

LARGEST_EXACT_INT = 2**53
"""Integers up to here survive every JSON reader (RFC 8259, section 6)."""

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
