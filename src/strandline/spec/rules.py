"""Cross-field rules, written once and checked twice.

A rule holds the CEL expression that an apiserver evaluates and the same check in
Python; property tests keep the two from drifting apart. `SpecModel`, the base of
everything in a document, checks them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator, model_validator
from pydantic.alias_generators import to_camel


@dataclass(frozen=True, slots=True)
class Rule:
    """One cross-field rule of a schema object.

    Attributes:
        cel: Common Expression Language text over `self` (Kubernetes
            `x-kubernetes-validations`). Defaults are filled in before it is evaluated.
        holds: the same check on the parsed model.
        message: what is wrong and how to mend it; one line.
    """

    cel: str
    holds: Callable[[Any], bool]
    message: str


def keyed_by(*keys: str) -> dict[str, Any]:
    """Mark a list of objects as one whose entries differ in `keys` (document names)."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


def distinct() -> dict[str, Any]:
    """Mark a list of scalars as one without repetitions."""
    return {"x-kubernetes-list-type": "set"}


class SpecModel(BaseModel):
    """Base of everything in a document: frozen, unknown fields refused, rules checked."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        populate_by_name=True,
        allow_inf_nan=False,
    )
    rules: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _read_as_an_apiserver(cls, value: Any) -> Any:
        """Take null for an absent field or map entry, and 3.0 for 3: both mean that in JSON.

        A null under an unknown name stays, to be refused.
        """
        if not isinstance(value, Mapping):
            return value
        maps = _maps_of(cls)
        return {
            key: _read_map(each) if maps.get(key) else _read_number(each)
            for key, each in value.items()
            if each is not None or key not in maps
        }

    @field_validator("*", mode="after")
    @classmethod
    def _check_list(cls, value: Any, info: ValidationInfo) -> Any:
        marks = cls.model_fields[str(info.field_name)].json_schema_extra
        if isinstance(value, list) and isinstance(marks, dict):
            _refuse_repetition(value, marks)
        return value

    @model_validator(mode="after")
    def _check_rules(self) -> Self:
        for rule in self.rules:
            if not rule.holds(self):
                raise ValueError(rule.message)
        return self


@cache
def _maps_of(cls: type[SpecModel]) -> Mapping[str | None, bool]:
    """Return every field by its name in documents, and whether it is a map."""
    return {field.alias: _is_map(field.annotation) for field in cls.model_fields.values()}


def _is_map(annotation: Any) -> bool:
    return get_origin(annotation) is dict or any(map(_is_map, get_args(annotation)))


def _read_map(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {key: _read_number(each) for key, each in value.items() if each is not None}


def _read_number(value: Any) -> Any:
    if isinstance(value, list):
        return [_read_number(each) for each in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
        return int(value)
    return value


def _refuse_repetition(entries: Sequence[Any], marks: dict[str, Any]) -> None:
    list_type = marks.get("x-kubernetes-list-type")
    if list_type not in ("set", "map"):
        return
    keys: list[str] = marks.get("x-kubernetes-list-map-keys", [])
    seen = set()
    for entry in entries:
        identity = tuple(getattr(entry, key) for key in keys) if keys else entry
        if identity in seen:
            shown = identity[0] if isinstance(identity, tuple) else identity
            raise ValueError(f"{shown!r} stands here twice: every entry once")
        seen.add(identity)
