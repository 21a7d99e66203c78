"""Check what a caller says before anything is written."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from strandline.spec.errors import InvalidSpecError
from strandline.spec.fields import PATTERN_MEANINGS, Name
from strandline.spec.rules import SpecModel

AnySpec = TypeVar("AnySpec", bound=SpecModel)
_NAME: TypeAdapter[str] = TypeAdapter(Name)


def check_name(name: str) -> None:
    """Check that an object can have this name.

    Raises:
        InvalidSpecError: it cannot.
    """
    try:
        _NAME.validate_python(name)
    except ValidationError as error:
        raise InvalidSpecError(
            f"{name[:80]!r} cannot be a name: use lower-case letters, digits and '-', at most 63, "
            "beginning and ending with a letter or digit"
        ) from error


def checked(cls: type[AnySpec], **fields: Any) -> AnySpec:
    """Build a part of a spec, turning what is wrong into one clear line.

    Raises:
        InvalidSpecError: a field breaks a rule.
    """
    try:
        return cls(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or cls.__name__
        text = first["msg"].removeprefix("Value error, ")
        if first["type"] == "string_pattern_mismatch":
            meaning = PATTERN_MEANINGS.get(first["ctx"]["pattern"], "of another form")
            text = f"it must be {meaning}, but it is {first['input']!r}"
        raise InvalidSpecError(f"{where}: {text}") from error
